"""The gradient checkers on the same wrong and correct gradients: caught, missed, falsely refused, named, seconds.

    python -m experiments gradcheck

Prints a table, saves it with a figure under results/gradcheck/. Expect fnn.gradcheck to catch
every wrong gradient and refuse no correct one.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import figures, reports
from experiments.benchmarks.gradcheck_bases import mlp
from experiments.benchmarks.gradcheck_cases import mutants
from experiments.benchmarks.gradcheck_functions import FUNCTIONS, reverse
from experiments.benchmarks.gradcheck_tools import Answer, Case, Tool, tools
from experiments.errors import at_least, needs


@dataclass(frozen=True)
class Config:
    every: int = 4
    """Take one wrong gradient, and one correct function, of so many; 1 takes all."""
    large: bool = True
    """Also the correct ReLU network 784-1024-1024-10 (not with torch's slow mode, which would take hours)."""
    seed: int = 0
    """Draws the arguments of the correct functions, and the directions of fnn.gradcheck."""
    results: Path = Path("results")
    """Folder for the files; the benchmark makes its own folder, gradcheck, in it."""


class Row(NamedTuple):
    """What a tool did."""

    tool: str
    caught: int
    missed: int
    falsely_refused: int
    names_leaf: int
    names_index: int
    wrong: int
    correct: int
    with_index: int
    seconds: float
    skipped: str = ""
    missed_names: tuple[str, ...] = ()
    refused_names: tuple[str, ...] = ()


def cases(config: Config) -> list[Case]:
    """The wrong gradients first, then the correct ones."""
    wrong = [Case(m.name, m.kind, m.fun, m.backward, m.args, True, m.leaf, m.at) for m in mutants()[:: config.every]]
    right = [
        Case(f.name, "function", f.fun, reverse(f.fun), f.make(np.random.default_rng(config.seed)), False)
        for f in FUNCTIONS[:: config.every]
    ]
    if config.large:
        net = mlp((784, 1024, 1024, 10), batch=32)
        right.append(Case("784-1024-1024-10", "network", net.fun, net.backward, net.args, False))
    return wrong + right


def run_tool(tool: Tool, todo: list[Case], seed: int) -> Row:
    """One tool on all cases."""
    if tool.missing:
        return Row(tool.name, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, tool.missing)
    if "slow" in tool.name:
        todo = [c for c in todo if c.name != "784-1024-1024-10"]
    jax.clear_caches()  # or the first tool would compile for all
    start = time.perf_counter()
    answers = [(case, _answer(tool, case, seed)) for case in todo]
    seconds = time.perf_counter() - start
    wrong = [(c, a) for c, a in answers if c.wrong]
    right = [(c, a) for c, a in answers if not c.wrong]
    return Row(
        tool.name,
        sum(a.refused for _, a in wrong),
        sum(not a.refused for _, a in wrong),
        sum(a.refused for _, a in right),
        sum(a.names_leaf for _, a in wrong),
        sum(a.names_index for _, a in wrong),
        len(wrong),
        len(right),
        sum(c.at is not None for c, _ in wrong),
        seconds,
        "",
        tuple(c.name for c, a in wrong if not a.refused),
        tuple(f"{c.name}: {a.error}" for c, a in right if a.refused),
    )


def _answer(tool: Tool, case: Case, seed: int) -> Answer:
    try:
        return tool.run(case, seed)
    except Exception as error:
        return Answer(True, error=f"{type(error).__name__}: {str(error)[:200]}")


def table(rows: list[Row]):
    """The rows as a rich table."""
    from rich.table import Table

    result = Table(title="Gradient checkers on the same gradients")
    for column in ("tool", "caught", "missed", "falsely\nrefused", "names\nleaf", "names\nindex", "seconds"):
        result.add_column(column, justify="left" if column == "tool" else "right", no_wrap=column == "tool")
    for r in rows:
        if r.skipped:
            result.add_row(r.tool, "skipped", *[""] * 5)
            continue
        counts = (f"{r.caught}/{r.wrong}", f"{r.missed}", f"{r.falsely_refused}/{r.correct}")
        named = (f"{r.names_leaf}/{r.wrong}", f"{r.names_index}/{r.with_index}", f"{r.seconds:.1f}")
        result.add_row(r.tool, *counts, *named)
    return result


def figure(rows: list[Row], path: Path) -> None:
    """Shares of wrong gradients missed and of correct ones refused, per tool (Okabe and Ito's colours)."""
    from matplotlib.figure import Figure

    shown = [r for r in rows if not r.skipped]
    y = np.arange(len(shown))
    fig = Figure(figsize=(7.5, 0.7 * len(shown) + 1.6), layout="constrained")
    ax = fig.add_subplot()
    missed = [100 * r.missed / max(r.wrong, 1) for r in shown]
    refused = [100 * r.falsely_refused / max(r.correct, 1) for r in shown]
    for offset, share, label, colour, hatch in (
        (-0.2, missed, "wrong gradients missed", figures.ORANGE, ""),
        (0.2, refused, "correct gradients refused", figures.BLUE, "//"),
    ):
        bars = ax.barh(y + offset, share, 0.38, label=label, color=colour, hatch=hatch, edgecolor="white")
        ax.bar_label(bars, fmt="%.0f %%", padding=3)
    ax.set_yticks(y, [f"{r.tool}\n{r.seconds:.0f} s" for r in shown])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.15 * max([1.0, *missed, *refused]))
    ax.set_xlabel("share of the cases (%)")
    ax.set_title(f"{shown[0].wrong} wrong and {shown[0].correct} correct gradients")
    fig.legend(loc="outside lower center", ncols=2, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    figures.save(fig, path)


def main(config: Config) -> None:
    """Runs every tool on every case, prints the table, saves table and figure."""
    from rich.console import Console

    at_least("--every", config.every, 1)
    at_least("--seed", config.seed, 0)
    needs("matplotlib")
    folder = reports.make_folder(config.results, "gradcheck")
    console, todo = Console(highlight=False), cases(config)
    rows = []
    for tool in tools():
        rows.append(run_tool(tool, todo, config.seed))
        console.print(f"{tool.name}: {rows[-1].skipped or f'{rows[-1].seconds:.1f} s'}")
    console.print(table(rows))
    chart, report = folder / "figure.png", folder / "run.json"
    figure(rows, chart)
    values = {"config": asdict(config), "versions": reports.versions(), "tools": [row._asdict() for row in rows]}
    reports.save_json(report, {"experiment": "gradcheck", **values})
    print(f"saved: {chart}, {report}")
