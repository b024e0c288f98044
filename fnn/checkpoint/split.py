"""Leaves that are split over devices, written and read with orbax.

Each process writes its own shards, into one folder that all processes see. orbax itself notices few flipped bits, so
the manifest of the checkpoint holds a SHA-256 of each of its files. orbax is the optional extra `distributed` and is
imported when it is first needed.
"""

import contextlib
import importlib.util
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from fnn import hashing
from fnn.checkpoint import atomic
from fnn.checkpoint.regular_files import DamagedError
from fnn.sharding import agreement


def split_folder_name(name: str) -> str:
    """Return the name of orbax's folder for a tree, given the name of its file.

    >>> split_folder_name("state.safetensors")
    'state.orbax'
    """
    return name.removesuffix(".safetensors") + ".orbax"


def is_split(leaf: Any) -> bool:
    """Return True if no device holds the whole leaf."""
    return isinstance(leaf, jax.Array) and leaf.size > 0 and not leaf.is_fully_replicated


def require_orbax(function: str, tree: PyTree) -> None:
    """Check that orbax is installed if the tree has split leaves.

    Raises:
      ImportError: if it is not; the message names the extra to install.
    """
    if any(map(is_split, jax.tree.leaves(tree))):
        _require_orbax(f"{function}: to save arrays that are split over devices")


def _require_orbax(purpose: str) -> None:
    if importlib.util.find_spec("orbax") is None:
        raise ImportError(f"{purpose} needs orbax: pip install 'fnn[distributed]'")


def _orbax() -> tuple[Any, Any]:
    import orbax.checkpoint as ocp

    return ocp, ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def write_split(folder: Path, leaves: Mapping[str, Any]) -> None:
    """Write split leaves, by name, into a new folder. All processes call it."""
    ocp, checkpointer = _orbax()
    with contextlib.closing(checkpointer):
        checkpointer.save(folder.resolve(), args=ocp.args.PyTreeSave(leaves))


def read_split(folder: Path, like: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Read leaves by name from a verified folder. All processes call it.

    Args:
      folder: the folder that `write_split` wrote.
      like: arrays or `jax.ShapeDtypeStruct`s by name. A leaf is read onto the devices of its entry's sharding, or
        onto one local device if it has none.
    """
    _require_orbax(f"restore: to read {folder}")
    ocp, checkpointer = _orbax()
    local_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or local_device)
        for name, leaf in like.items()
    }
    args = ocp.args.PyTreeRestore(target, restore_args=ocp.checkpoint_utils.construct_restore_args(target))
    with contextlib.closing(checkpointer):
        return checkpointer.restore(folder.resolve(), args=args)


def check_no_other_files(checkpoint: Path, folder: str, listed: Collection[str]) -> None:
    """Check that orbax will find no other files in its folder than those that the manifest lists.

    Files whose names begin with a dot, which orbax does not read, may be there.

    Raises:
      DamagedError: if there is another one; the message names it.
    """
    for place, folders, files in os.walk(checkpoint / folder, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (name for name in files + links if not name.startswith(".")):
            found = Path(place, name).relative_to(checkpoint).as_posix()
            if found not in listed:
                raise DamagedError(f"{checkpoint}: {found} is not in the manifest")


def _raise(error: OSError) -> None:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        raise DamagedError(f"{error.strerror}: {error.filename}") from error
    raise error


def process_share() -> slice:
    """Return the slice of a list of files that this process hashes."""
    return slice(jax.process_index(), None, jax.process_count())


def hash_split(folder: Path) -> dict[str, dict[str, Any]]:
    """Flush and hash orbax's files below a folder of all processes.

    Each process hashes its share of the files; all processes return the manifest's entries of all files.
    """
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names = agreement.all_gather_json(names)[0]
    entries = {}
    with agreement.fail_together("save"):
        for name in names[process_share()]:
            atomic.sync_file(folder / name)
            with open(folder / name, "rb") as file, atomic.name_errors(folder / name):
                sha256, size = hashing.sha256_file(file)
            entries[name] = {"sha256": sha256, "bytes": size}
        if agreement.is_main_process():
            for path in [path for path in folder.rglob("*") if path.is_dir()]:
                atomic.sync_folder(path)
    return {name: entry for share in agreement.all_gather_json(entries) for name, entry in share.items()}
