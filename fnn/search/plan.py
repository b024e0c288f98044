"""How the candidates of a table are trained: folds, batches and steps that suit its size and the time.

The seconds of a step are estimated from its number of operations, for two cores of a CPU. Where a limit of time is
given and the estimate is close to it, `search` measures a step instead.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fnn.search.candidates import few_candidates, large_table_candidates, linear_candidates, network_candidates
from fnn.search.records import Candidate

REPORTS = 10, 20, 40, 80, 120, 160, 200, 260, 320  # steps, for tables of up to SMALL rows
SMALL, LARGE = 2_000, 6_000  # rows: up to which REPORTS suffice; above which the table is split once
SECONDS = 25.0  # for the trainings of a table, estimated
MOST_OUTPUTS = 2e7  # numbers kept from the reports of all runs
MOST_HELD_OUT = 10_000  # rows of a fold that are evaluated


class Plan(NamedTuple):
    """How the candidates of a table are trained.

    Attributes:
      candidates: what is tried.
      n_folds: the number of folds.
      trained_folds: how many of them are held out in turn; 1 is a single split.
      most_held_out: at most this many rows of a fold are evaluated.
      batch_size: examples per step.
      report_at: the steps at which a run reports; the last ends it.
      learning_rate: the rate of Adam at the start.
      decays: whether the rate falls linearly to a twentieth at the last step.
    """

    candidates: tuple[Candidate, ...]
    n_folds: int
    trained_folds: int
    most_held_out: int
    batch_size: int
    report_at: tuple[int, ...]
    learning_rate: float = 0.04
    decays: bool = False

    @property
    def runs(self) -> int:
        """The number of runs, one for each candidate and fold that is trained."""
        return len(self.candidates) * self.trained_folds

    @property
    def width(self) -> int:
        """The width of the widest candidate, at least 1."""
        return max(1, *(candidate.width for candidate in self.candidates))


def step_seconds(plan: Plan, d: int, k: int) -> float:
    """Estimate the seconds of a step of all runs on two cores."""
    units = plan.runs * plan.batch_size * plan.width
    products = 6 * plan.runs * plan.batch_size * (d * plan.width + plan.width * k + d * k)
    return 2e-4 + 3e-9 * (units + plan.runs * plan.batch_size * k) + products / 1.6e11


def training_seconds(plan: Plan, d: int, k: int) -> float:
    """Estimate the seconds of the cross-validation and the refit, without compilation."""
    return 2 * plan.report_at[-1] * step_seconds(plan, d, k)


def scaled_reports(steps: int, reports: Sequence[int] = REPORTS) -> tuple[int, ...]:
    """Return reports at the same fractions of another number of steps.

    >>> scaled_reports(160, (10, 80, 320))
    (5, 40, 160)
    """
    return tuple(dict.fromkeys(max(1, round(report * steps / reports[-1])) for report in reports))


def _variants(given: tuple[Candidate, ...] | None, n: int) -> Iterator[Plan]:
    """Yield plans for n rows, from the most thorough to the fastest."""
    small, few = (*network_candidates(), *linear_candidates()), few_candidates()
    folds = max(2, min(5, n))
    batch, splits = min(n, 256), 1 if n >= 200 else folds
    if n <= LARGE:
        tried = small if given is None else given
        steps = round(320 * max(1.0, n / SMALL) ** 0.5)
        plan = Plan(tried, folds, folds, MOST_HELD_OUT, batch, scaled_reports(steps))
        yield plan
        yield (plan := plan._replace(n_folds=min(folds, 3), trained_folds=min(folds, 3)))
        yield plan._replace(candidates=few if given is None else given)
    tried = large_table_candidates() if given is None else given
    ends = (0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
    for steps in (4800, 3200, 2000, 1200, 700, 400):
        if n > LARGE or steps <= 400:
            reports = tuple(round(steps * end) for end in ends)
            yield Plan(tried, folds, splits, MOST_HELD_OUT, batch, reports, 0.04, True)
    fast = Plan(few if given is None else given, folds, splits, MOST_HELD_OUT, batch, (), 0.04, True)
    for steps in (320, 160, 80, 40, 20):
        yield fast._replace(report_at=scaled_reports(steps, (40, 80, 160, 320)))


def plan_search(given: tuple[Candidate, ...] | None, n: int, d: int, k: int, seconds: float = SECONDS) -> Plan:
    """Return the most thorough plan whose trainings take at most `seconds` by the estimate, or else the fastest.

    >>> plan_search(None, 500, 10, 3).runs, plan_search(None, 50_000, 20, 2).trained_folds
    (70, 1)
    """
    plan = None
    for plan in _variants(given, n):
        if training_seconds(plan, d, k) <= seconds:
            break
    assert plan is not None
    return _bounded(plan, n, k)


def _bounded(plan: Plan, n: int, k: int) -> Plan:
    """Keep fewer reports, then fewer held-out rows, so that the outputs fit into memory."""
    held_out = min(plan.most_held_out, -(-n // plan.n_folds))
    if plan.runs * held_out * k * len(plan.report_at) > MOST_OUTPUTS:
        plan = plan._replace(report_at=plan.report_at[1::2] if len(plan.report_at) % 2 == 0 else plan.report_at[::2])
    most = int(MOST_OUTPUTS / (plan.runs * k * len(plan.report_at)))
    plan = plan._replace(most_held_out=max(20, min(held_out, most)))
    if plan.trained_folds == 1:  # rows that are not evaluated are trained on
        plan = plan._replace(n_folds=max(plan.n_folds, n // plan.most_held_out))
    return plan


def shortened(plan: Plan, ratio: float) -> Plan:
    """Return the plan with its steps multiplied by a ratio below 1; at least ten steps remain."""
    steps = max(10, int(plan.report_at[-1] * ratio))
    return plan._replace(report_at=scaled_reports(steps, plan.report_at))


def probe(plan: Plan) -> Plan:
    """Return the plan with a few steps only, by which to time one.

    They end with the only report: it costs as much as some steps, and the plan has few of them.
    """
    return plan._replace(report_at=(min(20, plan.report_at[-1]),))
