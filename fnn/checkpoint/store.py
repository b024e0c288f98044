"""Checkpoints: a state saved so that it comes back whole or not at all, and parameters as plain safetensors files.

A checkpoint is a folder `step-00000042` among others of its kind:

    state.safetensors      the tree that was saved, a name per leaf: `params.0.w`, `opt_state.v.0.w`, `step`, `key`
    training.safetensors   what else `fit` needs to go on: history, early stopping, the epoch under way
    manifest.json          format, step, names, shapes and dtypes, versions, `fit`'s configuration, SHA-256 of each file
    manifest.sha256        SHA-256 of the manifest, as the program sha256sum writes it

What several processes saved has a folder beside a file, for its leaves that are split (`fnn.sharded_checkpoint`).
It is written under another name, flushed, then renamed, so a checkpoint that can be seen is whole; all of it is
verified before any of it is used. Nothing is pickled: loading runs no code from a file.
"""

import contextlib
import json
import platform
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from fnn import checks
from fnn.checkpoint import atomic, tensors
from fnn.checkpoint.atomic import LockedError as LockedError
from fnn.checkpoint.params_file import export_params as export_params
from fnn.checkpoint.params_file import import_params as import_params
from fnn.checkpoint.tensors import DamagedError as DamagedError

FORMAT = 1
STATE, TRAINING = "state.safetensors", "training.safetensors"
_MANIFEST, _SUM = "manifest.json", "manifest.sha256"
_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")


class CheckpointWarning(UserWarning):
    """A checkpoint could not be used, and another one was."""


class VerifiedCheckpoint(NamedTuple):
    """A verified checkpoint: where it is, its manifest, and the bytes of its files by name."""

    path: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]


def versions() -> dict[str, str]:
    """What the numbers in a checkpoint were computed with."""
    names = ("fnn", "jax", "jaxlib", "numpy", "optax", "safetensors")
    found = {"python": platform.python_version(), "backend": jax.default_backend()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def listed(folder: Path) -> list[Path]:
    """The checkpoints in a folder by their names, oldest first; none if there is no such folder."""
    try:
        found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return []
    return [path for match, path in sorted(found, key=lambda item: (int(item[0][1]), int(item[0][2] or 0)))]


def is_checkpoint(path: Path) -> bool:
    """Whether it is one by its name, not a folder of them."""
    return bool(_NAME.fullmatch(path.name)) and not listed(path)


def write(folder: Path, step: int, trees: Mapping[str, PyTree], **about: Any) -> Path:
    """One more checkpoint, {file: tree}, in a folder whose lock is held; `about` joins the manifest."""
    leaves = {name: tensors.named_leaves("save", "tree", tree) for name, tree in trees.items()}
    data = {name: tensors.encode(tensors.to_host(tree)) for name, tree in leaves.items()}
    path, same = next_path(folder, step)
    atomic.write_folder(path, data | manifest_files(step, entries(data), leaves, **about))
    for older in same:
        atomic.remove_folder(older)
    return path


def next_path(folder: Path, step: int) -> tuple[Path, list[Path]]:
    """The name of a new checkpoint of this step, and those there are of it, which it replaces."""
    same = [path for path in listed(folder) if _step(path) == step]
    generation = f".{_generation(same[-1]) + 1}" if same else ""
    return folder / f"step-{step:08d}{generation}", same


def entries(data: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """What the manifest says of files with these bytes."""
    return {name: {"sha256": atomic.sha256(part), "bytes": len(part)} for name, part in data.items()}


def manifest_files(step: int, entries: Mapping[str, Any], leaves: Mapping[str, Any], **about: Any) -> dict[str, bytes]:
    """The two files that vouch for the others and for the leaves in them."""
    trees = {name: tensors.description(tree) for name, tree in leaves.items()}
    manifest = {"format": FORMAT, "step": step, "files": entries, "trees": trees, "versions": versions()} | about
    text = (json.dumps(manifest, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
    return {_MANIFEST: text, _SUM: f"{atomic.sha256(text)}  {_MANIFEST}\n".encode()}


def _step(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])


def _generation(path: Path) -> int:
    return int(path.name.partition(".")[2] or 0)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest, verified; DamagedError says what is wrong with it."""
    try:
        text, check = (path / _MANIFEST).read_bytes(), (path / _SUM).read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}: {error.filename}") from error
    if check != f"{atomic.sha256(text)}  {_MANIFEST}\n".encode():
        raise DamagedError(f"{path}: {_MANIFEST} does not have the SHA-256 that {_SUM} says")
    manifest = json.loads(text)
    if manifest.get("format") != FORMAT:
        raise DamagedError(f"{path}: format {manifest.get('format')}; this version of fnn reads format {FORMAT}")
    return manifest


def load(path: Path, share: slice = slice(None)) -> VerifiedCheckpoint:
    """All of a checkpoint, verified; DamagedError says what is wrong with it.

    Of files in folders, which are large, only this share is verified, and nothing kept.
    """
    manifest, data = read_manifest(path), {}
    large = sorted(name for name in manifest["files"] if "/" in name)
    others = set(large) - set(large[share])
    for name, expected in manifest["files"].items():
        if name in others:
            continue
        try:
            if name in large:
                found, size = atomic.sha256_of(path / name)
            else:
                data[name] = (path / name).read_bytes()
                found, size = atomic.sha256(data[name]), len(data[name])
        except OSError as error:
            raise DamagedError(f"{path}: {error.strerror}: {error.filename}") from error
        if found != expected["sha256"]:
            sizes = f"{size} bytes of {expected['bytes']}"
            raise DamagedError(f"{path}: {name} does not have its SHA-256 ({sizes})")
    return VerifiedCheckpoint(path, manifest, data)


def newest(folder: Path, function: str = "restore") -> tuple[VerifiedCheckpoint | None, list[Path]]:
    """The newest checkpoint that is good, and the damaged ones after it, of each of which a CheckpointWarning tells.

    None if there are none at all; DamagedError if there are some and none is good.
    """
    found, damaged = None, []
    for _ in range(10):  # a training may be removing old ones meanwhile
        found, damaged = last_good(function, folder, listed(folder), load)
        if found or not listed(folder):
            break
    return found, damaged


def last_good(
    function: str, folder: Path, paths: list[Path], load: Callable[[Path], VerifiedCheckpoint], warn: bool = True
) -> tuple[VerifiedCheckpoint | None, list[Path]]:
    """`newest` among these of a folder's checkpoints."""
    damaged: dict[Path, str] = {}
    for path in reversed(paths):
        try:
            found = load(path)
        except DamagedError as error:
            if path.exists():
                damaged[path] = str(error)
            continue
        for message in damaged.values() if warn else ():
            warnings.warn(f"{function}: damaged: {message}; {path.name} is used instead", CheckpointWarning, 4)
        return found, list(damaged)
    if damaged:
        reasons = "; ".join(damaged.values())
        raise DamagedError(f"{function}: none of the {len(damaged)} checkpoints in {folder} is good: {reasons}")
    return None, []


def restore_tree(function: str, loaded: VerifiedCheckpoint, name: str, like: PyTree) -> PyTree:
    """One of a checkpoint's trees, in the form of `like`."""
    source = f"{loaded.path / name}"
    leaves = tensors.check_like(function, like, loaded.manifest["trees"][name], source)
    arrays = tensors.decode(loaded.files[name], source)
    split = {leaf: leaves[leaf] for leaf in leaves if leaf not in arrays}
    if split:
        from fnn.checkpoint.split import read_split, split_folder_name

        arrays |= read_split(loaded.path / split_folder_name(name), split)
    return tensors.rebuild(function, like, leaves, arrays)


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """The folder, made if it is missing, locked, and without what killed processes left."""
    atomic.make_folder(folder)
    with atomic.lock(folder):
        atomic.remove_temporaries(folder)
        yield


def save(folder: str | Path, tree: PyTree, *, step: int | None = None) -> Path:
    """Saves a TrainState, or any tree of arrays with the step it belongs to, durably -> the new checkpoint's path.

    An earlier one of the same step is replaced; others stay. OSError names the file that could not be written: what
    was there before is then as it was. LockedError if a training is writing into the folder.

    >>> import fnn, tempfile
    >>> state = fnn.init_state(fnn.dense(3, 2), fnn.sgd(0.1), jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder, state).name, restore(folder, state).params.w.shape
    ('step-00000000', (3, 2))
    """
    step = checks.step_of("save", tree, step)
    folder = Path(folder)
    with open_folder(folder):
        return write(folder, step, {STATE: tree})


def restore(path: str | Path, like: PyTree) -> PyTree:
    """The tree that was saved: of a checkpoint, or of the newest good one in a folder of them.

    `like` has the tree, shapes and dtypes to expect: `fnn.init_state(network, optimizer, key)`, or its
    `jax.eval_shape`. Reads what `save` wrote, and the state in what `fit` wrote (for a network with batch_norm,
    `fnn.calibrate` its parameters). A damaged checkpoint is never used: in a folder a CheckpointWarning names it and
    the one before it is; DamagedError (a ValueError) if none is good; FileNotFoundError if there is none.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"restore: there is no {path}")
    if is_checkpoint(path):
        return restore_tree("restore", load(path), STATE, like)
    loaded, _ = newest(path)
    if loaded is None:
        raise FileNotFoundError(f"restore: there is no checkpoint in {path}")
    return restore_tree("restore", loaded, STATE, like)


def latest(folder: str | Path) -> Path | None:
    """The newest good checkpoint in the folder, or None if there are none; warnings and errors as in `restore`."""
    loaded, _ = newest(Path(folder), "latest")
    return None if loaded is None else loaded.path
