"""Compare gradient checkers on the same wrong and correct gradients.

    python -m experiments gradcheck

Counts the wrong gradients that each tool catches, the correct ones that it rejects, and how often it names the wrong
leaf and index, and takes the time. Prints a table, and saves it with a figure in results/gradcheck/. fnn.gradcheck
should catch every wrong gradient and reject no correct one.
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
    """Use every n-th wrong gradient and every n-th correct function. 1 uses all."""
    large: bool = True
    """Include the correct ReLU network 784-1024-1024-10, except for torch's slow mode, which would take hours."""
    seed: int = 0
    """Seed of the arguments of the correct functions and of the directions of fnn.gradcheck."""
    results: Path = Path("results")
    """Folder for the results; the benchmark writes to its subfolder gradcheck."""


class Row(NamedTuple):
    """The results of one tool."""

    tool: str
    caught: int = 0
    missed: int = 0
    falsely_refused: int = 0
    names_leaf: int = 0
    names_index: int = 0
    wrong: int = 0
    correct: int = 0
    with_index: int = 0
    """The number of wrong gradients with a single wrong element or row."""
    seconds: float = 0.0
    skipped: str = ""
    """Why the tool did not run."""
    missed_names: tuple[str, ...] = ()
    refused_names: tuple[str, ...] = ()


def cases(config: Config) -> list[Case]:
    """Return the cases: the wrong gradients, then the correct ones."""
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
    """Run one tool on all cases."""
    if tool.missing:
        return Row(tool=tool.name, skipped=tool.missing)
    if "slow" in tool.name:
        todo = [c for c in todo if c.name != "784-1024-1024-10"]
    jax.clear_caches()  # so that no tool uses what an earlier one compiled
    start = time.perf_counter()
    answers = [(case, _answer(tool, case, seed)) for case in todo]
    seconds = time.perf_counter() - start
    wrong = [(c, a) for c, a in answers if c.wrong]
    right = [(c, a) for c, a in answers if not c.wrong]
    return Row(
        tool=tool.name,
        caught=sum(a.refused for _, a in wrong),
        missed=sum(not a.refused for _, a in wrong),
        falsely_refused=sum(a.refused for _, a in right),
        names_leaf=sum(a.names_leaf for _, a in wrong),
        names_index=sum(a.names_index for _, a in wrong),
        wrong=len(wrong),
        correct=len(right),
        with_index=sum(c.at is not None for c, _ in wrong),
        seconds=seconds,
        missed_names=tuple(c.name for c, a in wrong if not a.refused),
        refused_names=tuple(f"{c.name}: {a.error}" for c, a in right if a.refused),
    )


def _answer(tool: Tool, case: Case, seed: int) -> Answer:
    try:
        return tool.run(case, seed)
    except Exception as error:
        return Answer(True, error=f"{type(error).__name__}: {str(error)[:200]}")


def table(rows: list[Row]):
    """Return the rows as a rich table."""
    from rich.table import Table

    result = Table(title="Gradient checkers on the same gradients")
    for column in ("tool", "caught", "missed", "false\nalarms", "names\nleaf", "names\nindex", "seconds"):
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
    """Draw the shares of wrong gradients missed and of correct ones rejected, per tool, in Okabe and Ito's colours."""
    from matplotlib.figure import Figure

    shown = [r for r in rows if not r.skipped]
    y = np.arange(len(shown))
    fig = Figure(figsize=(7.5, 0.7 * len(shown) + 1.6), layout="constrained")
    ax = fig.add_subplot()
    missed = [100 * r.missed / max(r.wrong, 1) for r in shown]
    refused = [100 * r.falsely_refused / max(r.correct, 1) for r in shown]
    for offset, share, label, colour, hatch in (
        (-0.2, missed, "wrong gradients missed", figures.ORANGE, ""),
        (0.2, refused, "correct gradients rejected", figures.BLUE, "//"),
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
    """Run every tool on every case, print the table, and save table and figure."""
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
