"""Checkpoints that several processes write and read: of states whose leaves are split over their devices, too.

A checkpoint is the folder that `fnn.checkpoint` describes. Process 0 writes it: manifest, and in `state.safetensors`
every leaf that each device has whole. Leaves that are split are written by all processes with orbax, into a folder
beside that file:

    state.orbax/…          the leaves of the state that are split over devices, each process's part by itself

The manifest holds the SHA-256 of each of orbax's files as well, which itself notices few flipped bits. Nothing of a
checkpoint can be seen before all processes have written and flushed their part; all of it is verified, by all of them,
before any of it is used. The folder must be one that all processes see. All functions are to be called by all of them.
"""

import contextlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from fnn import checks
from fnn.checkpoint import atomic, store, tensors
from fnn.checkpoint.store import DamagedError, VerifiedCheckpoint
from fnn.sharding import agreement


def split_folder_name(name: str) -> str:
    """The folder for the split leaves of this file's tree.

    >>> beside("state.safetensors")
    'state.orbax'
    """
    return name.removesuffix(".safetensors") + ".orbax"


def is_split(leaf: Any) -> bool:
    """Whether no device has all of it."""
    return isinstance(leaf, jax.Array) and leaf.size > 0 and not leaf.is_fully_replicated


def need_orbax(function: str, tree: PyTree) -> None:
    """ImportError, which names the extra, if the tree has leaves that only orbax can write, and it is not there."""
    if any(map(is_split, jax.tree.leaves(tree))):
        _need_orbax(f"{function}: to save arrays that are split over devices")


def _need_orbax(what: str) -> None:
    if importlib.util.find_spec("orbax") is None:
        raise ImportError(f"{what} needs orbax: pip install 'fnn[distributed]'")


def _orbax() -> tuple[Any, Any]:
    import orbax.checkpoint as ocp

    return ocp, ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def write(folder: Path, step: int, trees: Mapping[str, PyTree], **about: Any) -> Path:
    """`fnn.checkpoint.write` by all processes."""
    leaves = {name: tensors.named_leaves("save", "tree", tree) for name, tree in trees.items()}
    split = {name: {n: leaf for n, leaf in tree.items() if is_split(leaf)} for name, tree in leaves.items()}
    need_orbax("save", split)
    whole = {name: {n: leaf for n, leaf in tree.items() if n not in split[name]} for name, tree in leaves.items()}
    host = {name: tensors.to_host(tree) for name, tree in whole.items()}
    path, same = store.next_path(folder, step)
    names = json.dumps([path.name, atomic.temporary_path(path).name])
    path, temporary = (folder / name for name in json.loads(agreement.all_gather(names)[0]))
    with agreement.fail_together("save"):
        if agreement.is_main_process():
            temporary.mkdir()
    try:
        for name, tree in split.items():
            if tree:
                ocp, checkpointer = _orbax()
                with contextlib.closing(checkpointer):
                    checkpointer.save(temporary.resolve() / split_folder_name(name), args=ocp.args.PyTreeSave(tree))
        parts = _hashed(temporary)
        with agreement.fail_together("save"):
            if agreement.is_main_process():
                data = {name: tensors.encode(tree) for name, tree in host.items()}
                data |= store.manifest_files(step, store.entries(data) | parts, leaves, **about)
                atomic.finish_folder(temporary, path, data)
                for older in same:
                    atomic.remove_folder(older)
    except BaseException:
        if agreement.is_main_process():
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def _hashed(folder: Path) -> dict[str, dict[str, Any]]:
    """{file in a folder of this folder: its SHA-256 and size}, flushed to the disk; each process does its share."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names, found = json.loads(agreement.all_gather(json.dumps(names))[0]), {}
    with agreement.fail_together("save"):
        for name in names[_share()]:
            atomic.sync_file(folder / name)
            sha256, size = atomic.sha256_of(folder / name)
            found[name] = {"sha256": sha256, "bytes": size}
        if agreement.is_main_process():
            for path in [path for path in folder.rglob("*") if path.is_dir()]:
                atomic.sync_folder(path)
    parts = [json.loads(text) for text in agreement.all_gather(json.dumps(found))]
    return {name: about for part in parts for name, about in part.items()}


def _share() -> slice:
    return slice(jax.process_index(), None, jax.process_count())


def load(path: Path) -> VerifiedCheckpoint:
    """`fnn.checkpoint.load` by all processes: what one of them finds damaged is damaged for all."""
    loaded, found = None, {"damage": "", "sum": ""}
    with agreement.fail_together("restore"):
        if not path.exists():
            raise FileNotFoundError(f"{path}: the folder of checkpoints must be one that all processes see")
        try:
            loaded = store.load(path, _share())
            found["sum"] = atomic.sha256(json.dumps(loaded.manifest, sort_keys=True).encode())
        except DamagedError as error:
            found["damage"] = str(error)
    said = [json.loads(text) for text in agreement.all_gather(json.dumps(found))]
    damage = [one["damage"] for one in said if one["damage"]]
    if damage or loaded is None:
        raise DamagedError(damage[0])
    if len({one["sum"] for one in said}) > 1:
        raise ValueError(f"restore: {path} must be the same checkpoint for every process, got others of that name")
    return loaded


def newest(folder: Path, function: str = "restore") -> tuple[VerifiedCheckpoint | None, list[Path]]:
    """`fnn.checkpoint.newest` by all processes; process 0 alone warns."""
    if not agreement.is_multiprocess():
        return store.newest(folder, function)
    names = json.loads(agreement.all_gather(json.dumps([path.name for path in store.listed(folder)]))[0])
    paths = [folder / name for name in names]
    return store.last_good(function, folder, paths, load, warn=agreement.is_main_process())


def read_split(folder: Path, like: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The leaves of these names out of orbax's folder, verified before, on the devices of their likes."""
    _need_orbax(f"restore: to read {folder}")
    ocp, checkpointer = _orbax()
    alone = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or alone)
        for name, leaf in like.items()
    }
    args = ocp.args.PyTreeRestore(target, restore_args=ocp.checkpoint_utils.construct_restore_args(target))
    with contextlib.closing(checkpointer):
        return checkpointer.restore(folder.resolve(), args=args)


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """`fnn.checkpoint.opened` by process 0, where all processes see the folder."""
    with contextlib.ExitStack() as stack:
        with agreement.fail_together("save"):
            if agreement.is_main_process():
                stack.enter_context(store.open_folder(folder))
        with agreement.fail_together("save"):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} must be a folder that all processes see, made by process 0")
        yield


def save(folder: str | Path, tree: PyTree, *, step: int | None = None) -> Path:
    """`fnn.checkpoint.save` of a tree that may be split over devices and processes: all of these call it."""
    step = checks.step_of("save", tree, step)
    folder = Path(folder)
    with open_folder(folder):
        return write(folder, step, {store.STATE: tree})


def restore(path: str | Path, like: PyTree) -> PyTree:
    """The tree that was saved, by any number of processes, on the devices of `like`: all processes call it.

    like      the tree, shapes and dtypes to expect, and shardings: `fnn.init_state(…, sharding=layout)`, or arrays'
              `jax.ShapeDtypeStruct(shape, dtype, sharding=…)`. A leaf without one comes back on one local device.

    The layout need not be the one that was saved from: any number of devices will do. Errors and warnings are those
    of `fnn.checkpoint.restore`, which, in one process, reads the same checkpoints.

    >>> import fnn, tempfile
    >>> layout = fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))
    >>> state = fnn.init_state(fnn.dense(3, 2), fnn.sgd(0.1), jax.random.key(0), sharding=layout)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder, state).name, restore(folder, state).params.w.shape
    ('step-00000000', (3, 2))
    """
    path = Path(path)
    with agreement.fail_together("restore"):
        if not path.exists():
            raise FileNotFoundError(f"restore: there is no {path}")
    if store.is_checkpoint(path):
        return store.restore_tree("restore", load(path), store.STATE, like)
    loaded, _ = newest(path)
    if loaded is None:
        raise FileNotFoundError(f"restore: there is no checkpoint in {path}")
    return store.restore_tree("restore", loaded, store.STATE, like)
