"""Compare the search of fnn with five models of scikit-learn on small tables.

    python -m experiments tables

For each table and each seed, a fifth of the rows is held out (classes are stratified), and every model is trained on
the others, one after another in one process; their order turns from split to split. Scores are accuracy for classes and
R² for quantities, on the held-out rows. A model's rank on a table is that of its mean score.

The nine default tables come with scikit-learn or from its generators; `--tables` names others. The defaults of the
search were tuned on seeds 0 to 3 of these nine.

Prints scores with standard errors over the seeds, ranks, log-losses and seconds. Saves tables.json under
results/tables/.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import reports
from experiments.benchmarks.table_peers import OURS, PEERS, Answer
from experiments.benchmarks.table_sources import NINE, SOURCES, Split, split
from experiments.errors import among, at_least, needs


@dataclass(frozen=True)
class Config:
    tables: tuple[str, ...] = tuple(NINE)
    """Names of the tables."""
    seeds: int = 8
    """Number of splits of each table."""
    seed: int = 100
    """Seed of the first split; those of the others follow."""
    peers: tuple[str, ...] = tuple(name for name in PEERS if name != OURS)
    """Names of the models beside the search, which always runs."""
    results: Path = Path("results")
    """Folder for the results; the benchmark creates its subfolder tables."""


class Measured(NamedTuple):
    """A model on a split: its score, its log-loss if it gives probabilities, and its seconds."""

    table: str
    seed: int
    model: str
    score: float
    log_loss: float | None
    seconds: float


def score(answer: Answer, data: Split) -> float:
    """Return the accuracy, or R² = 1 - Σ (y - ŷ)² / Σ (y - ȳ)².

    >>> data = Split(*[np.zeros(0)] * 3, np.array([0.0, 2.0]), False)
    >>> score(Answer(np.array([1.0, 1.0])), data)
    0.0
    """
    if data.is_classes:
        return float(np.mean(answer.prediction == data.y_test))
    total = np.square(data.y_test - data.y_test.mean()).sum()
    return float(1 - np.square(data.y_test - answer.prediction).sum() / total)


def log_loss(answer: Answer, data: Split) -> float | None:
    """Return the mean of -ln p of the true class, with p of at least 1e-15; None without probabilities."""
    if answer.probabilities is None:
        return None
    p = answer.probabilities[np.arange(len(data.y_test)), data.y_test]
    return float(-np.log(np.maximum(p, 1e-15)).mean())


def measure(table: str, seed: int, names: list[str]) -> list[Measured]:
    """Train and score the models on one split, in this order."""
    data, rows = split(table, seed), []
    for name in names:
        start = time.perf_counter()
        answer = PEERS[name](data, seed)
        seconds = time.perf_counter() - start
        rows.append(Measured(table, seed, name, score(answer, data), log_loss(answer, data), seconds))
    return rows


class Summary(NamedTuple):
    """Means over the seeds, as arrays (models, tables)."""

    score: np.ndarray
    error: np.ndarray
    rank: np.ndarray
    log_loss: np.ndarray
    seconds: np.ndarray


def summarise(rows: list[Measured], models: list[str], tables: list[str]) -> Summary:
    """Average over the seeds. `error` is the standard error of the mean, NaN for one seed; rank 1 is the best score."""
    from scipy.stats import rankdata

    def each(value) -> np.ndarray:
        cells = [[[value(r) for r in rows if (r.model, r.table) == (m, t)] for t in tables] for m in models]
        return np.array(cells, np.float64)  # None becomes NaN

    scores = each(lambda row: row.score)
    seeds = scores.shape[-1]
    error = scores.std(axis=-1, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(scores.shape[:2], np.nan)
    means = scores.mean(axis=-1)
    losses, seconds = (each(value).mean(axis=-1) for value in (lambda row: row.log_loss, lambda row: row.seconds))
    return Summary(means, error, rankdata(-means, axis=0), losses, seconds)


def format_summary(summary: Summary, models: list[str], tables: list[str]) -> str:
    """Format the tables of scores, log-losses and seconds, with a column per table of data."""
    width = max(12, *map(len, tables)) + 1

    def block(title: str, cells: list[list[str]], columns: list[str]) -> str:
        lines = [f"{title:10}" + "".join(f"{name:>{width}}" for name in columns)]
        body = [f"{name:10}" + "".join(f"{c:>{width}}" for c in row) for name, row in zip(models, cells, strict=True)]
        return "\n".join(lines + body)

    number = lambda value, form: "-" if np.isnan(value) else format(value, form)
    scores = [
        [*(f"{s:.3f}±{number(e, '.3f')}" for s, e in zip(*row, strict=True)), f"{mean:.3f}", f"{rank:.2f}"]
        for row, mean, rank in zip(
            zip(summary.score, summary.error, strict=True),
            summary.score.mean(axis=1),
            summary.rank.mean(axis=1),
            strict=True,
        )
    ]
    parts = [block("score", scores, [*tables, "mean", "mean rank"])]
    for title, values, form in (("log-loss", summary.log_loss, ".3f"), ("seconds", summary.seconds, ".2f")):
        parts.append(block(title, [[number(value, form) for value in row] for row in values], tables))
    return "\n\n".join(parts)


def main(config: Config) -> None:
    """Measure all models on all splits; print and save."""
    needs("sklearn")
    among("--tables", config.tables, SOURCES)
    if config.peers:
        among("--peers", config.peers, [name for name in PEERS if name != OURS])
    at_least("--seeds", config.seeds, 1)
    at_least("--seed", config.seed, 0)
    folder = reports.make_folder(config.results, "tables", "tables.json")
    models = [OURS, *(name for name in PEERS if name in config.peers and name != OURS)]
    tables, rows, turn = list(dict.fromkeys(config.tables)), [], 0
    for table in tables:
        for seed in range(config.seed, config.seed + config.seeds):
            rows += measure(table, seed, models[turn % len(models) :] + models[: turn % len(models)])
            turn += 1
        means = [(name, np.mean([r.score for r in rows if (r.table, r.model) == (table, name)])) for name in models]
        print(f"{table}: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means), flush=True)
    print("\n" + format_summary(summarise(rows, models, tables), models, tables))
    results = {"config": asdict(config), "versions": reports.versions(), "rows": [row._asdict() for row in rows]}
    reports.save_json(folder / "tables.json", results)
    print(f"\nsaved {folder / 'tables.json'}")
