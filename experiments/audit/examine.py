"""Audit one call: the checker's verdict, then every derivative at every point against differences and exact values."""

import time
from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.audit.call import Call, inside, make_call, programs, vector
from experiments.audit.survey import Finding, survey
from experiments.audit.target import Target
from fnn.gradcheck import CheckedPoint, GradReport, check_vjp

KEY = 7


class Result(NamedTuple):
    """What the audit of one target found."""

    findings: tuple[Finding, ...]
    others: dict[str, int]
    """How often differences were noisy or did not resolve, which is no finding."""
    checker: str
    """The verdict of `fnn.gradcheck`: "ok", "wrong", "undecided", or why it could not check."""
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
        points, verdict = check(call)
        verdicts.append(verdict)
        with jax.enable_x64(True):
            found, rest, examined = survey(call, points)
        findings += found
        owners += [call] * len(found)
        others, count = others + rest, count + examined
    checker = max(verdicts, key=lambda v: (len(v) > 9, v == "wrong", v == "undecided"), default="no derivative rule")
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
        x = vector(call, call.args)
        size = programs(call).outputs
        try:
            programs(call).reverse(x[None], np.zeros((1, size)))
        except Exception as error:
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]
    return None


def check(call: Call) -> tuple[list[CheckedPoint], str]:
    """Run `fnn.gradcheck` on the autodiff of a call; return its points, and its verdict in a word."""

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
        return [CheckedPoint("as given", call.args)], f"not checked: {type(error).__name__}: {text}"[:300]
    wrong = any(point.failed for point in report.points)
    return list(report.points), "ok" if report.ok else "wrong" if wrong else "undecided"
