"""Compare the seconds of fnn's estimators with those of scikit-learn's MLPs.

    python -m experiments estimators

Trains `NetworkClassifier` and `MLPClassifier` (on diabetes the regressors) for the same number of epochs, with the
same batches and learning rate, by turns in one process. The first fit of fnn compiles its programs; later ones find
them. CPU seconds are those of all threads.

Prints the seconds of the first fit, the median of the later ones, and the score on a fifth of the rows, held out. Saves
estimators.json under results/estimators/.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import reports
from experiments.errors import among, needs, usage


@dataclass(frozen=True)
class Config:
    tables: tuple[str, ...] = ("digits", "iris", "diabetes")
    """Names of the data sets."""
    epochs: int = 100
    """Epochs of each fit."""
    rounds: int = 5
    """Fits of each side."""
    dtype: str = "float64"
    """Dtype of the features: float64 or float32."""
    results: Path = Path("results")
    """Folder for the results; the benchmark creates its subfolder estimators."""


class Fit(NamedTuple):
    """One fit: the side, its seconds and CPU seconds, and the score on held-out rows."""

    table: str
    side: str
    seconds: float
    cpu_seconds: float
    score: float


TABLES = ("digits", "iris", "wine", "breast_cancer", "diabetes")


def sides(table: str, epochs: int) -> dict[str, Callable[[], Any]]:
    """Return a function for each side that makes its estimator."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from fnn.estimators import NetworkClassifier, NetworkRegressor

    options: dict[str, Any] = {"max_iter": epochs, "n_iter_no_change": epochs, "random_state": 0}
    ours, theirs = (NetworkRegressor, MLPRegressor) if table == "diabetes" else (NetworkClassifier, MLPClassifier)
    return {"fnn": lambda: ours(**options), "scikit-learn": lambda: theirs(**options)}


def measure(table: str, config: Config) -> list[Fit]:
    """Fit both sides by turns."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    x, y = getattr(datasets, f"load_{table}")(return_X_y=True)
    x, test_x, y, test_y = train_test_split(x.astype(config.dtype), y, test_size=0.2, random_state=0)
    fits, makers = [], sides(table, config.epochs)
    for turn in range(config.rounds):
        for name in list(makers)[:: 1 if turn % 2 == 0 else -1]:
            model = makers[name]()
            wall, cpu = time.perf_counter(), time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # neither is to converge
                model.fit(x, y)
            seconds = time.perf_counter() - wall, time.process_time() - cpu
            fits.append(Fit(table, name, *seconds, float(model.score(test_x, test_y))))
    return fits


def format_fits(fits: list[Fit]) -> str:
    """Format a line for each table and side: the first fit, the median of the others, and the score.

    >>> print(format_fits([Fit("iris", "fnn", 1.0, 1.5, 0.9), Fit("iris", "fnn", 0.1, 0.2, 0.9)]))
    table          side          first s  later s  later CPU s  score
    iris           fnn             1.000    0.100        0.200  0.900
    """
    lines = [f"{'table':14} {'side':12} {'first s':>8} {'later s':>8} {'later CPU s':>12} {'score':>6}"]
    for table, side in dict.fromkeys((fit.table, fit.side) for fit in fits):
        rows = [fit for fit in fits if (fit.table, fit.side) == (table, side)]
        later = rows[1:] or rows
        seconds, cpu = (np.median([getattr(row, name) for row in later]) for name in ("seconds", "cpu_seconds"))
        first, score = rows[0].seconds, rows[-1].score
        lines.append(f"{table:14} {side:12} {first:8.3f} {seconds:8.3f} {cpu:12.3f} {score:6.3f}")
    return "\n".join(lines)


def main(config: Config) -> None:
    """Measure both sides on all tables; print and save."""
    needs("sklearn")
    among("--tables", config.tables, TABLES)
    among("--dtype", [config.dtype], ("float64", "float32"))
    for flag, value in (("--epochs", config.epochs), ("--rounds", config.rounds)):
        if value < 1:
            raise usage(flag, "an integer of at least 1", value)
    folder = reports.make_folder(config.results, "estimators", "estimators.json")
    fits = [fit for table in dict.fromkeys(config.tables) for fit in measure(table, config)]
    print(format_fits(fits))
    results = {"config": asdict(config), "versions": reports.versions(), "rows": [fit._asdict() for fit in fits]}
    reports.save_json(folder / "estimators.json", results)
    print(f"\nsaved {folder / 'estimators.json'}")
