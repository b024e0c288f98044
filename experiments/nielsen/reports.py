"""The table of `nielsen`, on the screen and as Markdown, and its figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import figures
from experiments.nielsen.rows import AVERAGE, VOTE, Row, recipe_text
from experiments.nielsen.training import published_measure

COMMITTEES = {VOTE: "vote", AVERAGE: "average"}

NOTES = """\
The networks, their recipes and the published figures are those of M. Nielsen, Neural Networks and Deep Learning (2015),
chapters 1, 3, 5 and 6. The first 50,000 training images of MNIST train, the other 10,000 are the validation images.

- "measured on" says which accuracy the book reports. In chapters 1 and 3 it is the best over the epochs on the test
  images, or on the validation images where the table says so. In chapter 6 it is the test accuracy after the epoch with
  the best validation accuracy, of the best of three trainings. "ours" is the same measure for each of our seeds, not
  only for the best: the mean ± standard deviation over the seeds, and the best seed. "minus published" is the
  difference of the mean.
- "last" and "best" are test accuracies, averaged over the seeds: after the last epoch, and the best over the epochs.
  The latter is chosen on the test images.
- The accuracy of a committee is one number, after the last epoch. "last" and "best" beside it are means over its
  members. The book counts votes. For `record` the mean probability was chosen in advance, and both are given.
- l2 is our strength in l2/2 ‖w‖². It is the book's λ divided by 50,000. In chapter 6 the book's program divides by the
  number of mini-batches, so it is λ divided by 5,000, and by 25,000 with expanded data. The softmax layer starts at 0
  in the book; with dense layers it does so here too.
- Networks without convolutions are trained as published, with three exceptions. `l2_30` uses batches of 20; with
  batches of 10 it reaches 96.15 ± 0.08. `softmax_100` and `quadratic_100` start from the weights of chapter 3,
  N(0, 1/n_in). From those of chapter 1, N(0, 1), `quadratic_100` reaches 84.3 ± 5.2. With those weights a hundred
  inputs add up, so some outputs start saturated and stay so, and their digits are not recognised for epochs. Eight
  other learning rates and batch sizes stayed below 87 % for 5 or 6 epochs. So did three of four trainings with a NumPy
  program in float64, written after the book's: 77, 48, 95 and 86 % after six epochs. The recipes of `l2_30` and
  `quadratic_100` were changed after such trials, by their test accuracy, so these rows are not blind replications.
- Convolutional networks use batches of 50 or 100 instead of 10, fewer images, and a learning rate that rises for 5 % of
  the steps and then falls to 0.
"""


class Line(NamedTuple):
    """Accuracies of a row, in per cent.

    each            accuracy of each seed, measured as the published one; for a committee, that of its members
    compared, std   accuracy to compare with the published one: mean and standard deviation over the seeds, or the
                    committee's accuracy; std is 0 for a single number
    last, best      test accuracy, mean over the seeds: after the last epoch; the best over the epochs
    """

    row: Row
    each: tuple[float, ...]
    compared: float
    std: float
    last: float
    best: float
    seconds: float
    result: Mapping[str, Any]


def line(row: Row, result: Mapping[str, Any]) -> Line:
    """Make the line of a row from a saved result.

    The result of a committee is that of its member row.
    """
    validation, test = result["validation"], result["test"]
    each = tuple(published_measure(row.measure, validation, test))
    compared, std = float(np.mean(each)), float(np.std(each, ddof=1)) if len(each) > 1 else 0.0
    if row.measure in COMMITTEES:
        compared, std = result["committee"]["test"][COMMITTEES[row.measure]], 0.0
    last, best = (float(np.mean([value(seed) for seed in test])) for value in (lambda seed: seed[-1], max))
    return Line(row, each, compared, std, last, best, 0.0 if row.committee_of else result["seconds"], result)


def _cells(line: Line) -> dict[str, str]:
    """Format the columns that both tables share, besides the name and the recipes."""
    return {
        "published": f"{line.row.published:.2f}",
        "ours": f"{line.compared:.2f}" + (f" ± {line.std:.2f}" if line.std else ""),
        "best seed": "" if line.row.measure in COMMITTEES else f"{max(line.each):.2f}",
        "minus published": f"{line.compared - line.row.published:+.2f}",
        "last": f"{line.last:.2f}",
        "best": f"{line.best:.2f}",
        "seeds": str(len(line.each)),
        "seconds": f"{line.seconds:.0f}" if line.seconds else "",
    }


def _measure_text(row: Row, line: Line | None) -> str:
    """Describe how accuracy is measured.

    For a committee, add the accuracy of the other way to count.
    """
    if line is None or row.measure not in COMMITTEES:
        return row.measure
    other, name = (AVERAGE, "mean probability") if row.measure == VOTE else (VOTE, "vote")
    return f"{row.measure}; by {name} {line.result['committee']['test'][COMMITTEES[other]]:.2f}"


def _empty(row: Row) -> dict[str, str]:
    """Format the same columns of a row that has not been run."""
    names = ("ours", "best seed", "minus published", "last", "best", "seeds", "seconds")
    return {"published": f"{row.published:.2f}"} | dict.fromkeys(names, "") | {"ours": "not run"}


def table(rows: Sequence[Row], lines: Mapping[str, Line]):
    """Make the table for the screen."""
    from rich.table import Table

    shown = Table(title="MNIST, accuracy in per cent: published by Nielsen, and fnn's", title_justify="left")
    for name in ("row", *_empty(rows[0])):
        shown.add_column(name, justify="left" if name == "row" else "right", no_wrap=True)
    for row in rows:
        cells = _cells(lines[row.name]) if row.name in lines else _empty(row)
        shown.add_row(row.name, *cells.values())
    return shown


def markdown(rows: Sequence[Row], lines: Mapping[str, Line]) -> str:
    """Format the whole table as Markdown, with recipes and provenance."""
    head = ("row", "chapter", "network", *_empty(rows[0]), "measured on", "recipe of the book", "recipe here")
    body = []
    for row in rows:
        cells = _cells(lines[row.name]) if row.name in lines else _empty(row)
        measure = _measure_text(row, lines.get(row.name))
        recipes = (recipe_text(row.theirs, "λ"), recipe_text(row.ours, "l2"))
        body.append((f"`{row.name}`", str(row.chapter), row.about, *cells.values(), measure, *recipes))
    parts = ["# MNIST: Nielsen's published results and fnn's", "", "Accuracies in per cent.", ""]
    parts += [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *body)]
    return "\n".join([*parts, "", NOTES, *_provenance(lines)]) + "\n"


def _provenance(lines: Mapping[str, Line]) -> list[str]:
    """List rows and commands per machine and versions, and the total time."""
    found: dict[str, list[str]] = {}
    for name, line in lines.items():
        versions = line.result["versions"]
        machine = f"{versions['device'].removeprefix('cpu: ')}, {versions['cpus']} cores, {versions['machine']}"
        others = ", ".join(
            f"{key} {value}" for key, value in versions.items() if key not in ("device", "cpus", "machine")
        )
        if not line.row.committee_of:
            found.setdefault(f"{machine}; {others}", []).append(f"- `{name}`: `{line.result['command']}`")
    total = sum(line.seconds for line in lines.values())
    out = ["## Provenance", "", f"{total:,.0f} s of training in total, including compilation and evaluation."]
    for machine, commands in found.items():
        out += ["", f"{machine}:", "", *commands]
    return out


def figure(rows: Sequence[Row], lines: Mapping[str, Line], path: Path) -> None:
    """Save a figure with a line per row, over the error in per cent.

    The axis is logarithmic and falls to the right.

    A bar is the published accuracy, dots are the seeds (slightly below their line), and a diamond is the accuracy to
    compare.
    """
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.name in lines]
    with figures.style():
        fig = Figure(figsize=(10, 1.6 + 0.36 * len(shown)), layout="constrained")
        axes = fig.add_subplot()
        for height, row in enumerate(shown):
            line, label = lines[row.name], height == 0
            published = max(100 - row.published, 0.01)
            axes.plot(
                [published], [height], "|", ms=18, mew=3, color=figures.ORANGE, label="published" if label else None
            )
            if not row.committee_of:
                errors = [max(100 - value, 0.01) for value in line.each]
                name = "each seed" if label else None
                axes.plot(
                    errors, [height + 0.25] * len(errors), "o", ms=5, alpha=0.6, color=figures.SKY, mew=0, label=name
                )
            ours = max(100 - line.compared, 0.01)
            name = "fnn: mean, or the committee" if label else None
            axes.plot([ours], [height], "D", ms=7, color=figures.BLUE, mec="white", label=name)
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.set(xscale="log", xlabel="misread images, per cent", ylim=(len(shown) - 0.5, -0.5))
        errors = [
            100 - value for row in shown for value in (row.published, lines[row.name].compared, *lines[row.name].each)
        ]
        low, high = max(min(errors) / 1.15, 0.01), max(errors) * 1.15
        axes.set_xlim(high, low)
        ticks = [
            tick
            for tick in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 20, 50, 100)
            if low <= tick <= high
        ]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        fig.suptitle("MNIST: Nielsen's published results and fnn's", x=0.02, ha="left", fontweight="bold")
        fig.legend(loc="outside lower left", ncols=3)
        figures.save(fig, path)
