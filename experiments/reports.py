"""Results of an experiment: folder, history.csv, JSON files, printed table."""

import contextlib
import csv
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import fnn
from experiments.errors import UsageError, usage


def make_folder(results: Path, name: str, report: str = "") -> Path:
    """Create the folder results/name; raise UsageError if it is not writable.

    If the file `report` is in it, say that the results of an earlier run will be replaced.
    """
    folder = results / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"--results: cannot write in {folder}: {error.strerror or error}") from None
    if report and (folder / report).exists():
        print(f"the results of an earlier run in {folder} will be replaced", flush=True)
    return folder


def distinct(flag: str, expected: str, path: Path, others: Iterable[Path]) -> None:
    """Raise UsageError if `path`, which this flag names, is one of the other files, by whatever name.

    A command calls it before it reads or writes, so that it does not replace its own input.
    """
    for other in others:
        same = path.resolve() == other.resolve()
        with contextlib.suppress(OSError):  # one of them does not exist
            same = same or path.samefile(other)
        if same:
            raise usage(flag, expected, path)


def save_history(path: Path, history: Mapping[str, np.ndarray]) -> None:
    """Write the history as CSV, a row per epoch.

    Epochs are numbered from 1; training columns precede validation columns.
    """
    names = sorted(history, key=lambda name: (name.startswith("validation"), not name.endswith("cost"), name))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *names])
        for epoch, row in enumerate(zip(*(history[name] for name in names), strict=True), start=1):
            writer.writerow([epoch, *(str(value) for value in row)])


def versions() -> dict[str, Any]:
    """Return the versions and the hardware that results depend on."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "numpy": np.__version__,
        "fnn": fnn.__version__,
        "device": f"{device.platform}: {device.device_kind}",
        "cpus": os.cpu_count(),
    }


def save_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write indented JSON, with paths as text.

    NaN and infinity raise ValueError, since JSON has neither.
    """
    path.write_text(json.dumps(values, indent=2, default=str, allow_nan=False) + "\n", encoding="utf-8")


def print_results(results: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table of examples, wrong predictions, cost and accuracy per part."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="with the kept parameters, without dropout and penalty", title_justify="left")
    table.add_column("data")
    for column in ("examples", "wrong", "cost", "accuracy"):
        table.add_column(column, justify="right")
    for name, row in results.items():
        table.add_row(name, f"{row['examples']:,}", f"{row['wrong']}", f"{row['cost']:.4f}", f"{row['accuracy']:.4f}")
    Console(highlight=False).print(table)
