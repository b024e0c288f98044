"""The persistent compilation cache: a program compiled by an earlier run is read from a file.

It lies in the user's cache folder; the environment variable FNN_CACHE names another, and empty turns it off. Where
JAX has a cache of its own configured (JAX_COMPILATION_CACHE_DIR), that is used.
"""

import os
from pathlib import Path

from experiments.errors import ExperimentError


def folder() -> Path | None:
    """Where compiled programs are kept; None: nowhere."""
    named = os.environ.get("FNN_CACHE")
    if named is not None:
        return Path(named).expanduser() / "compiled" if named else None
    import platformdirs

    return Path(platformdirs.user_cache_dir("fnn", appauthor=False)) / "compiled"


def enable() -> None:
    """Makes JAX keep every compiled program; ExperimentError if FNN_CACHE names what cannot be a folder."""
    import jax

    path = folder()
    if path is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if "FNN_CACHE" in os.environ:
            raise ExperimentError(f"FNN_CACHE: cannot make the folder {path}: {error.strerror or error}") from None
        return  # no home folder to write in: compile as if there were no cache
    jax.config.update("jax_compilation_cache_dir", str(path))
    # everything, not only what took long: a training is a dozen programs of a tenth of a second
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
