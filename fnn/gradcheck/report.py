"""What a check found: LeafReport, GradReport, GradientError, and how they are shown."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MISS = 1e-6
"""The probability δ with which an error of size `min_detectable` may be missed."""


class GradientError(AssertionError):
    """A gradient is wrong; the message is the report."""


class GradientTreeError(GradientError, ValueError):
    """A backward returned another tree than its arguments have."""


class LeafReport(NamedTuple):
    """What was found out about the gradient of one leaf.

    `status` is "PASS", "FAIL", "KINK" (it differs from the reference at a kink of the function only), "SKIPPED"
    (not differentiable: `hint` says why) or "INCONCLUSIVE" (no check could decide).
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    status: str
    max_error: float | None = None
    """The largest |backward - expected| of an element, over the points."""
    tol: float | None = None
    """The tolerance that belongs to `max_error`."""
    worst_index: tuple[int, ...] | None = None
    num_wrong: int | None = None
    """How many elements are wrong at the worst point; None where only directions were tested."""
    step: float | None = None
    """The relative step h that the differences chose."""
    kink: str | None = None
    min_detectable: float | None = None
    """The least ‖error‖ / ‖gradient‖ detected with probability 1 - 1e-6: by differences where they decide."""
    hint: str = ""
    evidence: tuple[str, ...] = ()
    """The lines of the report that belong to this leaf."""

    @property
    def label(self) -> str:
        """The path as it is printed: the only leaf of the only argument has an empty one."""
        return self.path or "[0]"


class GradReport(NamedTuple):
    """The verdict on a backward function: `ok`, one LeafReport per leaf, one line per check, the key to repeat it.

    >>> GradReport(True, (LeafReport("['w']", (2,), "float32", "PASS"),), {"reference": "PASS"}, 7).ok
    True
    """

    ok: bool
    leaves: tuple[LeafReport, ...]
    checks: dict[str, str]
    """Name of the check -> "PASS", "FAIL: why", "SKIPPED: why" or "INCONCLUSIVE: why"."""
    key: Any
    name: str = "check_vjp"
    precision: str = "float64"
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """The report as plain text: what is wrong and where, what was covered, how to repeat it."""
        return "\n".join(_lines(self))

    def __str__(self) -> str:
        return self.summary()

    def __rich__(self):
        """The report as a rich table, a row per leaf."""
        return _table(self)


def show_key(key) -> str:
    """The expression that makes a key again.

    >>> show_key(jax.random.key(7))
    'jax.random.key(7)'
    """
    if isinstance(key, int):
        return f"jax.random.key({key})"
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = [int(w) for w in np.asarray(jax.random.key_data(key) if typed else key).ravel()]
    if len(words) == 2 and words[0] == 0:
        return f"jax.random.key({words[1]})"
    return f"jax.random.wrap_key_data(jnp.array({words}, 'uint32'))"


def _headline(report: GradReport) -> str:
    checked = [leaf for leaf in report.leaves if leaf.status != "SKIPPED"]
    where = f"({report.precision}, key {show_key(report.key).removeprefix('jax.random.key(').removesuffix(')')})"
    wrong = sum(leaf.status == "FAIL" for leaf in checked)
    if wrong:
        return f"{wrong} of {len(checked)} leaves wrong {where}"
    if not report.ok:
        undecided = sum(leaf.status == "INCONCLUSIVE" for leaf in checked)
        return f"{undecided} of {len(checked)} leaves undecided {where}" if undecided else f"check failed {where}"
    return f"all {len(checked)} leaves pass {where}"


def _lines(report: GradReport):
    yield _headline(report)
    for leaf in report.leaves:
        if leaf.status in ("FAIL", "KINK", "INCONCLUSIVE"):
            yield f"{leaf.label} {leaf.shape}: {leaf.status}"
            yield from (f"  {line}" for line in leaf.evidence)
            if leaf.hint:
                yield f"  hint: {leaf.hint}"
        elif leaf.status == "PASS" and (leaf.kink or leaf.hint):
            yield f"{leaf.label} {leaf.shape}: PASS ({leaf.kink or leaf.hint})"
    for name, verdict in report.checks.items():
        if verdict != "PASS":
            yield f"{name}: {verdict}"
    passed = [leaf for leaf in report.leaves if leaf.status == "PASS"]
    yield f"{len(passed)} {'leaf passes' if len(passed) == 1 else 'leaves pass'}. {_coverage(report)}"
    for leaf in report.leaves:
        if leaf.status == "SKIPPED":
            yield f"Skipped: {leaf.label} {leaf.shape} {leaf.dtype}: {leaf.hint}"
    yield from report.notes
    yield f"Reproduce: {report.name}(..., key={show_key(report.key)})"


def _coverage(report: GradReport) -> str:
    levels = [leaf.min_detectable for leaf in report.leaves if leaf.min_detectable is not None]
    if not levels:
        return "No detection level could be measured."
    return f"Detects a relative leaf error ≥ {max(levels):.0e} (P miss {MISS:.0e})."


def _table(report: GradReport):
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=_headline(report))
    for column in ("leaf", "shape", "status", "max error", "tolerance", "worst index", "detects ≥", "hint"):
        table.add_column(column)
    colours = {"PASS": "green", "FAIL": "bold red", "KINK": "yellow", "INCONCLUSIVE": "yellow", "SKIPPED": "dim"}
    for leaf in report.leaves:
        numbers = ["" if v is None else f"{v:.1e}" for v in (leaf.max_error, leaf.tol, leaf.min_detectable)]
        index = "" if leaf.worst_index is None else str(list(leaf.worst_index))
        cells = [
            leaf.label,
            str(leaf.shape),
            leaf.status,
            *numbers[:2],
            index,
            numbers[2],
            leaf.hint or leaf.kink or "",
        ]
        table.add_row(*map(Text, cells), style=colours[leaf.status])
    checks = ", ".join(f"{name}: {verdict}" for name, verdict in report.checks.items())
    foot = [checks, *report.notes, f"Reproduce: {report.name}(..., key={show_key(report.key)})"]
    return Group(table, Text("\n".join(foot)))
