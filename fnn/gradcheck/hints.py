"""Likely causes of a wrong gradient: a sign, a factor, a transposition, rounding, permuted rows."""

from collections.abc import Iterator

import ml_dtypes
import numpy as np

SHORTER = (("float32", np.float32), ("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16))


def explain(got: np.ndarray, expected: np.ndarray, tol: float, batch: int = 0) -> str:
    """Name the pattern that relates a wrong gradient to the expected one; return "" if none fits.

    `batch` is the batch size, if known: it explains a factor of m or 1/m.

    >>> g = np.arange(6.0).reshape(3, 2) + 1
    >>> explain(-g, g, 1e-12)
    'sign flipped'
    >>> explain(3 * g, g, 1e-12, batch=3)
    '3 × expected; 3 is the batch size: missing 1/m?'
    """
    if got.shape != expected.shape:
        return ""
    good = np.isfinite(expected)
    if not np.isfinite(got[good]).all():
        bad = int((~np.isfinite(got) & good).sum())
        return f"{bad} element{'s' if bad > 1 else ''} not finite"
    with np.errstate(all="ignore"):
        return "; ".join(_patterns(np.where(good, got, 0.0), np.where(good, expected, 0.0), tol, batch))


def _patterns(got: np.ndarray, g: np.ndarray, tol: float, batch: int) -> Iterator[str]:
    def near(a, b):
        scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
        return a.shape == b.shape and float(np.abs(a - b).max(initial=0.0)) <= 4 * tol + 1e-12 * scale

    wrong = np.abs(got - g) > tol
    part = "" if wrong.all() or wrong.sum() == got.size else _where(wrong)
    if not got.any():
        yield "backward is zero everywhere"
        return
    a, b = got[wrong], g[wrong]
    if not b.any():
        yield f"expected zero{part}"
        return
    if not a.any():
        rows = _first_row_only(wrong)
        yield "only the first row is right, the rest is zero" if rows else f"zero{part}"
        return
    if near(a, -b):
        yield f"sign flipped{part}"
        return
    of_complex = _complex_pattern(a, b, near) if np.iscomplexobj(b) else ""
    if of_complex:
        yield f"{of_complex}{part}"
        return
    if g.ndim == 2 and g.shape[0] == g.shape[1] and g.size > 1 and near(got, g.T):
        yield "transposed"
        return
    ratio = np.vdot(b, a) / np.vdot(b, b)
    if ratio and (b.size > 1 or got.size == 1) and near(a, ratio * b) and abs(ratio - 1) > 1e-7:
        real = abs(ratio.imag) <= 1e-6 * abs(ratio)
        yield f"{_factor(float(ratio.real), batch) if real else f'{_shown(ratio)} × expected'}{part}"
        return
    for name, dtype in SHORTER:
        if np.array_equal(got, _rounded(got, dtype)) and near(got, _rounded(g, dtype)):
            yield f"rounded to {name}"
            return
    if g.ndim >= 1 and 1 < g.shape[0] <= 1024 and _permuted(got, g, near):
        yield "rows permuted"
        return
    offset = (a - b).mean()
    if a.size > 1 and near(a, b + offset):
        yield f"a constant {offset:+.3g} added{part}"
        return
    size = float(np.abs(a - b).max() / np.abs(b).max())
    yield f"relative error {size:.1g}{part}" if size < 1e-2 else part.strip(" ,")


def _complex_pattern(got: np.ndarray, g: np.ndarray, near) -> str:
    """Return what relates wrong complex numbers to the expected ones, or ""."""
    zero, real, imaginary = np.zeros(g.shape), np.real(g), np.imag(g)
    if imaginary.any() and near(got, np.conj(g)):
        return "conjugated: JAX's gradient is ∂f/∂x - i ∂f/∂y, without a conjugate; PyTorch's is ∂f/∂x + i ∂f/∂y"
    if imaginary.any() and near(got, -np.conj(g)):
        return "conjugated, and sign flipped"
    if imaginary.any() and near(np.imag(got), zero) and near(np.real(got), real):
        return "the imaginary part is zero"
    if real.any() and near(np.real(got), zero) and near(np.imag(got), imaginary):
        return "the real part is zero"
    return ""


def _shown(ratio: complex) -> str:
    real, imaginary = (0.0 if abs(v) < 1e-9 * abs(ratio) else v for v in (ratio.real, ratio.imag))
    return f"({real:.6g}{imaginary:+.6g}j)" if real else f"{imaginary:.6g}j"


def _rounded(g: np.ndarray, dtype) -> np.ndarray:
    parts = g.view(np.float64) if np.iscomplexobj(g) else g
    return parts.astype(dtype).astype(np.float64).view(g.dtype)


def _factor(ratio: float, batch: int) -> str:
    digits = next(n for n in (6, 8, 10, 12) if n == 12 or float(f"{ratio:.{n}g}") != 1)
    shown = f"{ratio:.{digits}g} × expected"
    for times, meaning in ((ratio, "missing 1/m?"), (1 / ratio, "divided by m once too often?")):
        whole = round(times)
        if batch > 1 and abs(times - whole) < 1e-6 * abs(times) and whole == batch:
            return f"{shown}; {whole} is the batch size: {meaning}"
    return f"{shown}; sign flipped too" if ratio < 0 else shown


def _where(wrong: np.ndarray) -> str:
    count = int(wrong.sum())
    if count == 1:
        return " at one index"
    for axis in range(wrong.ndim if wrong.ndim > 1 else 0):
        others = tuple(a for a in range(wrong.ndim) if a != axis)
        lines = np.flatnonzero(wrong.any(axis=others))
        if len(lines) == 1:
            return f", only in index {lines[0]} of axis {axis}"
    return f" in {count} of {wrong.size} elements"


def _first_row_only(wrong: np.ndarray) -> bool:
    return wrong.ndim > 0 and wrong.shape[0] > 1 and not wrong[0].any() and bool(wrong[1:].any())


def _permuted(got: np.ndarray, g: np.ndarray, near) -> bool:
    rows, wanted = got.reshape(len(got), -1), g.reshape(len(g), -1)
    return near(rows[np.lexsort(rows.T)], wanted[np.lexsort(wanted.T)])
