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
import os
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import hashing
from fnn.checkpoint import tensors
from fnn.checkpoint.regular_files import DamagedError, open_regular, read_regular
from fnn.checkpoint.schema import FORMAT, NewerFormatError, check_arrays, parse
from fnn.checkpoint.schema import STATE as STATE
from fnn.checkpoint.schema import TRAINING as TRAINING
from fnn.checkpoint.split import check_no_other_files, split_folder_name

_MANIFEST, _SUM = "manifest.json", "manifest.sha256"
_MAX_MANIFEST = 2**28  # bytes
_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")


class VerifiedCheckpoint(NamedTuple):
    """A checkpoint whose hashes were verified.

    Attributes:
      path: the checkpoint's folder.
      manifest: the content of its manifest.
      arrays: the arrays of its safetensors files, `{file: {leaf: array}}`.
    """

    path: Path
    manifest: dict[str, Any]
    arrays: dict[str, dict[str, Any]]


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
        if os.path.lexists(folder):  # a file system that is shared may fail so
            raise
        return []
    return [path for match, path in sorted(found, key=lambda item: (int(item[0][1]), int(item[0][2] or 0)))]


def is_checkpoint(path: Path) -> bool:
    """Return True for the path of a checkpoint, False for a folder of them."""
    return bool(_NAME.fullmatch(path.name)) and not (path.is_dir() and list_checkpoints(path))


def next_path(folder: Path, step: int) -> tuple[Path, list[Path]]:
    """Return the path of a new checkpoint, and those of its step to replace."""
    same_step = [path for path in list_checkpoints(folder) if _step(path) == step]
    suffix = f".{_generation(same_step[-1]) + 1}" if same_step else ""
    return folder / f"step-{step:08d}{suffix}", same_step


def _step(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])


def _generation(path: Path) -> int:
    return int(path.name.partition(".")[2] or 0)


def encode(manifest: Mapping[str, Any]) -> str:
    """Return the text of a manifest, or of a part of it."""
    to_python = lambda value: value.item() if isinstance(value, np.generic) else json.JSONEncoder().default(value)
    return json.dumps(manifest, indent=1, ensure_ascii=True, allow_nan=False, default=to_python)


def manifest_files(step: int, files: Mapping[str, Any], trees: Mapping[str, Any], **extra: Any) -> dict[str, bytes]:
    """Return the contents of the manifest and of its hash file.

    Args:
      step: the step of the checkpoint.
      files: `{file: {"sha256": …, "bytes": …}}` of all other files.
      trees: `{file: description}` of the saved trees.
      **extra: more entries of the manifest; values that JSON can hold, and NumPy's scalars.
    """
    manifest = {"format": FORMAT, "step": step, "files": files, "trees": trees, "versions": versions()} | extra
    text = (encode(manifest) + "\n").encode()
    return {_MANIFEST: text, _SUM: f"{hashing.sha256(text)}  {_MANIFEST}\n".encode()}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint and verify it.

    Raises:
      DamagedError: if it is missing, its hash differs, or its content is not that of a manifest.
      NewerFormatError: if its format is newer than this version of fnn.
      OSError: if it cannot be read now.
    """
    text, check = read_regular(path, _MANIFEST, _MAX_MANIFEST), read_regular(path, _SUM, 1000)
    if check != f"{hashing.sha256(text)}  {_MANIFEST}\n".encode():
        raise DamagedError(f"{path}: {_MANIFEST} does not have the SHA-256 that {_SUM} records")
    return parse(text, f"{path}: {_MANIFEST}")


def may_be_removed(path: Path) -> bool:
    """Return False for a checkpoint that cannot be read now or that a newer version of fnn wrote."""
    try:
        read_manifest(path)
    except DamagedError:
        return True
    except (OSError, NewerFormatError):
        return False
    return True


def load(path: Path, share: slice = slice(None)) -> VerifiedCheckpoint:
    """Read a checkpoint and verify the SHA-256 of its files.

    Only the files that the manifest lists are read.

    Args:
      path: the checkpoint's folder.
      share: which of orbax's files to verify, as a slice of their sorted names. They are large, so several processes
        divide them among each other. Their contents are not kept.

    Raises:
      DamagedError: if a file is missing, differs from its hash or from the manifest; the message names the file.
      NewerFormatError: if a newer version of fnn wrote it.
      OSError: if a file cannot be read now.
    """
    manifest, arrays = read_manifest(path), {}
    orbax_files = sorted(name for name in manifest["files"] if "/" in name)
    for name in orbax_files[share]:
        with open_regular(path, name) as file:
            _check(path, name, manifest, *hashing.sha256_file(file))
    for name, leaves in manifest["trees"].items():
        folder = split_folder_name(name)
        own = {file for file in orbax_files if file.startswith(f"{folder}/")}
        if own:
            check_no_other_files(path, folder, own)
        data = read_regular(path, name, manifest["files"][name]["bytes"])
        _check(path, name, manifest, hashing.sha256(data), len(data))
        arrays[name] = tensors.decode(data, f"{path}: {name}")
        check_arrays(f"{path}: {name}", leaves, arrays[name], has_split=bool(own))
    return VerifiedCheckpoint(path, manifest, arrays)


def _check(path: Path, name: str, manifest: Mapping[str, Any], found: str, size: int) -> None:
    expected = manifest["files"][name]
    if found != expected["sha256"]:
        raise DamagedError(f"{path}: {name} does not have its SHA-256 ({size} bytes of {expected['bytes']})")
