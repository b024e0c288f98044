"""Save, list and restore checkpoints, in one process or in several.

Process 0 writes the manifest and every leaf that each device holds whole; all processes write their shards of the
other leaves (`split`). A new checkpoint becomes visible only when every file is written and flushed, and all of it is
verified before any of it is used. All processes call each function here, with a folder that all of them see.
"""

import contextlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from fnn import checks, hashing
from fnn.checkpoint import atomic, manifest, split, tensors
from fnn.checkpoint.manifest import STATE, VerifiedCheckpoint, is_checkpoint
from fnn.checkpoint.manifest import list_checkpoints as list_checkpoints
from fnn.checkpoint.tensors import DamagedError
from fnn.sharding import agreement


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged, or was saved with other versions of libraries."""


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """Create and lock a folder of checkpoints for the duration of the context.

    Process 0 holds the lock. It also removes the temporary files that killed processes left.
    """
    with contextlib.ExitStack() as stack:
        with agreement.fail_together("save"):
            if agreement.is_main_process():
                atomic.make_folder(folder)
                stack.enter_context(atomic.lock(folder))
                atomic.remove_temporaries(folder)
        with agreement.fail_together("save"):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} must be a folder that all processes see, made by process 0")
        yield


def check_writable(function: str, tree: PyTree) -> None:
    """Raise ImportError if several processes would need orbax to save the tree."""
    if agreement.is_multiprocess():
        split.require_orbax(function, tree)


def write(folder: Path, step: int, trees: Mapping[str, PyTree], *, sharded: bool = False, **extra: Any) -> Path:
    """Write a checkpoint into a folder whose lock is held, and return its path.

    Args:
      folder: the folder of checkpoints, in which earlier checkpoints of the same step are removed.
      step: the step of the checkpoint.
      trees: `{file name: tree}`.
      sharded: write sharded leaves with orbax even in a single process. Several processes always use orbax.
      **extra: more entries of the manifest.
    """
    leaves = {name: tensors.named_leaves("save", "tree", tree) for name, tree in trees.items()}
    is_separate = split.is_split if sharded or agreement.is_multiprocess() else lambda leaf: False
    separate = {name: {n: leaf for n, leaf in tree.items() if is_separate(leaf)} for name, tree in leaves.items()}
    split.require_orbax("save", separate)
    whole = {name: {n: leaf for n, leaf in tree.items() if n not in separate[name]} for name, tree in leaves.items()}
    host = {name: tensors.to_host(tree) for name, tree in whole.items()}
    path, replaced = manifest.next_path(folder, step)
    names = json.dumps([path.name, atomic.temporary_path(path).name])
    path, temporary = (folder / name for name in json.loads(agreement.all_gather(names)[0]))
    with agreement.fail_together("save"):
        if agreement.is_main_process():
            temporary.mkdir()
    try:
        for name, tree in separate.items():
            if tree:
                split.write_split(temporary / split.split_folder_name(name), tree)
        entries = split.hash_split(temporary)
        with agreement.fail_together("save"):
            if agreement.is_main_process():
                data = {name: tensors.encode(tree) for name, tree in host.items()}
                data |= manifest.manifest_files(step, manifest.file_entries(data) | entries, leaves, **extra)
                atomic.finish_folder(temporary, path, data)
                for older in replaced:
                    atomic.remove_folder(older)
    except BaseException:
        if agreement.is_main_process():
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def load(path: Path) -> VerifiedCheckpoint:
    """Read and verify a checkpoint. If one process finds damage, all processes raise.

    Raises:
      DamagedError: if a file is missing or differs from its hash.
      ValueError: if the processes see different checkpoints at this path.
    """
    if not agreement.is_multiprocess():
        return manifest.load(path)
    loaded, found = None, {"damage": "", "sha256": ""}
    with agreement.fail_together("restore"):
        if not path.exists():
            raise FileNotFoundError(f"{path}: the folder of checkpoints must be one that all processes see")
        try:
            loaded = manifest.load(path, split.process_share())
            found["sha256"] = hashing.sha256(json.dumps(loaded.manifest, sort_keys=True).encode())
        except DamagedError as error:
            found["damage"] = str(error)
    reports = [json.loads(text) for text in agreement.all_gather(json.dumps(found))]
    damage = [report["damage"] for report in reports if report["damage"]]
    if damage or loaded is None:
        raise DamagedError(damage[0])
    if len({report["sha256"] for report in reports}) > 1:
        raise ValueError(f"restore: {path} must be the same checkpoint in every process, got different ones")
    return loaded


def newest(folder: Path, function: str = "restore") -> tuple[VerifiedCheckpoint | None, list[Path]]:
    """Return the newest good checkpoint, and the damaged ones that are newer.

    The checkpoint is None if the folder holds none at all. Process 0 warns of each damaged one.

    Raises:
      DamagedError: if there are checkpoints and none is good.
    """
    if agreement.is_multiprocess():
        names = json.dumps([path.name for path in list_checkpoints(folder)])
        paths = [folder / name for name in json.loads(agreement.all_gather(names)[0])]
        return _last_good(function, folder, paths)
    loaded, damaged = None, []
    for _ in range(10):  # a training in another process may be removing old checkpoints at the same time
        loaded, damaged = _last_good(function, folder, list_checkpoints(folder))
        if loaded or not list_checkpoints(folder):
            break
    return loaded, damaged


def _last_good(function: str, folder: Path, paths: list[Path]) -> tuple[VerifiedCheckpoint | None, list[Path]]:
    """Apply `newest` to these checkpoints of a folder."""
    damaged: dict[Path, str] = {}
    for path in reversed(paths):
        try:
            loaded = load(path)
        except DamagedError as error:
            if path.exists():
                damaged[path] = str(error)
            continue
        for message in damaged.values() if agreement.is_main_process() else ():
            warnings.warn(f"{function}: damaged: {message}; {path.name} is used instead", CheckpointWarning, 4)
        return loaded, list(damaged)
    if damaged:
        reasons = "; ".join(damaged.values())
        raise DamagedError(f"{function}: none of the {len(damaged)} checkpoints in {folder} is good: {reasons}")
    return None, []


def restore_tree(function: str, loaded: VerifiedCheckpoint, name: str, like: PyTree) -> PyTree:
    """Rebuild the tree stored in file `name` of a checkpoint, with the structure of `like`."""
    source = f"{loaded.path / name}"
    leaves = tensors.check_like(function, like, loaded.manifest["trees"][name], source)
    arrays: dict[str, Any] = {**tensors.decode(loaded.files[name], source)}
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
    folder = Path(folder)
    with open_folder(folder):
        return write(folder, step, {STATE: tree}, sharded=sharded)


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
      ValueError: if `like` differs from the saved tree; the message names the leaf.

    >>> import jax, jax.numpy as jnp, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(folder, {"w": jnp.ones(2)}, step=7)
    ...     restore(folder, jax.eval_shape(lambda: {"w": jnp.ones(2)}))
    {'w': Array([1., 1.], dtype=float32)}
    """
    path = Path(path)
    with agreement.fail_together("restore"):
        if not path.exists():
            raise FileNotFoundError(f"restore: there is no {path}")
    if is_checkpoint(path):
        return restore_tree("restore", load(path), STATE, like)
    loaded, _ = newest(path)
    if loaded is None:
        raise FileNotFoundError(f"restore: there is no checkpoint in {path}")
    return restore_tree("restore", loaded, STATE, like)


def latest(folder: str | Path) -> Path | None:
    """Return the path of the newest good checkpoint, or None if there is none.

    Damaged ones are skipped with a CheckpointWarning. It raises DamagedError if there are checkpoints and none is good.
    """
    loaded, _ = newest(Path(folder), "latest")
    return None if loaded is None else loaded.path
