"""Find and verify checkpoints. If there are several processes, all of them call each function here and agree."""

import json
import os
import warnings
from pathlib import Path

from fnn import hashing
from fnn.checkpoint import manifest, split
from fnn.checkpoint.lock import CheckpointWarning
from fnn.checkpoint.manifest import VerifiedCheckpoint, list_checkpoints
from fnn.checkpoint.regular_files import DamagedError
from fnn.sharding import agreement


def load(path: Path) -> VerifiedCheckpoint:
    """Read and verify a checkpoint. If one process finds damage, all processes raise.

    Raises:
      DamagedError: if a file is missing or differs from its hash.
      FileNotFoundError: if there is no checkpoint of this name any more; if process 0 finds none, all processes raise.
      ValueError: if the processes see different checkpoints at this path, or if a newer version of fnn wrote it.
    """
    loaded, found = None, {"damage": "", "gone": False, "sha256": ""}
    with agreement.fail_together("restore"):
        try:
            loaded = manifest.load(path, split.process_share() if agreement.is_multiprocess() else slice(None))
            found["sha256"] = hashing.sha256(json.dumps(loaded.manifest, sort_keys=True).encode())
        except DamagedError as error:
            found |= {"damage": str(error), "gone": not os.path.lexists(path)}
    reports = agreement.all_gather_json(found)
    if reports[0]["gone"]:  # process 0 decides for all; a file system may show the others something else
        raise FileNotFoundError(f"{path} does not exist any more")
    if any(report["gone"] for report in reports):
        raise ValueError(f"{path}: the folder of checkpoints must be one that all processes see")
    damage = [report["damage"] for report in reports if report["damage"]]
    if damage or loaded is None:
        raise DamagedError(damage[0])
    if len({report["sha256"] for report in reports}) > 1:
        raise ValueError(f"restore: {path} must be the same checkpoint in every process, got different ones")
    return loaded


def newest(folder: Path, function: str = "restore") -> tuple[VerifiedCheckpoint | None, list[Path]]:
    """Return the newest good checkpoint, and the damaged ones that are newer.

    The checkpoint is None if the folder holds none at all. Process 0 warns of each damaged one. A checkpoint that
    cannot be read now is not damaged, and neither is one of a newer format: their errors are raised.

    Raises:
      DamagedError: if there are checkpoints and none is good.
      NewerFormatError: if the newest one that is not damaged is of a newer format.
      OSError: if that one cannot be read now.
    """
    loaded, damaged = None, []
    for _ in range(10):  # a training in another process may be removing old checkpoints at the same time
        paths = _agreed_checkpoints(folder)
        loaded, damaged = _last_good(function, folder, paths)
        if loaded or not paths:
            break
    return loaded, damaged


def _agreed_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder as process 0 sees them."""
    with agreement.fail_together("restore"):
        names = [path.name for path in list_checkpoints(folder)]
    return [folder / name for name in agreement.all_gather_json(names)[0]]


def _last_good(function: str, folder: Path, paths: list[Path]) -> tuple[VerifiedCheckpoint | None, list[Path]]:
    """Apply `newest` to these checkpoints of a folder."""
    damaged: dict[Path, str] = {}
    for path in reversed(paths):
        try:
            loaded = load(path)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            damaged[path] = str(error)
            continue
        for message in damaged.values() if agreement.is_main_process() else ():
            warnings.warn(f"{function}: damaged: {message}; {path.name} is used instead", CheckpointWarning, 4)
        return loaded, list(damaged)
    if damaged:
        reasons = "; ".join(damaged.values())
        raise DamagedError(f"{function}: none of the {len(damaged)} checkpoints in {folder} is good: {reasons}")
    return None, []
