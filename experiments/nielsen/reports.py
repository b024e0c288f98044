"""What `nielsen` shows: every row's published accuracy beside ours, on the screen, as Markdown, as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import figures
from experiments.nielsen.rows import AVERAGE, VOTE, Row, words
from experiments.nielsen.training import measured

COMMITTEES = {VOTE: "vote", AVERAGE: "average"}

NOTES = """\
The networks, their recipes and the published figures are those of M. Nielsen, Neural Networks and Deep Learning (2015),
chapters 1, 3, 5 and 6. The first 50,000 training images of MNIST train, the other 10,000 are the validation images.

- "is of": which accuracy the book reports. In chapters 1 and 3 the best over the epochs on the test images; where it
  says so, the best on the validation images; in chapter 6 that on the test images after the epoch that is best on the
  validation images, of the best of three trainings. "ours" is the same of each seed (of each one, not of the best
  three): mean ± standard deviation over the seeds, and the best seed. "minus published" is the mean's difference.
- "last" and "best" are of the test images, mean over the seeds: after the last epoch; the best over the epochs, which
  looks at them.
- A committee's accuracy is one number, after the last epoch; "last" and "best" beside it are means of its members. The
  book counts votes; `record` was to be counted by the mean probability, and is by both.
- l2 is our strength, of l2/2 ‖w‖²; the book's λ divided by 50,000, in chapter 6, whose program divides by the number of
  mini-batches, by 5,000 (with expanded data: 25,000). The softmax layer starts at 0 in the book, with dense layers here
  too.
- Networks without convolutions are trained as published, but for three. `l2_30` sees batches of 20: with those of 10 it
  comes to 96.15 ± 0.08. `softmax_100` starts from chapter 3's weights, N(0, 1/n_in), and so does `quadratic_100`. From
  those of chapter 1, N(0, 1), it comes to 84.3 ± 5.2: a hundred of them add up, an output that starts saturated stays
  so, and its digit goes unread for epochs. Eight other rates and batches stayed below 87 % for 5 or 6 epochs; so did
  three of four trainings of a NumPy program in float64, written after the book's: 77, 48, 95 and 86 % after six.
  `l2_30` and `quadratic_100` were changed after such trials, and by their test accuracy: they are no blind repeats.
- Convolutional ones see batches of 50 or 100 in place of 10, fewer images, and a learning rate that climbs for 5 % of
  the steps and falls to 0.
"""


class Line(NamedTuple):
    """A row's accuracies, in per cent.

    each            of each seed, what the published one is of; of a committee its members'
    compared, std   what stands beside the published one, mean over the seeds or the committee's; 0 for a single one
    last, best      on the test images, means over the seeds: after the last epoch; the best over the epochs
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
    """The line of a row from what was saved of it, or of the row whose networks it is a committee of."""
    validation, test = result["validation"], result["test"]
    each = tuple(measured(row.measure, validation, test))
    compared, std = float(np.mean(each)), float(np.std(each, ddof=1)) if len(each) > 1 else 0.0
    if row.measure in COMMITTEES:
        compared, std = result["committee"]["test"][COMMITTEES[row.measure]], 0.0
    last, best = (float(np.mean([value(one) for one in test])) for value in (lambda one: one[-1], max))
    return Line(row, each, compared, std, last, best, 0.0 if row.of else result["seconds"], result)


def _cells(of: Line) -> dict[str, str]:
    """What both tables show of a line besides its name and recipes."""
    return {
        "published": f"{of.row.published:.2f}",
        "ours": f"{of.compared:.2f}" + (f" ± {of.std:.2f}" if of.std else ""),
        "best seed": "" if of.row.measure in COMMITTEES else f"{max(of.each):.2f}",
        "minus published": f"{of.compared - of.row.published:+.2f}",
        "last": f"{of.last:.2f}",
        "best": f"{of.best:.2f}",
        "seeds": str(len(of.each)),
        "seconds": f"{of.seconds:.0f}" if of.seconds else "",
    }


def _is_of(row: Row, of: Line | None) -> str:
    """What the accuracies are of; a committee's also as it is counted in the other way."""
    if of is None or row.measure not in COMMITTEES:
        return row.measure
    other, name = (AVERAGE, "mean probability") if row.measure == VOTE else (VOTE, "vote")
    return f"{row.measure}; by {name} {of.result['committee']['test'][COMMITTEES[other]]:.2f}"


def _empty(row: Row) -> dict[str, str]:
    names = ("ours", "best seed", "minus published", "last", "best", "seeds", "seconds")
    return {"published": f"{row.published:.2f}"} | dict.fromkeys(names, "") | {"ours": "not run"}


def table(rows: Sequence[Row], lines: Mapping[str, Line]):
    """As a rich table."""
    from rich.table import Table

    shown = Table(title="MNIST, accuracy in per cent, published by Nielsen and here", title_justify="left")
    for name in ("row", *_empty(rows[0])):
        shown.add_column(name, justify="left" if name == "row" else "right", no_wrap=True)
    for row in rows:
        cells = _cells(lines[row.name]) if row.name in lines else _empty(row)
        shown.add_row(row.name, *cells.values())
    return shown


def markdown(rows: Sequence[Row], lines: Mapping[str, Line]) -> str:
    """The whole table with recipes and provenance."""
    head = ("row", "chapter", "network", *_empty(rows[0]), "is of", "recipe of the book", "recipe here")
    body = []
    for row in rows:
        cells = _cells(lines[row.name]) if row.name in lines else _empty(row)
        about = (_is_of(row, lines.get(row.name)), words(row.theirs, "λ"), words(row.ours, "l2"))
        body.append((f"`{row.name}`", str(row.chapter), row.about, *cells.values(), *about))
    parts = ["# MNIST: Nielsen's published results and ours", "", "Accuracies in per cent.", ""]
    parts += [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *body)]
    return "\n".join([*parts, "", NOTES, *_provenance(lines)]) + "\n"


def _provenance(lines: Mapping[str, Line]) -> list[str]:
    """For each set of versions and machine, the rows and their commands; the sum of the seconds."""
    found: dict[str, list[str]] = {}
    for name, one in lines.items():
        versions = one.result["versions"]
        machine = f"{versions['device'].removeprefix('cpu: ')}, {versions['cpus']} cores, {versions['machine']}"
        others = ", ".join(
            f"{key} {value}" for key, value in versions.items() if key not in ("device", "cpus", "machine")
        )
        if not one.row.of:
            found.setdefault(f"{machine}; {others}", []).append(f"- `{name}`: `{one.result['command']}`")
    total = sum(one.seconds for one in lines.values())
    out = ["## Provenance", "", f"{total:,.0f} s of training in all, compilation and evaluation included."]
    for machine, commands in found.items():
        out += ["", f"{machine}:", "", *commands]
    return out


def figure(rows: Sequence[Row], lines: Mapping[str, Line], path: Path) -> None:
    """A line per row: the published accuracy as a bar, ours of each seed as dots, what is compared as a diamond.

    The axis is the error, in per cent and logarithmic, falling to the right. The dots are a little below their line.
    """
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.name in lines]
    with figures.style():
        fig = Figure(figsize=(10, 1.6 + 0.36 * len(shown)), layout="constrained")
        axes = fig.add_subplot()
        for height, row in enumerate(shown):
            one, label = lines[row.name], height == 0
            published = max(100 - row.published, 0.01)
            axes.plot(
                [published], [height], "|", ms=18, mew=3, color=figures.ORANGE, label="published" if label else None
            )
            if not row.of:
                errors = [max(100 - value, 0.01) for value in one.each]
                name = "each seed" if label else None
                axes.plot(
                    errors, [height + 0.25] * len(errors), "o", ms=5, alpha=0.6, color=figures.SKY, mew=0, label=name
                )
            ours = max(100 - one.compared, 0.01)
            name = "here: mean, or the committee" if label else None
            axes.plot([ours], [height], "D", ms=7, color=figures.BLUE, mec="white", label=name)
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.set(xscale="log", xlabel="images read wrong, per cent", ylim=(len(shown) - 0.5, -0.5))
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
        fig.suptitle("MNIST: Nielsen's published results and ours", x=0.02, ha="left", fontweight="bold")
        fig.legend(loc="outside lower left", ncols=3)
        figures.save(fig, path)
