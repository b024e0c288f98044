"""The results of a check: LeafReport, GradReport and GradientError, as text and as a table."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.tables import html_table, rich_table
from fnn.gradcheck.text import encodable, for_stdout

MISS = 1e-6
"""The probability δ that an error of size `min_detectable` is missed."""


class GradientError(AssertionError):
    """A gradient is wrong. The message is the report."""


class GradientTreeError(GradientError, ValueError):
    """The tree that a backward function returned differs from the tree of its arguments."""


class LeafReport(NamedTuple):
    """The verdict on the gradient of one leaf.

    Every check yields one LeafReport for each leaf that it examines. The report that the user sees merges them.
    """

    path: str
    """`jax.tree_util.keystr` of the leaf, after the argument's position if there are several arguments."""
    shape: tuple[int, ...]
    dtype: str
    """The dtype in which the user passed the leaf."""
    status: str
    """"PASS"; "FAIL"; "KINK" (the gradient differs from the reference only at kinks of the function); "SKIPPED" (the
    leaf is not differentiable, see `hint`); or "INCONCLUSIVE" (no check could decide)."""
    max_error: float | None = None
    """The largest |backward - expected| of any element, at the point where it is worst relative to `tol`."""
    tol: float | None = None
    """The tolerance for `max_error`."""
    worst_index: tuple[int, ...] | None = None
    """The index of the element with the largest error."""
    num_wrong: int | None = None
    """The number of wrong elements at the worst point; None if only directions were tested."""
    step: float | None = None
    """The relative step h that the finite differences chose."""
    kink: str | None = None
    """A description of the kink or jump of the function at the point, if there is one."""
    min_detectable: float | None = None
    """The smallest ‖error‖ / ‖gradient‖ that is detected with probability 1 - 1e-6."""
    hint: str = ""
    """The likely cause, for example "sign flipped"."""
    evidence: tuple[str, ...] = ()
    """The lines of the printed report that belong to this leaf."""
    check: str = ""
    """The check that made this report; empty in a merged report."""
    norm: float | None = None
    """‖g‖ of the expected gradient, recorded by the element-by-element comparison."""
    point: str = ""
    """The name of the point that decided the status, for example "as given" or "zeros in [0]"; "" if several did."""

    @property
    def label(self) -> str:
        """The path as printed: "[0]" for the only leaf of a single argument, whose path is empty."""
        return self.path or "[0]"


class CheckedPoint(NamedTuple):
    """A point at which a gradient was checked."""

    name: str
    """For example "as given", or "zeros in [0]"."""
    args: tuple
    """The arguments there. Differentiated leaves are NumPy arrays in the precision of the check."""
    failed: tuple[str, ...] = ()
    """The paths of the leaves that are wrong there."""


class GradReport(NamedTuple):
    """The verdict on a backward function. It shows itself as text, in notebooks and through rich as a table.

    >>> GradReport(True, (LeafReport("['w']", (2,), "float32", "PASS"),), {"reference": "PASS"}, 7).ok
    True
    """

    ok: bool
    """True if every leaf passes, agrees up to kinks, or is skipped, and no check fails."""
    leaves: tuple[LeafReport, ...]
    """One report per leaf of the differentiated arguments, in their order."""
    checks: dict[str, str]
    """From the name of a check to "PASS", "KINK", "FAIL: why", "SKIPPED: why" or "INCONCLUSIVE: why"."""
    key: Any
    """The key that reproduces the check."""
    name: str = "check_vjp"
    """The function that the user called."""
    precision: str = "float64"
    """The dtype in which the check computed."""
    notes: tuple[str, ...] = ()
    """Further lines of the text, for example the points at which the gradient was checked."""
    edges: tuple[LeafReport, ...] = ()
    """With points="edges": a report for each leaf and edge point that does not pass, with its `point`. Only FAIL counts
    against the gradient. KINK (a kink or jump, or no derivative) and INCONCLUSIVE (no step resolves the slope) do not,
    because the checker chose the point."""
    points: tuple[CheckedPoint, ...] = ()
    """The points at which the gradient was checked, with their arguments."""

    def summary(self) -> str:
        """Return the report as text: what is wrong and where, what was covered, and how to reproduce it.

        If an operation narrows values and so sets the tolerance, the text names it and its line in the user's code.
        Letters that the standard output cannot show, such as those of ⟨ĝ, v⟩ in cp1252, are written in ASCII.
        """
        return for_stdout("\n".join(_lines(self)))

    def __str__(self) -> str:
        return self.summary()

    def __rich_console__(self, console, options):
        """Yield the report as a rich table with one row per leaf, in letters that the console can show."""
        show = lambda text: encodable(text, options.encoding)
        yield rich_table(_headline(self), self.leaves, _foot(self), show)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the report as a table with one row per leaf, in notebooks."""
        return html_table(_headline(self), self.leaves, _foot(self))


def show_key(key) -> str:
    """Return the Python expression that recreates a key.

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
    return f"the only leaf passes {where}" if len(checked) == 1 else f"all {len(checked)} leaves pass {where}"


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
        return "The smallest detectable error could not be measured."
    return f"Detects a relative leaf error ≥ {max(levels):.0e} (probability of a miss: {MISS:.0e})."


def _foot(report: GradReport) -> list[str]:
    checks = ", ".join(f"{name}: {verdict}" for name, verdict in report.checks.items())
    return [checks, *report.notes, f"Reproduce: {report.name}(..., key={show_key(report.key)})"]
