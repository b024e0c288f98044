"""Whether a checkpoint belongs to a training: its fingerprint compared with that of the training.

fnn 0.1.0 wrote fingerprints of version 1. They describe the functions of the network, the loss and the optimizer by
their modules and by private names, which have changed. Of these only the readable parts are compared: the names of
the layers and of the loss, the kind of the optimizer and its numbers, the names of the metrics.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fnn.training.description import describe
from fnn.training.fingerprint import FROM_KEY, INIT, VERSION
from fnn.weights import is_weight

Fingerprint = Mapping[str, Any]

CHANGEABLE = (
    "network",
    "loss",
    "optimizer",
    "metrics",
    "l2",
    "is_weight",
    "batch_size",
    "patience",
    "micro_batch_size",
    "precision",
    "deterministic",
    "data",
    "validation",
    "state",
)
"""What may differ from the training that saved a checkpoint, if the caller of `fit` allows it."""

_NUMBER = re.compile(r"(?<![\w.#])-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)\b")
_TRUNCATED = "… #"
_SAMPLED = ", of it "


def is_version_1(saved: Fingerprint) -> bool:
    """Return True for a fingerprint of fnn 0.1.0, which can only be compared in part."""
    return "identity" not in saved


def find_differences(saved: Fingerprint, current: Fingerprint, allowed: Sequence[str] = ()) -> list[str]:
    """Return the differences between a checkpoint's fingerprint and that of a training, each in words.

    The entries in `allowed` may differ, and so may the code of functions, for which see `find_other_code`.

    >>> find_differences({"identity": 2, "l2": 0.0, "patience": 5}, {"identity": 2, "l2": 0.5, "patience": 5})
    ['l2 was 0.0, is 0.5']
    """
    if saved.get("identity", 1) > VERSION:
        return [f"a newer version of fnn wrote it (identity was {saved['identity']}, is {VERSION})"]
    names = [name for name in differing_names(saved, current) if name not in allowed]
    saved = _completed(saved, current)
    return [f"{name} was {saved.get(name)}, is {current.get(name)}" for name in names]


def differing_names(saved: Fingerprint, current: Fingerprint) -> list[str]:
    """Return the names of the entries that differ, without `code`."""
    completed = _completed(saved, current)
    names = sorted((set(completed) | set(current)) - {"code"})
    if is_version_1(saved):
        completed, current = _comparable(completed, current), _comparable(current, completed)
    return [name for name in names if not _is_equal(completed.get(name), current.get(name))]


def find_other_code(saved: Fingerprint, current: Fingerprint) -> list[str]:
    """Return the names of the parts whose functions do what they did with other code. Empty if it is not known."""
    before, now = saved.get("code", {}), current["code"]
    if before.get("python") != now["python"]:
        return []
    different = differing_names(saved, current)
    return [name for name in before if before[name] != now.get(name) and name not in different]


def _completed(saved: Fingerprint, current: Fingerprint) -> Fingerprint:
    """The fingerprint with the entries that earlier checkpoints do not have. How they computed is not known."""
    saved = {name: current[name] for name in ("precision", "deterministic") if name in current} | dict(saved)
    if not is_version_1(saved):
        return saved
    return {**saved, "identity": VERSION, "is_weight": describe(is_weight), "state": FROM_KEY}


def _comparable(fingerprint: Fingerprint, other: Fingerprint) -> Fingerprint:
    """The fingerprint with only those parts of its texts that can be compared with those of another version."""
    optimizers = fingerprint["optimizer"], other["optimizer"]
    metrics = fingerprint["metrics"], other["metrics"]
    return {
        **fingerprint,
        "network": fingerprint["network"].partition(" #")[0],
        "loss": fingerprint["loss"].partition(" #")[0],
        "optimizer": (_builder(optimizers[0]), _numbers(optimizers[0]) if not _is_truncated(*optimizers) else None),
        "metrics": re.findall(r"'([^']*)'", metrics[0]) if not _is_truncated(*metrics) else None,
        "state": None,  # version 1 did not record it
        "is_weight": fingerprint["is_weight"] if fingerprint["l2"] else None,  # without a penalty it has no effect
    }


def _is_truncated(*texts: str) -> bool:
    return any(_TRUNCATED in text for text in texts)


def _builder(optimizer: str) -> str:
    """`momentum` for "fnn.optimizers.momentum.<locals>.update(beta=0.9)" and for "momentum(beta=0.9)"."""
    return optimizer.partition("(")[0].partition(".<locals>")[0].rpartition(".")[2]


def _numbers(text: str) -> list[float]:
    return sorted(map(float, _NUMBER.findall(text.partition(INIT)[0])))


def _is_equal(saved: Any, current: Any) -> bool:
    """Compare two entries. One process hashes data with #, several with ~: then compare dtypes and shapes alone."""
    if isinstance(saved, list) and isinstance(current, list) and len(saved) == len(current):
        return all(map(_is_equal, saved, current))
    if isinstance(saved, str) and isinstance(current, str) and ("~" in saved) != ("~" in current):
        return saved.partition(" ~")[0].partition(" #")[0] == current.partition(" ~")[0].partition(" #")[0]
    if isinstance(saved, str) and isinstance(current, str) and _SAMPLED in saved:
        return _is_equal_sample(saved, current)
    return saved == current


def _is_equal_sample(saved: str, current: str) -> bool:
    """Compare sampled arrays. Their other rows count if both are in files or both are in memory (fnn.data.identity)."""
    (sample, _, rest), (current_sample, _, current_rest) = saved.partition("; "), current.partition("; ")
    comparable = rest.partition(" ")[0] == current_rest.partition(" ")[0]
    return sample == current_sample and (rest == current_rest or not comparable)
