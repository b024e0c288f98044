"""Save, list and restore checkpoints, in one process or in several.

All of a checkpoint is verified before any of it is used. All processes call each function here, with a folder that all
of them see.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from fnn import checks
from fnn.checkpoint import atomic, split, tensors
from fnn.checkpoint.finding import load, newest
from fnn.checkpoint.lock import CheckpointWarning as CheckpointWarning
from fnn.checkpoint.lock import FolderLock, lock
from fnn.checkpoint.manifest import STATE, VerifiedCheckpoint, is_checkpoint
from fnn.checkpoint.manifest import list_checkpoints as list_checkpoints
from fnn.checkpoint.regular_files import DamagedError as DamagedError
from fnn.checkpoint.regular_files import file_kind
from fnn.checkpoint.writing import write
from fnn.sharding import agreement


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[FolderLock]:
    """Create and lock a folder of checkpoints for the duration of the context.

    Process 0 holds the lock. It also removes the temporary files that killed processes left.
    """
    held = FolderLock(folder, None)
    with contextlib.ExitStack() as stack:
        with agreement.fail_together("save"):
            if agreement.is_main_process():
                _check_no_other(folder)
                atomic.make_folder(folder)
                held = stack.enter_context(lock(folder))
                atomic.remove_temporaries(folder)
        with agreement.fail_together("save"):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} must be a folder that all processes see, made by process 0")
        yield held


def _check_no_other(folder: Path) -> None:
    """Raise NotADirectoryError if there is something else than a folder of this name, or above it."""
    for path in (folder, *folder.parents):
        if os.path.lexists(path) and not path.is_dir():
            kind = file_kind(os.lstat(path)) or "a file"
            kind += " that leads to no folder" * path.is_symlink()
            raise NotADirectoryError(errno.ENOTDIR, f"must be a folder, got {kind}", str(path))


def restore_tree(function: str, loaded: VerifiedCheckpoint, name: str, like: PyTree) -> PyTree:
    """Rebuild the tree stored in file `name` of a checkpoint, with the structure of `like`."""
    source = f"{loaded.path / name}"
    leaves = tensors.check_like(function, like, loaded.manifest["trees"][name], source)
    arrays: dict[str, Any] = {**loaded.arrays[name]}
    separate = {leaf: leaves[leaf] for leaf in leaves if leaf not in arrays}
    if separate:
        arrays |= split.read_split(loaded.path / split.split_folder_name(name), separate)
    return tensors.rebuild(function, like, leaves, arrays)


def save(folder: str | Path, tree: PyTree, *, step: int | None = None, sharded: bool = False) -> Path:
    """Save a tree of arrays durably as a new checkpoint.

    A failed save leaves the earlier checkpoints as they were.

    Args:
      folder: the folder of checkpoints; created if it is missing.
      tree: a TrainState, or any tree of arrays.
      step: the number of the checkpoint. Default: `tree.step`. An earlier checkpoint of the same step is replaced.
      sharded: in one process, write leaves that are split over devices shard by shard with orbax, too. Several
        processes always do.

    Returns:
      The path of the checkpoint, for example `folder/step-00000042`.

    Raises:
      OSError: if a file cannot be written; the error names the file.
      LockedError: if a training is writing into the folder.
      TypeError: if a leaf is not an array of a dtype that safetensors can hold.
      ImportError: if leaves are to be written with orbax, and it is not installed.

    >>> import fnn, jax, tempfile
    >>> state = fnn.init_state(fnn.dense(3, 2), fnn.sgd(0.1), jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder, state).name, restore(folder, state).params.w.shape
    ('step-00000000', (3, 2))
    """
    step = checks.step_of("save", tree, step)
    folder = checks.path("save", "folder", folder)
    with open_folder(folder) as held:
        return write(held, step, {STATE: tree}, sharded=sharded)


def restore(path: str | Path, like: PyTree) -> PyTree:
    """Restore a tree that `save` or `fit` saved.

    The number of devices and processes may differ from when the tree was saved. From a checkpoint of `fit`, only the
    TrainState is restored. If the network has batch_norm, `fnn.calibrate` its parameters.

    Args:
      path: a checkpoint, or a folder of checkpoints. In a folder, damaged checkpoints are skipped with a
        CheckpointWarning.
      like: the expected tree, with its shapes and dtypes: for example `fnn.init_state(network, optimizer, key)`, or
        its `jax.eval_shape`. A leaf with a sharding over several devices is restored with that sharding. Any other
        leaf is restored on one local device.

    Returns:
      A tree of the form of `like` with the saved values.

    Raises:
      FileNotFoundError: if there is no checkpoint at `path`.
      DamagedError: if the checkpoint, or every checkpoint in the folder, is damaged. It is a ValueError.
      NewerFormatError: if a newer version of fnn wrote it. It is a ValueError.
      OSError: if a file cannot be read now, for example because too many files are open. No older one is used then.
      ValueError: if `like` differs from the saved tree; the message names the leaf.

    >>> import jax, jax.numpy as jnp, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(folder, {"w": jnp.ones(2)}, step=7)
    ...     restore(folder, jax.eval_shape(lambda: {"w": jnp.ones(2)}))
    {'w': Array([1., 1.], dtype=float32)}
    """
    path = checks.path("restore", "path", path)
    with agreement.fail_together("restore"):
        if not path.exists():
            raise FileNotFoundError(f"restore: there is no {path}")
    if is_checkpoint(path):
        path = path.resolve() if path.is_symlink() else path  # the caller's own link; others are not followed
        return restore_tree("restore", load(path), STATE, like)
    loaded, _ = newest(path)
    if loaded is None:
        raise FileNotFoundError(f"restore: there is no checkpoint in {path}")
    return restore_tree("restore", loaded, STATE, like)


def latest(folder: str | Path) -> Path | None:
    """Return the path of the newest good checkpoint, or None if there is none.

    Damaged ones are skipped with a CheckpointWarning. It raises DamagedError if there are checkpoints and none is good.
    """
    loaded, _ = newest(checks.path("latest", "folder", folder), "latest")
    return None if loaded is None else loaded.path
