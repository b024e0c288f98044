"""Audit one call: the checker's verdict, then every derivative at every point against differences and exact values."""

import time
from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.audit.call import Call, arguments, flat_output, inside, make_call
from experiments.audit.findings import Finding
from experiments.audit.survey import survey
from experiments.audit.target import Target
from fnn.gradcheck import CheckedPoint, GradReport, check_vjp

KEY = 7
OK, WRONG, UNDECIDED, NO_RULE = "ok", "wrong", "undecided", "no derivative rule"
VERDICTS = (OK, UNDECIDED, WRONG, NO_RULE)
"""The verdicts of the checker, best first, but for a call that it cannot check."""


class Result(NamedTuple):
    """What the audit of one target found."""

    findings: tuple[Finding, ...]
    others: dict[str, int]
    """How often differences were noisy or did not resolve, which is no finding."""
    checker: str
    """The verdict of `fnn.gradcheck`: "ok", "wrong", "undecided", "no derivative rule", or why it could not check."""
    points: int
    notes: tuple[str, ...]
    calls: tuple[Call, ...]
    """The call of each finding, in their order."""
    seconds: float
    cpu: float
    """Seconds of work of all threads, compilation included."""


def examine(target: Target) -> Result:
    """Audit a target. Arguments without a derivative rule are named in the notes."""
    start, cpu = time.perf_counter(), time.process_time()
    calls, notes = _differentiable(target)
    findings, owners, others, verdicts, count = [], [], Counter(), [], 0
    for call in calls:
        checked = check(call)
        verdicts.append(checked.verdict)
        with jax.enable_x64(True):
            found, rest, examined = survey(call, checked.points, checked.narrow)
        findings += found
        owners += [call] * len(found)
        others, count = others + rest, count + examined
        notes += ["it computes in less than float64"] if checked.narrow else []
    worst = lambda verdict: VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS)
    checker = max(verdicts, key=worst, default=NO_RULE)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Result(tuple(findings), dict(others), checker, count, tuple(notes), tuple(owners), seconds, cpu)


def _differentiable(target: Target) -> tuple[list[Call], list[str]]:
    """Return the calls that have a derivative rule: one by all arguments, or else one by each argument that has."""
    whole = make_call(target)
    error = _rule(whole)
    if error is None:
        return [whole], []
    calls, notes = [], []
    for number in whole.numbers if len(whole.numbers) > 1 else ():
        call = make_call(target, (number,))
        why = _rule(call)
        if why is None:
            calls.append(call)
        else:
            notes.append(f"no derivative by argument {number}: {why}")
    return calls, notes or [f"no derivative: {error}"]


def _rule(call: Call) -> str | None:
    """Return why reverse mode fails, or None. Errors of the function itself are raised."""
    with jax.enable_x64(True):
        value = lambda x: flat_output(call.function(*arguments(call, x)))
        x = jax.ShapeDtypeStruct((call.size,), np.float64)
        y = jax.eval_shape(value, x)
        try:
            jax.eval_shape(lambda x, ct: jax.vjp(value, x)[1](ct), x, y)
        except Exception as error:
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]
    return None


class Checked(NamedTuple):
    """What `fnn.gradcheck` says of a call."""

    points: tuple[CheckedPoint, ...]
    verdict: str
    narrow: bool
    """Whether the function computes in less than float64, so that differences cannot decide."""


def check(call: Call) -> Checked:
    """Run `fnn.gradcheck` on the autodiff of a call, without the checks that need further compiled programs."""

    def pull(args: tuple, ct: Any) -> tuple:
        def chosen(*some: Any) -> Any:
            whole = list(args)
            for number, arg in zip(call.numbers, some, strict=True):
                whole[number] = arg
            return call.function(*whole)

        return jax.vjp(chosen, *[args[number] for number in call.numbers])[1](ct)

    try:
        report: GradReport = check_vjp(
            call.function,
            pull,
            call.args,
            argnums=call.numbers,
            reference=None,
            checks=("differences",),
            points="edges",
            domain=inside(call),
            key=KEY,
        )
    except Exception as error:
        text = str(error).partition("\n")[0]
        given = CheckedPoint("as given", call.args)
        return Checked((given,), f"not checked: {type(error).__name__}: {text}"[:300], narrow=False)
    wrong = any(point.failed for point in report.points)
    narrow = "does not compute in float64" in report.checks["differences"]
    return Checked(report.points, OK if report.ok else WRONG if wrong else UNDECIDED, narrow)
