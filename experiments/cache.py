"""The persistent compilation cache: reuse programs that earlier runs compiled.

The cache is a folder in the user's cache directory. The environment variable FNN_CACHE names another parent folder;
if it is empty, nothing is cached. If JAX_COMPILATION_CACHE_DIR is set, JAX uses that folder instead.
"""

import os
from pathlib import Path

from experiments.errors import ExperimentError


def folder() -> Path | None:
    """Return the folder of compiled programs, or None if the cache is turned off."""
    named = os.environ.get("FNN_CACHE")
    if named is not None:
        return Path(named).expanduser() / "compiled" if named else None
    import platformdirs

    return Path(platformdirs.user_cache_dir("fnn", appauthor=False)) / "compiled"


def enable() -> None:
    """Make JAX cache every compiled program.

    Raise ExperimentError if FNN_CACHE cannot be a folder.
    """
    import jax

    path = folder()
    if path is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if "FNN_CACHE" in os.environ:
            raise ExperimentError(f"FNN_CACHE: cannot create the folder {path}: {error.strerror or error}") from None
        return  # the home folder is not writable: compile without a cache
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Cache every program, not only slow ones: a training compiles a dozen programs of a tenth of a second each.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
