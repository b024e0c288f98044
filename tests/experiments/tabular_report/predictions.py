"""Predictions made up for the tests of the report."""

import numpy as np

from experiments.tabular_report import Candidate, Column, Contents, Part

HOSTILE = (
    "<script>alert('x')</script>",
    'a "quoted" & <b>bold</b> name',
    "US$ 5 $x^2$ ${title} $$",
    "日本語のクラス名",
    "🦊 fox 🧑‍🚀",
    "עברית: שם ארוך",
    "x" * 300,
    "",
    "\ud800 lone",
    "two\nlines\tand\x00nul\x1b[31m",
)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def classes_part(n: int, k: int, signal: float = 2.5, seed: int = 0) -> Part:
    """Return predictions that know the class with some noise; the linear model's are noisier."""
    random = np.random.default_rng(seed)
    y = np.concatenate([np.arange(k), random.integers(0, k, n - k)])
    z = random.normal(size=(n, k))
    z[np.arange(n), y] += signal
    return Part(y, softmax(z), softmax(0.5 * z + random.normal(size=(n, k))))


def folds(n: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(1).permutation(np.arange(n) % count)


def classes(n: int = 120, names: tuple[str, ...] = ("a", "b", "c"), signal: float = 2.5, **more: object) -> Contents:
    part = classes_part(n, len(names), signal)
    return Contents("title", "A model.", "classes", ("target",), names, part, folds(n), **more)


def quantities(n: int = 120, k: int = 1, **more: object) -> Contents:
    random = np.random.default_rng(2)
    y = random.normal(size=(n, k)) * 10.0 ** np.arange(k) + 5
    noise = random.normal(size=(n, k)) * 10.0 ** np.arange(k)
    targets = tuple(f"quantity {c}" for c in range(k))
    return Contents(
        "title", "A model.", "quantities", targets, (), Part(y, y + 0.3 * noise, y + noise), folds(n), **more
    )


def labels(n: int = 120, k: int = 3, **more: object) -> Contents:
    random = np.random.default_rng(3)
    y = random.integers(0, 2, (n, k))
    p = np.clip(0.4 * y + 0.6 * random.random((n, k)), 0, 1)
    return Contents(
        "title", "A model.", "labels", tuple(f"label {c}" for c in range(k)), (), Part(y, p, p * 0.8), folds(n), **more
    )


def everything(names: tuple[str, ...]) -> dict[str, object]:
    """Return all optional fields, with these names everywhere."""
    random = np.random.default_rng(4)
    curve = ((10, 1.0), (40, 0.6), (160, 0.5), (320, 0.55))
    return {
        "columns": [Column(name, "numeric", name, 3, f"--categorical {name}") for name in names],
        "warnings": names,
        "facts": {name: name for name in names} | {"rows": 120, "share": 0.5, "drop": None, "header": True},
        "features": names,
        "importances": random.normal(size=(len(names), 4)),
        "importance_of": names[0],
        "candidates": [Candidate(name, 0.5 + i, 160, 1.0 * (i == 0), False, curve) for i, name in enumerate(names)],
        "why": names[1],
        "by_rows": ((30, 0.7, 0.05), (60, 0.8, 0.03)),
        "command": f"predict {names[0]}",
        "made_by": f"train {names[1]}",
        "seconds": {"whole": 1.5},
        "versions": {name: name for name in names},
    }
