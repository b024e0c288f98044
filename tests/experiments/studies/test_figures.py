"""Figures: every line has a name, and logarithmic axes show powers of ten."""

from pathlib import Path

import jax
import pytest
from matplotlib.figure import Figure

from experiments import figures
from experiments.studies.shared import study
from experiments.studies.symmetry import STUDY, Config
from tests.support.drawn_lines import unnamed_lines

CHEAP = ("edge_filters", "learning_slowdown", "linear_collapse", "local_optima", "squared_error_hills")


def labels(tmp_path: Path, low: float, high: float, **options) -> list[str]:
    """The labels along a logarithmic axis from `low` to `high`."""
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2], [low, high])
    axes.set(yscale="log", ylim=(low, high), **options)
    figures.save(figure, tmp_path / "figure.svg")
    ticks = (*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks())
    shown = [tick.label1.get_text() for tick in ticks if low * 0.999 <= tick.get_loc() <= high * 1.001]
    return [label for label in shown if label]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 10, ["0.1", "1", "10"]),
        (0.3, 40, ["1", "10"]),
        (0.001, 1, ["0.001", "0.01", "0.1", "1"]),
        (1, 10_000, ["1", "10", "100", "1,000", "10,000"]),
        (1e-4, 10, ["$10^{-4}$", "$10^{-3}$", "$10^{-2}$", "$10^{-1}$", "1", "10"]),
        (0.2, 3, ["0.2", "0.5", "1", "2"]),
    ],
)
def test_a_logarithmic_axis_shows_powers_of_ten(tmp_path: Path, low: float, high: float, expected: list[str]):
    assert labels(tmp_path, low, high) == expected


def test_ticks_that_a_figure_sets_stay(tmp_path: Path):
    assert labels(tmp_path, 0.1, 3, yticks=[0.2, 2]) == ["0.2", "2"]
    assert labels(tmp_path, 0.1, 3, yticks=[0.2, 2], yticklabels=["low", "high"]) == ["low", "high"]


def test_labels_between_the_powers_of_ten_stay_if_a_figure_sets_them(tmp_path: Path):
    figure = Figure()
    axes = figure.subplots()
    axes.set(xscale="log", xlim=(0.5, 5))
    axes.xaxis.set_minor_formatter("{x:g}x")
    before = axes.xaxis.get_minor_formatter()
    figures.save(figure, tmp_path / "figure.svg")
    assert axes.xaxis.get_minor_formatter() is before


def test_a_linear_axis_stays_as_it_is(tmp_path: Path):
    figure = Figure()
    axes = figure.subplots()
    before = axes.xaxis.get_major_formatter()
    figures.save(figure, tmp_path / "figure.svg")
    assert axes.xaxis.get_major_formatter() is before


def test_lines_without_a_name_are_found():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.set_title("left")
    left.plot([0, 1], [1, 2], color="black", label="named")
    left.plot([0, 1], [2, 2], color="red", ls="--")
    left.plot([0, 1], [3, 3], "o", color="blue")
    left.axhline(0, color="green")
    right.plot([0, 1], [1, 2], color="orange")
    left.legend()
    assert unnamed_lines(figure) == [": ('#ffa500', '-')", "left: ('#ff0000', '--')"]
    right.set_title("the only line")
    left.text(0, 2, "red", color="red")
    assert unnamed_lines(figure) == []


def test_every_line_of_the_symmetry_figure_has_a_name():
    with figures.style():
        figure = STUDY.run(Config(seeds=2, iterations=6)).figure
    assert unnamed_lines(figure) == []
    assert len(figure.axes[0].get_lines()) == len(figure.axes[0].get_legend().get_texts()) == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_every_line_of_a_study_has_a_name(name: str):
    loaded = study.load(name)
    with figures.style(), jax.numpy_rank_promotion("allow"):  # as the command runs it
        assert unnamed_lines(loaded.run(loaded.quick).figure) == []
