"""Nielsen's published results on MNIST, reproduced and compared.

    python -m experiments nielsen --quick
    python -m experiments nielsen
    python -m experiments nielsen --rows relu dropout committee

The rows range from a 784-30-10 network to Nielsen's committee of five networks. MNIST must be in the folder FNN_DATA or
in the cache. --quick trains the rows with dense layers only, in about 15 minutes on two CPU cores. All rows take four
to five hours. The training is saved after each epoch, and the result after each row. An interrupted run resumes where
it stopped. Finished rows are skipped unless their recipe or --seeds has changed.

To expect: mean accuracies above the published ones or less than 0.3 points below; 99.7 % for the last row.
Prints a table. Saves it with recipes and provenance as table.md, with a figure and a JSON file per row, under
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
from experiments.errors import DataError, ExperimentError, UsageError, at_least, needs, usage
from experiments.nielsen import reports as nielsen_reports
from experiments.nielsen.rows import QUICK, ROWS, Row, description
from experiments.nielsen.training import (
    Parts,
    Progress,
    Report,
    committee,
    percentages,
    remove_checkpoints,
    split,
    train,
)
from experiments.wording import GET_DATA


@dataclass(frozen=True)
class Config:
    rows: tuple[str, ...] = ()
    """Names of the rows to train. Without names: all rows."""
    quick: bool = False
    """Train only the rows with dense layers."""
    seeds: int = 3
    """Trainings per row. Rows with expanded data always have one, committees five."""
    fresh: bool = False
    """Train finished rows again, and interrupted rows from the start."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder nielsen."""


def select_rows(config: Config, rows: Sequence[Row]) -> list[Row]:
    """Return the selected rows in the order of the table.

    Raise UsageError for an unknown name.
    """
    names = [row.name for row in rows]
    for name in config.rows:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"--rows must be among {', '.join(names)}, got {name!r}{hint}")
    if config.quick and config.rows:
        raise usage("--quick", "given without --rows", ", ".join(config.rows))
    selected = config.rows or (QUICK if config.quick else names)
    return [row for row in rows if row.name in selected]


def load_result(folder: Path, row: Row, images: int) -> dict[str, Any] | None:
    """Load the saved result of a row; None if it is missing or out of date.

    The result of a committee is that of its member row.
    """
    try:
        result = json.loads((folder / f"{row.committee_of or row.name}.json").read_text(encoding="utf-8"))
        config = result["config"]
        return result if config == description(row, config["seeds"], images) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def print_progress(row: Row, progress: Progress) -> None:
    """Print a line after each tenth of the epochs."""
    epoch, epochs = int(progress.epoch), row.ours.epochs
    if epoch % max(1, epochs // 10) == 0 or epoch == epochs:
        counts = ", ".join(str(count) for count in np.asarray(progress.test[epoch - 1]))
        seconds = float(progress.seconds)
        print(f"  {row.name}, epoch {epoch} of {epochs}: {counts} test images correct; {seconds:.0f} s", flush=True)


def run_row(row: Row, parts: Parts, seeds: int, folder: Path, fresh: bool, report: Report) -> None:
    """Train a row and save its result as ROW.json."""
    config = description(row, seeds, len(parts.y))
    checkpoints = folder / "checkpoints" / f"{row.name}-{fingerprint(config)}"
    if fresh:
        remove_checkpoints(checkpoints)
    progress, outputs = train(row, parts, seeds, checkpoints, report)
    n = len(parts.validation_y)
    result = {
        "experiment": "nielsen",
        "row": row.name,
        "command": f"python -m experiments nielsen --rows {row.name}" + ("" if row.seeds else f" --seeds {seeds}"),
        "config": config,
        "versions": reports.versions() | {"machine": machine()},
        "seconds": round(float(progress.seconds), 2),
        "validation": percentages(progress.validation, n),
        "test": percentages(progress.test, len(parts.test_y)),
        "cost": np.asarray(progress.cost, float).T.round(6).tolist(),
        "committee": {
            "validation": committee(outputs[:, :n], np.asarray(parts.validation_y)),
            "test": committee(outputs[:, n:], np.asarray(parts.test_y)),
        },
    }
    partial = folder / f"{row.name}.json.partial"
    reports.save_json(partial, result)
    partial.replace(folder / f"{row.name}.json")
    remove_checkpoints(checkpoints)


def machine() -> str:
    """Return the name and architecture of the processor.

    The name is omitted where the system does not report it as Linux does.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return ", ".join([*models[:1], platform.machine()])


def fingerprint(config: dict[str, Any]) -> str:
    """Return eight hexadecimal digits that identify a recipe."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def compare(
    config: Config, rows: Sequence[Row], mnist: Mnist, report: Report = print_progress
) -> dict[str, nielsen_reports.Line]:
    """Train the selected rows that are not finished; return the table's lines.

    The table is written after each row.
    """
    selected = select_rows(config, rows)
    folder = reports.make_folder(config.results, "nielsen")
    parts, by_name, failed = split(mnist), {row.name: row for row in rows}, []
    for name in dict.fromkeys(row.committee_of or row.name for row in selected):
        row = by_name[name]
        seeds, done = row.seeds or config.seeds, load_result(folder, row, len(parts.y))
        if done is not None and done["config"]["seeds"] == seeds and not config.fresh:
            print(f"{name}: finished", flush=True)
            continue
        print(f"{name}: {row.about}; seeds: {seeds}", flush=True)
        try:
            run_row(row, parts, seeds, folder, config.fresh, report)
        except ExperimentError as error:
            failed.append(str(error))
            print(f"{name}: failed: {error}", flush=True)
        write_table(folder, rows, len(parts.y))
    lines = write_table(folder, rows, len(parts.y))
    if lines:
        nielsen_reports.figure(rows, lines, folder / "figure.png")
    if failed:
        raise ExperimentError("; ".join(failed))
    return lines


def write_table(folder: Path, rows: Sequence[Row], images: int) -> dict[str, nielsen_reports.Line]:
    """Write the table of all rows; return the lines of the finished ones."""
    results = {row.name: load_result(folder, row, images) for row in rows}
    lines = {row.name: nielsen_reports.line(row, result) for row in rows if (result := results[row.name]) is not None}
    (folder / "table.md").write_text(nielsen_reports.markdown(rows, lines), encoding="utf-8")
    return lines


def main(config: Config) -> None:
    """Train the rows, print the table, and save the results."""
    from rich.console import Console

    at_least("--seeds", config.seeds, 1)
    select_rows(config, ROWS)
    needs("matplotlib")
    mnist = find_mnist()
    if mnist is None:
        raise DataError(f"nielsen needs MNIST, which was not found: {GET_DATA}")
    lines = compare(config, ROWS, mnist)
    print()
    Console(highlight=False, width=max(Console().width, 120)).print(nielsen_reports.table(ROWS, lines))
    folder = config.results / "nielsen"
    print(f"saved: {folder / 'table.md'}, {folder / 'figure.png'}, and a JSON file per row")
