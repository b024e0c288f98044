"""Plans: memory and communication match 8 virtual devices, and times follow from the documented formulas."""

import itertools
import json
import math
from pathlib import Path

import pytest

from experiments.__main__ import main as command
from experiments.errors import ExperimentError, UsageError
from experiments.planning import plan
from experiments.planning.analysis import Comparison, Memory, Program, StepAnalysis
from experiments.planning.collectives import Collective, total_bytes
from experiments.planning.networks import Mlp
from experiments.planning.plan import Config, make_program
from experiments.planning.predictions import Rates, collective_seconds, predict
from experiments.planning.virtual import compile_plan, from_json, plain
from tests.support.planned_bytes import PROGRAMS, measure_all

SIZES = (20, 32, 16, 32, 10)
PARAMETERS = 4 * sum(a * b + b for a, b in itertools.pairwise(SIZES))
ROWS = 64


def local(model: int) -> int:
    """Bytes of the parameters on a device.

    In each pair of layers, the first is split by columns with its biases, the second by rows with replicated biases.
    """
    a, b, c, d, e = SIZES
    return 4 * ((a * b + b) // model + b * c // model + c + (c * d + d) // model + d * e // model + e)


@pytest.mark.slow
def test_plans_are_what_8_devices_hold_and_send():
    compiled = measure_all("mlp")
    assert set(compiled) == set(PROGRAMS)
    for name, program in compiled.items():
        memory, held = program.memory, program.held
        assert held["parameters"] == [memory.parameters] * 8, name
        assert held["optimizer"] == [memory.optimizer] * 8, name
        assert held["batch"] == [memory.batch] * 8, name
        counter_and_key = 4 + 8
        assert memory.arguments == memory.parameters + memory.optimizer + memory.batch + counter_and_key, name
        assert memory.in_place >= memory.parameters, name  # the new ones reuse their memory

    # data-parallel: the gradient and the cost are summed
    memory, found = compiled["data"].memory, compiled["data"].collectives
    assert {(c.kind, c.group_size) for c in found} == {("all-reduce", 8)}
    assert total_bytes(found) == PARAMETERS + 4
    assert (memory.parameters, memory.optimizer) == (PARAMETERS, PARAMETERS + 4)

    # with the optimizer split, the parameters are gathered too
    memory, found = compiled["split optimizer"].memory, compiled["split optimizer"].collectives
    whole = 4 * SIZES[-1]  # a bias of 10 is not split over 8
    assert (memory.parameters, memory.optimizer) == (PARAMETERS, 2 * ((PARAMETERS - whole) // 8 + whole) + 4)
    assert total_bytes(found, "all-reduce") == PARAMETERS + 4
    assert total_bytes(found, "all-gather") == PARAMETERS - whole
    assert total_bytes(found) == 2 * PARAMETERS + 4 - whole

    # with the parameters split, all are gathered forward, and backward the weights that dX needs
    memory, found = compiled["split parameters"].memory, compiled["split parameters"].collectives
    shard = (PARAMETERS - whole) // 8 + whole
    assert (memory.parameters, memory.optimizer) == (shard, 2 * shard + 4)
    backward = 4 * sum(a * b for a, b in itertools.pairwise(SIZES[1:]))
    assert total_bytes(found, "all-gather") == PARAMETERS - whole + backward
    assert total_bytes(found, "all-reduce") == PARAMETERS + 4  # a reduce-scatter on other platforms

    # pairs of layers: activations are summed after each pair, and dX of each pair except the first, which needs none
    memory, found = compiled["model"].memory, compiled["model"].collectives
    assert {(c.kind, c.group_size) for c in found} == {("all-reduce", 8)}
    assert total_bytes(found) == 4 * ROWS * (SIZES[2] + SIZES[4] + SIZES[2])
    assert memory.parameters == local(8)

    # both at once: each axis sums its own arrays
    for name in ("both", "bfloat16"):
        memory, found = compiled[name].memory, compiled[name].collectives
        assert {c.kind for c in found} == {"all-reduce"}, name
        over_data, over_model = ([c for c in found if c.group_size == size] for size in (4, 2))
        assert total_bytes(over_data) == local(2) + 4, name
        assert total_bytes(over_model) == 4 * ROWS // 4 * (2 * SIZES[2] + SIZES[4]), name
        assert total_bytes(found) == total_bytes(over_data) + total_bytes(over_model), name
        assert memory.parameters == local(2), name


MEMORY = Memory(100, 50, 30, 100, 190, 160, 150, 400)


def analysis(flops: float, *found: Collective) -> StepAnalysis:
    return StepAnalysis(MEMORY, flops, found, 1.0)


def test_times_are_those_of_the_formulas():
    """8e9 FLOPs at 1e12/s take 8 ms; two all-reduces of 2e6 bytes at 1e9/s with 14 messages of 10 µs, 7.28 ms."""
    many = analysis(8e9, Collective("all-reduce", 2_000_000, 1, 8), Collective("all-reduce", 2_000_000, 1, 8))
    one = analysis(60e9)
    made = predict(many.flops, one.flops, many.collectives, Rates(1e12, bandwidth=1e9, latency=1e-5))
    assert made.compute == pytest.approx(8e-3)
    assert made.communication == pytest.approx(7e-3 + 28e-5)
    assert made.one_device == pytest.approx(60e-3)
    assert made.step == pytest.approx((15.28e-3, 8e-3))
    assert made.efficiency == pytest.approx((8 / 15.28, 1.0))
    assert made.speed_up == pytest.approx((60 / 15.28, 7.5))
    slower = predict(many.flops, one.flops, many.collectives, Rates(1e12, bandwidth=0.5e9, latency=0.0))
    assert slower.step == pytest.approx((22e-3, 14e-3))
    assert slower.efficiency == pytest.approx((8 / 22, 8 / 14))
    alone = predict(one.flops, one.flops, one.collectives, Rates(1e12, bandwidth=1e9, latency=1.0))
    assert (alone.step, alone.efficiency, alone.speed_up) == ((60e-3, 60e-3), (1.0, 1.0), (1.0, 1.0))


def test_the_time_of_each_kind():
    rates = Rates(1.0, bandwidth=100.0, latency=1.0)
    ring = lambda kind, size: collective_seconds(Collective(kind, 1000, 3, size), rates)
    assert ring("all-reduce", 4) == pytest.approx(3 * (15 + 6))
    assert ring("all-gather", 4) == ring("reduce-scatter", 4) == pytest.approx(3 * (7.5 + 3))
    assert ring("collective-permute", 2) == pytest.approx(3 * (10 + 1))
    assert ring("all-reduce", 1) == 0.0


def test_the_peak_counts_outputs_that_replace_arguments_once():
    assert MEMORY.peak == 190 + 400 + 10


def test_split_rows_are_sent_too():
    """Each step sends all rows of the batch once, as tests/sharding/test_sharding.py reads from a real epoch."""
    one = StepAnalysis(MEMORY._replace(batch=120), 4e9, (), 1.0)
    both = Comparison(analysis(1e9, Collective("all-reduce", 404, 1, 4)), one)
    program = Program(Mlp((2, 1)), 4, 2, 10, "float32", "sgd", False)
    sent = plan.add_row_exchange(both, program)
    assert sent.many.collectives == (*both.many.collectives, Collective("all-reduce", 120, 1, 4))
    assert sent.one == both.one
    rates = Rates(1e12, 1e9, 1e-6)
    slower = [predict(1.0, 1.0, found.many.collectives, rates).communication for found in (both, sent)]
    assert slower[1] - slower[0] == pytest.approx(1.5 * 120 / 1e9 + 6e-6)


def test_a_comparison_survives_json():
    both = Comparison(analysis(8e9, Collective("all-gather", 7, 2, 4, True)), analysis(6e10))
    assert from_json(json.dumps(plain(both))) == both


@pytest.mark.slow
def test_from_flags_to_files(tmp_path: Path, capsys):
    network = ["--sizes", "784", "512", "512", "10", "--batch-size", "512", "--devices", "8", "--model", "2"]
    assert command(["plan", *network, "--bandwidth", "10", "--latency", "0", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "784-512-512-10, 512 examples per step over 4 x 2 devices (data x model)" in out
    assert "assumed, not measured: 100 TFLOP/s, 10 GB/s, 0 µs" in out
    path = tmp_path / "plan" / "plan.json"
    assert out.splitlines()[-1] == f"saved: {path}"
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["config"]["sizes"] == [784, 512, 512, 10]
    read = from_json(json.dumps(report["compiled"]))
    dense = [a * b for a, b in ((784, 512), (512, 512), (512, 10))]
    products = 2 * 512 * (3 * sum(dense) - dense[0])  # forward, dW and dX; the first layer needs no dX
    assert read.one.flops == pytest.approx(products, rel=0.01)
    assert 8 * read.many.flops == pytest.approx(products, rel=0.05)  # the last layer is not split over two
    parameters = 4 * (784 * 256 + 256 + 256 * 512 + 512 + 512 * 10 + 10)
    assert read.many.memory.parameters == parameters
    assert read.one.collectives == ()
    sent = 1.0 * 4 * 128 * 512 + 1.5 * (parameters + 4)  # ring factors 2 (g - 1) / g of groups of 2 and 4
    assert report["prediction"]["communication"] == pytest.approx(sent / 10e9)
    assert f"{1e3 * sent / 10e9:.4g}" in out
    assert f"{parameters / 1e6:.3f}" in out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sizes": (784,)}, "--sizes must be at least two positive numbers, got 784"),
        ({"sizes": ()}, "--sizes must be at least two positive numbers, got none"),
        ({"sizes": (784, 0, 10)}, "--sizes must be at least two positive numbers, got 784 0 10"),
        ({"devices": 0}, "--devices must be at least 1, got 0"),
        ({"devices": 10_000}, "--devices must be at most 8192, which XLA compiles for in a minute, got 10000"),
        ({"devices": 6, "data": 4}, "--devices must be --data times --model, 4 times 1, got 6"),
        ({"devices": 8, "model": 3}, "--devices must be --data times --model, 2 times 3, got 8"),
        ({"devices": 2, "model": 4}, "--data must be at least 1, got 0"),
        ({"batch_size": 12}, "--batch-size must be a multiple of --data, 8, for shards of equal size, got 12"),
        ({"sizes": (8, 10), "model": 2}, "--model must be 1 if there is only one dense layer, got 2"),
        ({"sizes": (8, 6, 10, 8, 2), "model": 4}, "--model must be a divisor of the sizes .* 6, 8, got 4"),
        ({"split_optimizer": True, "split_parameters": True}, "--split-optimizer must be left out"),
        ({"bandwidth": 0.0}, "--bandwidth must be finite and above 0"),
        ({"rate": math.nan}, "--rate must be finite and above 0"),
        ({"latency": -1.0}, "--latency must be finite and at least 0.0"),
        ({"timeout": 0.0}, "--timeout must be finite and at least 1.0"),
    ],
)
def test_flags(values, message):
    with pytest.raises(UsageError, match=message):
        plan.main(Config(**values))


def test_flags_choose_the_program():
    assert make_program(Config()) == Program(Mlp((784, 2048, 2048, 10)), 8, 1, 1024, "float32", "momentum", False)
    both = Config(sizes=(8, 12, 7), devices=12, model=3, optimizer="adam", split_optimizer=True, dtype="bfloat16")
    assert make_program(both) == Program(Mlp((8, 12, 7)), 4, 3, 1024, "bfloat16", "adam", True)


def test_a_wrong_flag_ends_with_2(capsys):
    assert command(["plan", "--batch-size", "12"]) == 2
    assert "--batch-size must be a multiple of --data" in capsys.readouterr().err


def test_slow_compilation_is_stopped():
    with pytest.raises(ExperimentError, match=r"compiling took longer than --timeout 0\.01 s"):
        compile_plan(PROGRAMS["data"], 0.01)


def test_failed_compilation_reports_the_reason():
    with pytest.raises(ExperimentError, match=r"compiling for 8 devices failed: .*float99"):
        compile_plan(PROGRAMS["data"]._replace(dtype="float99"), 120)


@pytest.mark.slow
def test_more_devices_than_one_process_has():
    found = compile_plan(PROGRAMS["data"]._replace(data=2049, batch_size=2049), 240).many
    assert found.collectives == (Collective("all-reduce", PARAMETERS + 4, 1, 2049),)
    assert found.memory.batch == 4 * (SIZES[0] + 1)
