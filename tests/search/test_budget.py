"""The plan of a search under a limit of seconds."""

import time

import numpy as np
import pytest

from fnn.search import budget
from fnn.search.budget import planned
from fnn.search.plan import plan_search, probe, training_seconds
from fnn.search.prepare import of_classes


def task(n, d):
    return of_classes(np.random.default_rng(0).normal(size=(n, d)), np.arange(n) % 2, 2, None).task


@pytest.fixture
def timed(monkeypatch):
    """Pretend that a step takes 20 times as long as estimated, and count the measurements."""
    calls = []

    def slow(task, plan, seed):
        calls.append(plan)
        return 1.0, 20 * training_seconds(plan, task.x.shape[1], task.k) / (2 * plan.report_at[-1])

    monkeypatch.setattr(budget, "_timed", slow)
    return calls


def test_short_and_generous_limits_need_no_measurement(timed):
    table = task(1000, 20)
    thorough = plan_search(None, 1000, 20, 2)
    assert planned(time.perf_counter(), table, None, None, 0) == thorough
    assert planned(time.perf_counter(), table, None, 60.0, 0) == thorough
    tried = [planned(time.perf_counter(), table, None, seconds, 0) for seconds in (1.0, 5.0, 10.0, 30.0)]
    assert [plan.runs * plan.report_at[-1] for plan in tried] == sorted(
        plan.runs * plan.report_at[-1] for plan in tried
    )
    assert not timed


def test_a_measured_step_shortens_the_plan_to_the_limit(timed):
    table = task(20_000, 20)
    plan = planned(time.perf_counter(), table, None, 40.0, 0)
    assert len(timed) == 1
    assert 1.5 * training_seconds(plan, 20, 2) >= 0.1 * 40 / 20
    assert 20 * training_seconds(plan, 20, 2) <= 40
    late = planned(time.perf_counter() - 5.0, table, None, 45.0, 0)
    assert late.report_at[-1] >= 40


def test_the_measurement_has_one_report():
    plan = plan_search(None, 30_000, 20, 2)
    assert probe(plan) == plan._replace(report_at=(20,))
    assert probe(plan._replace(report_at=(5, 12))).report_at == (12,)
