"""`python -m experiments plan gpt`: its flags, its tables in 80 columns, and its file."""

import json
from pathlib import Path

import pytest

from experiments.__main__ import main as command
from experiments.errors import UsageError
from experiments.planning import gpt
from experiments.planning.analysis import Program
from experiments.planning.gpt import Config, make_program
from experiments.planning.networks import Gpt
from experiments.planning.virtual import from_json, plain, program_from_json

SMALL = ["--layers", "4", "--heads", "4", "--width", "16", "--vocabulary", "40", "--length", "32", "--batch-size", "16"]
LOCAL = 4 * (40 * 16 + 32 * 16 + 4 * (12 * 16**2 + 13 * 16) + 2 * 16)


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def report(folder: Path) -> dict:
    return json.loads((folder / "plan-gpt" / "plan.json").read_text(encoding="utf-8"))


def test_on_paper(tmp_path, capsys):
    assert command(["plan", "gpt", *SMALL, "--no-compile", "--remat", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"plan: a GPT of {LOCAL // 4:,} parameters: 4 blocks, 4 heads, width 16" in out
    assert "16 sequences of 32 tokens per step over 8 x 1 device (data x model)" in out
    assert "all of this plan is on paper: --no-compile" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80  # the last one names the file
    assert "…" not in out
    found = report(tmp_path)
    assert found["compiled"] is None
    assert found["paper"]["parameters"] == LOCAL
    assert [(each["stages"], each["data"]) for each in found["pipelines"]] == [(2, 4), (4, 2)]
    assert [each["length"] for each in found["lengths"]] == [32, 64]
    assert found["lengths"][0]["paper"]["attention"] > found["lengths"][0]["paper_remat"]["attention"] == 0
    assert set(found["prediction"]) == {"paper"}


def test_a_plan_that_compiles_too_slowly_is_on_paper(tmp_path, capsys):
    assert command(["plan", "gpt", *SMALL, "--timeout", "1", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "all of this plan is on paper: compiling took longer than --timeout 1 s" in out
    assert report(tmp_path)["lengths"][0]["compiled"] is None


@pytest.mark.slow
def test_from_flags_to_files(tmp_path, capsys):
    split = ["--devices", "8", "--model", "2", "--split-parameters", "--split-vocabulary", "--lengths", "160"]
    rates = ["--bandwidth", "10", "--latency", "0", "--rate", "0.001"]
    assert command(["plan", "gpt", *SMALL, *split, *rates, "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "compiled for virtual CPU devices in" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    found = report(tmp_path)
    assert found["config"]["split_parameters"] is True
    compiled, paper = from_json(json.dumps(found["compiled"])), found["paper"]
    assert compiled.many.memory.parameters == paper["parameters"]
    assert compiled.many.memory.optimizer == paper["optimizer"] + 4
    assert compiled.one.collectives == ()
    assert compiled.many.flops == pytest.approx(paper["flops"], rel=0.25)  # and what is no matrix product
    assert compiled.many.flops > paper["flops"]
    for length in found["lengths"]:
        kept, held = length["paper"], length["compiled"]["memory"]
        blocks = kept["attention"] + kept["others"]
        assert held["temporaries"] > held["gradients"] + blocks, "at least what is kept"
    sent = found["prediction"]["compiled"]["communication"], found["prediction"]["paper"]["communication"]
    assert sent[0] > sent[1] > 0
    assert f"{1e3 * sent[0]:.4g}" in out
    assert f"{1e3 * sent[1]:.4g}" in out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": 0}, "--layers must be at least 1, got 0"),
        ({"width": 100, "heads": 12}, "--heads must be a divisor of --width, 100, got 12"),
        ({"model": 8}, "--model must be a divisor of --heads, 12, got 8"),
        ({"devices": 6, "data": 4}, "--devices must be --data times --model, 4 times 1, got 6"),
        ({"devices": 10_000}, "--devices must be at most 8192"),
        ({"batch_size": 12}, "--batch-size must be a multiple of --data, 8, for shards of equal size, got 12"),
        ({"split_vocabulary": True}, "--vocabulary must be a multiple of --model, 1, which is above 1, .* got 50257"),
        ({"split_vocabulary": True, "model": 2}, "--vocabulary must be a multiple of --model, 2"),
        ({"split_optimizer": True, "split_parameters": True}, "--split-optimizer must be left out"),
        ({"micro_batches": 3}, "--micro-batches must be a divisor of .* two stages, 16, got 3"),
        ({"micro_batches": 0}, "--micro-batches must be a divisor of .* two stages, 16, got 0"),
        ({"lengths": (8, 0)}, "--lengths must be positive numbers, got 8 0"),
        ({"rate": 0.0}, "--rate must be finite and above 0"),
        ({"timeout": 0.0}, "--timeout must be finite and at least 1.0"),
    ],
)
def test_flags(values, message):
    with pytest.raises(UsageError, match=message):
        gpt.main(Config(**values))


def test_flags_choose_the_program():
    assert make_program(Config()) == Program(Gpt(50257, 1024, 12, 12, 768), 8, 1, 64, "float32", "adam", False)
    chosen = Config(2, 4, 8, 40, 16, repeat=False, remat=True, devices=8, model=2, split_vocabulary=True, batch_size=4)
    network = Gpt(40, 16, 2, 4, 8, repeat=False, remat=True, split_vocabulary=True)
    assert make_program(chosen) == Program(network, 4, 2, 4, "float32", "adam", False)
    assert make_program(Config(split_parameters=True)).split_parameters
    for program in (make_program(Config()), make_program(chosen)):
        assert program_from_json(json.loads(json.dumps(plain(program)))) == program


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [(["plan", "--layers", "3"], "--layers"), (["plan", "gpt", "--sizes", "3"], "--sizes"), (["plan", "lstm"], "lstm")],
)
def test_flags_of_another_network_end_with_2(arguments, wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(arguments)
    assert wrong in capsys.readouterr().err
