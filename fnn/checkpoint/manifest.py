"""The format of a checkpoint: names, manifest, verification.

A checkpoint is a folder such as `step-00000042`. A folder of checkpoints holds one or more of them.

    state.safetensors      the saved tree, one name per leaf: `params.0.w`, `opt_state.v.0.w`, `step`, `key`
    training.safetensors   what else `fit` needs to resume: history, early stopping, the partial epoch
    state.orbax/…          leaves of the state that are split over the devices of several processes
    manifest.json          format, step, dtypes and shapes, versions, `fit`'s fingerprint, SHA-256 of each file
    manifest.sha256        SHA-256 of the manifest, in the format of the program sha256sum

A second checkpoint of the same step is named `step-00000042.1`, then `.2`, and replaces the earlier one. Nothing is
pickled: loading a checkpoint runs no code from a file.
"""

import contextlib
import json
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

from fnn import hashing
from fnn.checkpoint import atomic, tensors
from fnn.checkpoint.tensors import DamagedError

FORMAT = 1
STATE, TRAINING = "state.safetensors", "training.safetensors"
_MANIFEST, _SUM = "manifest.json", "manifest.sha256"
_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")


class VerifiedCheckpoint(NamedTuple):
    """A checkpoint whose hashes were verified.

    Attributes:
      path: the checkpoint's folder.
      manifest: the content of its manifest.
      files: the bytes of its files by name, without those of orbax.
    """

    path: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]


def versions() -> dict[str, str]:
    """Return the versions of Python and the libraries, and JAX's backend."""
    names = ("fnn", "jax", "jaxlib", "numpy", "optax", "safetensors")
    found = {"python": platform.python_version(), "backend": jax.default_backend()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in a folder by name, oldest first.

    A folder that does not exist has none.
    """
    try:
        found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return []
    return [path for match, path in sorted(found, key=lambda item: (int(item[0][1]), int(item[0][2] or 0)))]


def is_checkpoint(path: Path) -> bool:
    """Return True for the path of a checkpoint, False for a folder of them."""
    return bool(_NAME.fullmatch(path.name)) and not list_checkpoints(path)


def next_path(folder: Path, step: int) -> tuple[Path, list[Path]]:
    """Return the path of a new checkpoint, and those of its step to replace."""
    same_step = [path for path in list_checkpoints(folder) if _step(path) == step]
    suffix = f".{_generation(same_step[-1]) + 1}" if same_step else ""
    return folder / f"step-{step:08d}{suffix}", same_step


def _step(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])


def _generation(path: Path) -> int:
    return int(path.name.partition(".")[2] or 0)


def file_entries(data: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return the manifest's entries for files with these contents."""
    return {name: {"sha256": hashing.sha256(part), "bytes": len(part)} for name, part in data.items()}


def manifest_files(step: int, entries: Mapping[str, Any], leaves: Mapping[str, Any], **extra: Any) -> dict[str, bytes]:
    """Return the contents of the manifest and of its hash file.

    Args:
      step: the step of the checkpoint.
      entries: `{file: {"sha256": …, "bytes": …}}` of all other files.
      leaves: `{file: {name: leaf}}` of the saved trees, for their dtypes and shapes.
      **extra: more entries of the manifest; values that JSON can hold.
    """
    trees = {name: tensors.description(tree) for name, tree in leaves.items()}
    manifest = {"format": FORMAT, "step": step, "files": entries, "trees": trees, "versions": versions()} | extra
    text = (json.dumps(manifest, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
    return {_MANIFEST: text, _SUM: f"{hashing.sha256(text)}  {_MANIFEST}\n".encode()}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint and verify it.

    Raises:
      DamagedError: if it is missing, its hash differs, or its format is unknown.
    """
    try:
        text, check = (path / _MANIFEST).read_bytes(), (path / _SUM).read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}: {error.filename}") from error
    if check != f"{hashing.sha256(text)}  {_MANIFEST}\n".encode():
        raise DamagedError(f"{path}: {_MANIFEST} does not have the SHA-256 that {_SUM} records")
    manifest = json.loads(text)
    if manifest.get("format") != FORMAT:
        raise DamagedError(f"{path}: format {manifest.get('format')}; this version of fnn reads format {FORMAT}")
    return manifest


def load(path: Path, share: slice = slice(None)) -> VerifiedCheckpoint:
    """Read a checkpoint and verify the SHA-256 of its files.

    Args:
      path: the checkpoint's folder.
      share: which of orbax's files to verify, as a slice of their sorted names. They are large, so several processes
        divide them among each other. Their contents are not kept.

    Raises:
      DamagedError: if a file is missing or differs from its hash; the message names the file.
    """
    manifest, data = read_manifest(path), {}
    orbax_files = sorted(name for name in manifest["files"] if "/" in name)
    skipped = set(orbax_files) - set(orbax_files[share])
    for name, expected in manifest["files"].items():
        if name in skipped:
            continue
        try:
            if name in orbax_files:
                with atomic.name_errors(path / name):
                    found, size = hashing.sha256_file(path / name)
            else:
                data[name] = (path / name).read_bytes()
                found, size = hashing.sha256(data[name]), len(data[name])
        except OSError as error:
            raise DamagedError(f"{path}: {error.strerror}: {error.filename}") from error
        if found != expected["sha256"]:
            sizes = f"{size} bytes of {expected['bytes']}"
            raise DamagedError(f"{path}: {name} does not have its SHA-256 ({sizes})")
    return VerifiedCheckpoint(path, manifest, data)
