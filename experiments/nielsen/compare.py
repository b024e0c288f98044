"""Nielsen's published results on MNIST, from 784-30-10 to his committee of five, side by side with ours.

    python -m experiments nielsen --quick
    python -m experiments nielsen
    python -m experiments nielsen --rows relu dropout committee

Needs MNIST, in FNN_DATA's folder or in the cache. --quick trains the rows of dense layers, in about 15 minutes on two
CPU cores; all rows take four to five hours. Each epoch is saved, and each row once it is done: what was
interrupted goes on where it was, and what is done is not trained again, unless its recipe or --seeds has changed.

To expect: rows as published trained come within 0.3 of what is published; the last row reads 99.7 % right.
Prints a table; saves it with recipes and provenance as table.md, a figure, and a JSON file per row, under
results/nielsen/.
"""

import difflib
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments import reports
from experiments.data.mnist import Mnist, find_mnist
from experiments.errors import ExperimentError, UsageError, at_least, needs, usage
from experiments.nielsen import reports as nielsen_reports
from experiments.nielsen.rows import QUICK, ROWS, Row, description
from experiments.nielsen.training import Parts, Progress, Report, committee, forget, shares, split, train


@dataclass(frozen=True)
class Config:
    rows: tuple[str, ...] = ()
    """The rows to train, by name; none: all of them."""
    quick: bool = False
    """The rows of dense layers alone."""
    seeds: int = 3
    """Trainings of each row; those on expanded data have one, committees five."""
    fresh: bool = False
    """Train again what is done, and from the start what was interrupted."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, nielsen, in it."""


def chosen(config: Config, rows: Sequence[Row]) -> list[Row]:
    """The rows that the flags name, in the table's order; UsageError for a name that is not there."""
    names = [row.name for row in rows]
    for name in config.rows:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"--rows must be of {', '.join(names)}, got {name!r}{hint}")
    if config.quick and config.rows:
        raise usage("--quick", "given without --rows", ", ".join(config.rows))
    asked = config.rows or (QUICK if config.quick else names)
    return [row for row in rows if row.name in asked]


def saved(folder: Path, row: Row, images: int) -> dict[str, Any] | None:
    """What is saved of a row, or of the row whose networks it is a committee of; None where its recipe was another."""
    try:
        result = json.loads((folder / f"{row.of or row.name}.json").read_text(encoding="utf-8"))
        config = result["config"]
        return result if config == description(row, config["seeds"], images) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def say(row: Row, progress: Progress) -> None:
    """A line for each tenth of the epochs."""
    epoch, epochs = int(progress.epoch), row.ours.epochs
    if epoch % max(1, epochs // 10) == 0 or epoch == epochs:
        right = ", ".join(str(count) for count in np.asarray(progress.test[epoch - 1]))
        print(
            f"  {row.name}, epoch {epoch} of {epochs}: test {right} right; {float(progress.seconds):.0f} s", flush=True
        )


def run_row(row: Row, parts: Parts, seeds: int, folder: Path, fresh: bool, report: Report) -> None:
    """Trains a row and saves its results, ROW.json."""
    config = description(row, seeds, len(parts.y))
    checkpoints = folder / "checkpoints" / f"{row.name}-{fingerprint(config)}"
    if fresh:
        forget(checkpoints)
    progress, outputs = train(row, parts, seeds, checkpoints, report)
    n = len(parts.validation_y)
    result = {
        "experiment": "nielsen",
        "row": row.name,
        "command": f"python -m experiments nielsen --rows {row.name}" + ("" if row.seeds else f" --seeds {seeds}"),
        "config": config,
        "versions": reports.versions() | {"machine": machine()},
        "seconds": round(float(progress.seconds), 2),
        "validation": shares(progress.validation, n),
        "test": shares(progress.test, len(parts.test_y)),
        "cost": np.asarray(progress.cost, float).T.round(6).tolist(),
        "committee": {
            "validation": committee(outputs[:, :n], np.asarray(parts.validation_y)),
            "test": committee(outputs[:, n:], np.asarray(parts.test_y)),
        },
    }
    partial = folder / f"{row.name}.json.partial"
    reports.save_json(partial, result)
    partial.replace(folder / f"{row.name}.json")
    forget(checkpoints)


def machine() -> str:
    """The processor: its name where the system tells it, as Linux does, and its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return ", ".join([*named[:1], platform.machine()])


def fingerprint(config: dict[str, Any]) -> str:
    """Eight digits that tell recipes apart."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def compare(config: Config, rows: Sequence[Row], mnist: Mnist, report: Report = say) -> dict[str, nielsen_reports.Line]:
    """Trains what is asked for and not done, writes the table after each row -> its lines."""
    asked = chosen(config, rows)
    folder = reports.make_folder(config.results, "nielsen")
    parts, by_name, failed = split(mnist), {row.name: row for row in rows}, []
    for row in dict.fromkeys(by_name[row.of or row.name].name for row in asked):
        one = by_name[row]
        seeds, done = one.seeds or config.seeds, saved(folder, one, len(parts.y))
        if done is not None and done["config"]["seeds"] == seeds and not config.fresh:
            print(f"{row}: done", flush=True)
            continue
        print(f"{row}: {one.about}; seeds: {seeds}", flush=True)
        try:
            run_row(one, parts, seeds, folder, config.fresh, report)
        except ExperimentError as error:
            failed.append(str(error))
            print(f"{row}: failed: {error}", flush=True)
        tabulate(folder, rows, len(parts.y))
    lines = tabulate(folder, rows, len(parts.y))
    if lines:
        nielsen_reports.figure(rows, lines, folder / "figure.png")
    if failed:
        raise ExperimentError("; ".join(failed))
    return lines


def tabulate(folder: Path, rows: Sequence[Row], images: int) -> dict[str, nielsen_reports.Line]:
    """Writes the table of all rows, done or not -> the lines of those that are."""
    results = {row.name: saved(folder, row, images) for row in rows}
    lines = {row.name: nielsen_reports.line(row, result) for row in rows if (result := results[row.name]) is not None}
    (folder / "table.md").write_text(nielsen_reports.markdown(rows, lines), encoding="utf-8")
    return lines


def main(config: Config) -> None:
    """Trains the rows, prints the table, saves everything."""
    from rich.console import Console

    at_least("--seeds", config.seeds, 1)
    chosen(config, ROWS)
    needs("matplotlib")
    mnist = find_mnist()
    if mnist is None:
        raise ExperimentError("nielsen needs MNIST, which is not here: `python -m experiments data --download`")
    lines = compare(config, ROWS, mnist)
    print()
    Console(highlight=False, width=max(Console().width, 120)).print(nielsen_reports.table(ROWS, lines))
    folder = config.results / "nielsen"
    print(f"saved: {folder / 'table.md'}, {folder / 'figure.png'}, and a JSON file per row")
