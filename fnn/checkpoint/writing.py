"""Writing a checkpoint, in two steps: what all processes do together, and what process 0 writes alone.

Process 0 writes the manifest and every leaf that each device holds whole; all processes write their shards of the
other leaves (`split`). A new checkpoint becomes visible only when every file is written, flushed and verified.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from fnn.checkpoint import atomic, manifest, split, tensors
from fnn.checkpoint.lock import FolderLock
from fnn.sharding import agreement


def check_writable(function: str, trees: Mapping[str, PyTree], **extra: Any) -> None:
    """Check, before a training begins, that `write` can save its trees and these entries of the manifest.

    Args:
      function: the function to name in errors.
      trees: `{file name: tree}`.
      **extra: more entries of the manifest.

    Raises:
      TypeError, ValueError: if a leaf, its name, or an entry cannot be saved.
      ImportError: if several processes would need orbax to save the trees.
    """
    for name, tree in trees.items():
        tensors.named_leaves(function, f"the {name.partition('.')[0]} to save in checkpoints", tree)
    manifest.encode(extra)
    if agreement.is_multiprocess():
        split.require_orbax(function, [*trees.values()])


class Prepared(NamedTuple):
    """A checkpoint of which nothing is left to do but to write the arrays that process 0 holds on the host.

    Attributes:
      held: the lock of the folder.
      path: the checkpoint's path.
      temporary: the folder in which it is written.
      arrays: `{file: {leaf: array}}`, what is to be written; nothing in other processes than process 0.
      entries: the manifest's entries of the files that are written already.
      replaced: earlier checkpoints of the same step.
      described: the other entries of the manifest.
    """

    held: FolderLock
    path: Path
    temporary: Path
    arrays: dict[str, dict[str, np.ndarray]]
    entries: dict[str, Any]
    replaced: list[Path]
    described: dict[str, Any]


def prepare(
    held: FolderLock,
    step: int,
    trees: Mapping[str, PyTree],
    *,
    memory: dict[str, dict[str, np.ndarray]] | None = None,
    sharded: bool = False,
    **extra: Any,
) -> Prepared:
    """Do what all processes do together for a checkpoint in a folder whose lock is held.

    They write the split leaves with orbax, whose communication must not run beside that of a training. All other
    leaves are brought to the host, in process 0.

    Args:
      held: the lock, as `open_folder` returns it.
      step: the step of the checkpoint.
      trees: `{file name: tree}`.
      memory: the host's memory to copy the leaves into, by file and leaf. None: on the CPU the leaves are not copied,
        and must stay as they are until the checkpoint is written.
      sharded: write sharded leaves with orbax even in a single process. Several processes always use orbax.
      **extra: more entries of the manifest.
    """
    leaves = {name: tensors.named_leaves("save", "tree", tree) for name, tree in trees.items()}
    is_separate = split.is_split if sharded or agreement.is_multiprocess() else lambda leaf: False
    separate = {name: {n: leaf for n, leaf in tree.items() if is_separate(leaf)} for name, tree in leaves.items()}
    split.require_orbax("save", separate)
    whole = {name: {n: leaf for n, leaf in tree.items() if n not in separate[name]} for name, tree in leaves.items()}
    arrays, folder = {}, held.folder
    with agreement.fail_together("save"):
        if agreement.is_main_process():
            held.check()
            for name, tree in whole.items():
                into = None if memory is None else memory.setdefault(name, {})
                arrays[name] = tensors.to_host(tree) if into is None else tensors.copy_to_host(tree, into)
    path, replaced = manifest.next_path(folder, step)
    names = [path.name, atomic.temporary_path(path).name]
    path, temporary = (folder / name for name in agreement.all_gather_json(names)[0])
    with agreement.fail_together("save"):
        if agreement.is_main_process():
            temporary.mkdir()
    try:
        for name, tree in separate.items():
            if tree:
                split.write_split(temporary / split.split_folder_name(name), tree)
        entries = split.hash_split(temporary)
    except BaseException:
        if agreement.is_main_process():
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    described = {"step": step, "trees": {name: tensors.description(tree) for name, tree in leaves.items()}}
    described |= json.loads(manifest.encode(extra))  # a copy: the caller may change what it passed
    return Prepared(held, path, temporary, arrays, entries, replaced, described)


def finish(prepared: Prepared, check: Callable[[], None]) -> None:
    """Write, verify and rename a checkpoint. It needs no other process, and no thread but its own.

    Earlier checkpoints of the same step are then removed, unless they cannot be read or are of a newer format.

    Args:
      prepared: what `prepare` returned in process 0.
      check: called all the time, to raise if the work is to end. The checkpoint is then left out.

    Raises:
      OSError: if a file cannot be written; the error names the file.
      LockedError: if the folder was removed or replaced.
    """
    temporary, entries = prepared.temporary, dict(prepared.entries)
    try:
        for name, tree in prepared.arrays.items():
            entries[name] = atomic.write_new(temporary / name, tensors.encode(tree), check)
        for name, text in manifest.manifest_files(files=entries, **prepared.described).items():
            atomic.write_new(temporary / name, [text])
        atomic.finish_folder(temporary, prepared.path, check)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for older in filter(manifest.may_be_removed, prepared.replaced):
        atomic.remove_folder(older)


def write(held: FolderLock, step: int, trees: Mapping[str, PyTree], **options: Any) -> Path:
    """Write a checkpoint into a folder whose lock is held, and return its path. The options are those of `prepare`."""
    prepared = prepare(held, step, trees, **options)
    with agreement.fail_together("save"):
        if agreement.is_main_process():
            finish(prepared, held.check)
    return prepared.path
