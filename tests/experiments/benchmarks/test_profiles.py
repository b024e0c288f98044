"""The profile of a workload: what its time consists of."""

import re

import pytest

from experiments.benchmarks import profiles


def event(name: str, seconds: float, phase: str = "X") -> dict:
    return {"name": name, "ph": phase, "dur": 1e6 * seconds}


def test_operations_are_added_up_by_kind_and_what_holds_them_is_not():
    names = ["dot.1", "ynn_fusion.2", "copy.3", "reduce.4", "while.5", "call", "ThunkExecutor::Execute", "$api.py:1 f"]
    events = [event(name, 0.5) for name in names] + [event("dot.1", 9, "M"), {"ph": "M"}]
    kinds, operations = profiles.totals(events)
    assert kinds == {"products": 1.0, "moves": 0.5, "element-wise": 0.5}
    assert operations == {"dot.1": 0.5, "ynn_fusion.2": 0.5, "copy.3": 0.5, "reduce.4": 0.5}


@pytest.mark.slow
def test_a_work_is_traced(capsys):
    profiles.profile("relu", 200, 2)
    out = capsys.readouterr().out
    shares = [int(share) for share in re.findall(r"(\d+) %", out)]
    assert 98 <= sum(shares) <= 102
    assert "GFLOP/s; square products:" in out
    assert len(out.splitlines()) == 2 + len(shares) + 2


@pytest.mark.slow
def test_a_start_is_told_in_parts(capsys):
    profiles.start()
    parts = r"imports .* s, tracing .* s \(\d+ programs\), lowering .*, compiling or reading the cache .* jax"
    assert re.search(parts, capsys.readouterr().out)
