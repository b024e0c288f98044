"""Checkpoints whose manifest fits its hash and that are still wrong, each made by changing a good one."""

import json
import os
import shutil
from pathlib import Path

from tests.support.checkpoint_files import list_file, rewrite


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


def link_to_foreign(path: Path) -> None:
    foreign = path.parent / "foreign"
    shutil.move(path / "state.safetensors", foreign)
    (path / "state.safetensors").symlink_to(foreign)


def pipe_for(path: Path, name: str) -> None:
    (path / name).unlink()
    os.mkfifo(path / name)


def folder_for(path: Path, name: str) -> None:
    (path / name).unlink()
    (path / name).mkdir()


def linked_folder(path: Path) -> None:
    shutil.move(path, path.parent / "foreign")
    path.symlink_to("foreign")


def without(content: dict, *keys: str) -> dict:
    """The content without the entry at these keys."""
    if len(keys) == 1:
        return {key: value for key, value in content.items() if key != keys[0]}
    return content | {keys[0]: without(content[keys[0]], *keys[1:])}


def with_leaf_of_state(content: dict, name: str, shape: list) -> dict:
    """The content with this description of a leaf of the state."""
    leaves = content["trees"]["state.safetensors"] | {name: ["int32", shape]}
    return content | {"trees": content["trees"] | {"state.safetensors": leaves}}


HOSTILE = {
    "a list": lambda path: rewrite(path, lambda content: []),
    "a number": lambda path: rewrite(path, lambda content: 7),
    "null": lambda path: rewrite(path, lambda content: None),
    "not JSON": lambda path: rewrite(path, lambda content: b"{"),
    "not Unicode": lambda path: rewrite(path, lambda content: b'{"a": "\xff"}'),
    "a number of 5,000 digits": lambda path: rewrite(path, lambda content: b"[" + b"1" * 5000 + b"]"),
    "10,000 levels": lambda path: rewrite(path, lambda content: deep(10_000).encode()),
    "100,000 objects": lambda path: rewrite(path, lambda content: b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "500 levels below": lambda path: rewrite(path, lambda content: content | {"configuration": json.loads(deep(500))}),
    "no state": lambda path: rewrite(path, lambda content: without(content, "files", "state.safetensors")),
    "no tree of the state": lambda path: rewrite(path, lambda content: without(content, "trees", "state.safetensors")),
    "no files": lambda path: rewrite(path, lambda content: content | {"files": {}}),
    "files is a list": lambda path: rewrite(path, lambda content: content | {"files": []}),
    "an entry is null": lambda path: rewrite(
        path, lambda content: content | {"files": content["files"] | {"training.safetensors": None}}
    ),
    "a size is text": lambda path: rewrite(
        path,
        lambda content: content | {"files": content["files"] | {"training.safetensors": {"sha256": "", "bytes": ""}}},
    ),
    "trees is text": lambda path: rewrite(path, lambda content: content | {"trees": "state.safetensors"}),
    "a shape is text": lambda path: rewrite(
        path, lambda content: content | {"trees": content["trees"] | {"state.safetensors": {"step": ["int32", "x"]}}}
    ),
    "no versions": lambda path: rewrite(path, lambda content: without(content, "versions")),
    "versions is a list": lambda path: rewrite(path, lambda content: content | {"versions": ["jax"]}),
    "no format": lambda path: rewrite(path, lambda content: without(content, "format")),
    "format is text": lambda path: rewrite(path, lambda content: content | {"format": "2"}),
    "format is true": lambda path: rewrite(path, lambda content: content | {"format": True}),
    "training is a list": lambda path: rewrite(path, lambda content: content | {"training": [1]}),
    "an epoch is text": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"epoch": "2"}}
    ),
    "an epoch is huge": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"epoch": 10**30}}
    ),
    "a score is text": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"score": "low"}}
    ),
    "no configuration": lambda path: rewrite(path, lambda content: without(content, "configuration")),
    "configuration is a list": lambda path: rewrite(path, lambda content: content | {"configuration": []}),
    "identity is text": lambda path: rewrite(
        path, lambda content: content | {"configuration": content["configuration"] | {"identity": "x"}}
    ),
    "version 1 without an optimizer": lambda path: rewrite(
        path, lambda content: without(without(content, "configuration", "identity"), "configuration", "optimizer")
    ),
    "a score is huge": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"score": 10**400}}
    ),
    "a score is not a number": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"score": float("nan")}}
    ),
    "code is null": lambda path: rewrite(
        path, lambda content: content | {"configuration": content["configuration"] | {"code": None}}
    ),
    "files twice": lambda path: rewrite(path, lambda content: b'{"files": {}, ' + json.dumps(content).encode()[1:]),
    "../x": lambda path: rewrite(path, lambda content: list_file(content, "../x")),
    "an absolute name": lambda path: rewrite(path, lambda content: list_file(content, "/dev/zero")),
    "a name in a folder above": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/../../x")),
    "an empty name": lambda path: rewrite(path, lambda content: list_file(content, "")),
    "a name with a zero byte": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/a\0b")),
    "a long name": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/" + "x" * 5000)),
    "half a surrogate pair": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/\ud800")),
    "a name of no tree": lambda path: rewrite(path, lambda content: list_file(content, "other")),
    "a leaf more": lambda path: rewrite(path, lambda content: with_leaf_of_state(content, "x", [])),
    "a leaf less": lambda path: rewrite(path, lambda content: without(content, "trees", "state.safetensors", "step")),
    "another shape": lambda path: rewrite(path, lambda content: with_leaf_of_state(content, "step", [1])),
    "a pipe as manifest": lambda path: pipe_for(path, "manifest.json"),
    "a pipe as hash": lambda path: pipe_for(path, "manifest.sha256"),
    "a pipe as state": lambda path: pipe_for(path, "state.safetensors"),
    "a folder as state": lambda path: folder_for(path, "state.safetensors"),
    "a folder as manifest": lambda path: folder_for(path, "manifest.json"),
    "a link as state": link_to_foreign,
    "a device behind a link": lambda path: (
        (path / "state.safetensors").unlink(),
        (path / "state.safetensors").symlink_to("/dev/zero"),
    ),
    "a link as checkpoint": linked_folder,
    "a link to nothing as checkpoint": lambda path: (shutil.rmtree(path), path.symlink_to("nothing")),
    "a file as checkpoint": lambda path: (shutil.rmtree(path), path.write_bytes(b"")),
    "a pipe as checkpoint": lambda path: (shutil.rmtree(path), os.mkfifo(path)),
}
