"""Change, list and fail to read the files of checkpoints."""

import json
import os
from pathlib import Path

import jax

import fnn
from fnn import hashing
from tests.support.training import SGD, SMALL

STATE = fnn.init_state(SMALL, SGD, jax.random.key(3))


def names(folder) -> list[str]:
    """The names of everything in a folder of checkpoints but the lock."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != ".lock")


def failing_open(patch, code: int, *, on: str, which: int = 1) -> None:
    """Make the `which`-th opening of a file whose path contains `on` fail, and no other."""
    real, left = os.open, [which]

    def open_(path, *args, **options):
        if on in os.fspath(path):
            left[0] -= 1
            if not left[0]:
                raise OSError(code, os.strerror(code), os.fspath(path))
        return real(path, *args, **options)

    patch.setattr(os, "open", open_)
    patch.setattr(Path, "read_bytes", lambda self: _read(open_, self))


def _read(open_, path: Path) -> bytes:
    with os.fdopen(open_(path, os.O_RDONLY), "rb") as file:
        return file.read()


def rewrite(path: Path, change) -> None:
    """Change the manifest of a checkpoint, with a fitting hash. `change` gets its content and returns bytes or JSON."""
    changed = change(json.loads((path / "manifest.json").read_text()))
    text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    (path / "manifest.json").write_bytes(text)
    (path / "manifest.sha256").write_text(f"{hashing.sha256(text)}  manifest.json\n")


def list_file(content: dict, name: str, data: bytes = b"") -> dict:
    """List another file in the content of a manifest."""
    entry = {"sha256": hashing.sha256(data), "bytes": len(data)}
    return content | {"files": content["files"] | {name: entry}}
