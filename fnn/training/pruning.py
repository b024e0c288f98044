"""Which checkpoints of a training to keep."""

import math
from pathlib import Path

from fnn.checkpoint import DamagedError, NewerFormatError, atomic, manifest
from fnn.checkpoint.lock import FolderLock

Scores = dict[str, float | None]
"""The score of each checkpoint by name; None for one that has none or is damaged."""


def prune(held: FolderLock, keep: int, scores: Scores) -> None:
    """Remove the checkpoints in a folder that are neither among the last `keep` nor the best.

    Those that cannot be read now, and those of a newer format, are not removed.

    Args:
      held: the lock of the folder.
      keep: number of newest checkpoints to keep.
      scores: the scores known so far. Those of other checkpoints are read, and added.

    Raises:
      LockedError: if the folder was removed or replaced; then nothing is removed.
    """
    paths = manifest.list_checkpoints(held.folder)
    unreadable = {path for path in paths if path.name not in scores and not _read_score(path, scores)}
    known = {path: score for path in paths if (score := scores.get(path.name)) is not None and not math.isnan(score)}
    best = min(known, key=lambda path: known[path], default=None)  # the first, if several have the lowest score
    removed = [path for path in paths[:-keep] if path != best and path not in unreadable]
    held.check()
    for path in removed:
        atomic.remove_folder(path)
        del scores[path.name]


def _read_score(path: Path, scores: Scores) -> bool:
    """Add the score of a checkpoint to `scores`. Return False if it cannot be read."""
    try:
        training = manifest.read_manifest(path).get("training") or {}
        scores[path.name] = training.get("score")
    except DamagedError:
        scores[path.name] = None
    except (OSError, NewerFormatError):
        return False
    return True
