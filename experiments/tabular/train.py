"""Train networks on your own table, for classes or a quantity.

    python -m experiments train --data flowers.csv --target species

reads the table, says what each column is used as and why, trains, and says how good the result is.

The table is a text file (.csv, .tsv, .txt, also as .gz), Parquet (.parquet) or arrays (.npz). Its encoding,
delimiter, decimal mark and column names are found. Columns are numbers, categories, dates, or yes and no;
missing values are allowed in all of them. A column that only tells rows apart, such as a row number, is left
out. If a decision is wrong, --numeric, --categorical, --date, --ignore, --id, --missing, --delimiter and
--encoding overrule it.

A search trains many networks and linear models on five parts of the table in turn and combines the best. The
scores that it prints are of rows that were not trained on. --test 0.2 also keeps a part of the rows for a last
test. --no-search trains a single network instead, with the flags from --hidden on.

Writes report.html, scores.json, run.json and the networks to results/train/NAME, where NAME is the name of the
data file. Then

    python -m experiments predict --run results/train/NAME --data new.csv

predicts for other rows.
"""

import dataclasses
import shlex
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console

from experiments import STARTED, reports, tabular_report
from experiments.data.tables import SUFFIXES
from experiments.errors import UsageError, at_least, needs, positive, usage
from experiments.examples import common
from experiments.saved_models import RUN
from experiments.tabular import describe, fitting
from experiments.tabular.columns import Flags
from experiments.tabular.fitting import Fitted
from experiments.tabular.model import FILES, check_saved, save
from experiments.tabular.network import Training
from experiments.tabular.prepare import Prepared, prepare, print_columns
from experiments.wording import counted


@dataclass(frozen=True)
class Config:
    data: Path
    """The table: a .csv, .tsv, .txt, .parquet or .npz file; texts also as .gz."""
    target: str
    """The column to predict."""
    task: Literal["classification", "regression"] | None = None
    """What the target is. None: classes if it is text or at most 20 different whole numbers, else a quantity."""
    test: float | None = None
    """Fraction of the rows for a test at the end. None: no row after a search, 0.2 with --no-search."""
    budget: float | None = None
    """Seconds that the search may take. None: it depends on the size of the table."""
    model: Literal["linear", "network"] | None = None
    """What the search tries: linear models alone, or networks alone. None: both."""
    numeric: tuple[str, ...] = ()
    """Columns to use as numbers."""
    categorical: tuple[str, ...] = ()
    """Columns to use as categories, such as codes that are written as numbers."""
    date: tuple[str, ...] = ()
    """Columns to use as dates."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out."""
    id: tuple[str, ...] = ()
    """Columns that name the rows: left out, but copied to the predictions."""
    missing: tuple[str, ...] = ()
    """Further spellings of a missing value, such as -999. Known are empty fields, NA, nan, null, ? and the like."""
    drop_missing: bool = False
    """Leave out rows with missing values, instead of filling them in."""
    delimiter: str | None = None
    """Character between the fields of a text, or tab. None: found."""
    encoding: str | None = None
    """Encoding of a text, such as utf-8 or cp1252. None: found."""
    search: bool = True
    """Search over many networks. --no-search, or any of the flags below but --seed, trains one network."""
    hidden: tuple[int, ...] = (64, 32)
    """Units of each hidden layer. The flag without values: no hidden layer, linear or softmax regression."""
    activation: Literal["relu", "leaky-relu", "gelu", "silu", "softplus", "tanh", "sigmoid"] = "relu"
    """Activation after each hidden layer."""
    optimizer: Literal["adam", "momentum", "heavy-ball", "nesterov", "sgd"] = "adam"
    """Optimizer."""
    learning_rate: float | None = None
    """Learning rate. None: a default for the optimizer."""
    epochs: int = 300
    """Maximum number of passes over the training data; see --patience."""
    batch_size: int = 32
    """Examples per step."""
    l2: float = 1e-3
    """Strength of the penalty l2/2 ||W||^2 on weights. 0: no penalty."""
    dropout: float = 0.0
    """Fraction of hidden units set to zero at random during training. 0: no dropout."""
    patience: int = 30
    """Stop after this many epochs without a lower validation cost, and keep the best parameters."""
    validation: float = 0.16
    """Fraction of the rows for validation, which decides which epoch's parameters are kept."""
    seed: int = 0
    """Seed of the split, the initial weights and the order of the examples."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder train/NAME."""


OF_ONE = ("hidden", "activation", "optimizer", "learning_rate", "epochs", "batch_size", "l2", "dropout", "patience")


def searches(config: Config) -> bool:
    """Return whether to search: not if a flag of a single network was given."""
    fields = {field.name: field.default for field in dataclasses.fields(Config)}
    return config.search and all(getattr(config, name) == fields[name] for name in (*OF_ONE, "validation"))


def check(config: Config) -> None:
    """Raise UsageError, naming the flag, for an invalid value."""
    if config.data.suffix.lower() not in SUFFIXES:
        hint = "; save the sheet as .csv" if config.data.suffix.lower() in (".xlsx", ".xls", ".ods", ".numbers") else ""
        raise usage("--data", f"a table, a file that ends in {', '.join(SUFFIXES)}", f"{config.data}{hint}")
    if config.budget is not None:
        positive("--budget", config.budget)
    if not searches(config) and (config.budget is not None or config.model is not None):
        flag = "--budget" if config.budget is not None else "--model"
        raise UsageError(f"{flag} is of the search: it cannot be set with --no-search or a flag of one network")
    for units in config.hidden:
        at_least("--hidden", units, 1)
    common.check_flags(config, "epochs", "batch_size", "patience")
    at_least("--l2", config.l2, 0.0)
    if not 0 <= config.dropout < 1:
        raise usage("--dropout", "in [0, 1)", config.dropout)
    for flag, value in (("validation", config.validation), ("test", config.test)):
        if value is not None and not 0 < value < 1:
            raise usage(f"--{flag}", "in (0, 1)", value)
    if config.validation + _test(config) > 0.9:
        raise usage("--validation and --test", "at most 0.9 together", config.validation + _test(config))


def _test(config: Config) -> float:
    return config.test if config.test is not None else 0.0 if searches(config) else 0.2


def folder_name(data: Path) -> str:
    """Return the name of a table's folder: table.csv and table.csv.gz have `table`."""
    return Path(data.stem).stem if data.suffix.lower() == ".gz" else data.stem


def fit(config: Config, prepared: Prepared) -> Fitted:
    """Search, or train one network."""
    count = counted(prepared.frame.shape[1], "column")
    if searches(config):
        what = {None: "linear models and networks", "linear": "linear models", "network": "networks"}[config.model]
        print(f"\nsearching: many {what} on {len(prepared.y):,} rows of {count} …", flush=True)
        return fitting.search(prepared, config.missing, config.model, config.budget, _test(config), config.seed)
    if config.search:
        print("\none network, no search, since flags of one network are given")
    training = Training(
        config.optimizer,
        config.learning_rate,
        config.epochs,
        config.batch_size,
        config.l2,
        config.patience,
        config.seed,
    )
    shape = config.hidden, config.activation, config.dropout
    return fitting.train_one(prepared, config.missing, *shape, training, config.validation, _test(config))


def main(config: Config) -> None:
    """Read the table, train, and save the model and its report."""
    check(config)
    needs("pandas", "pyarrow", "sklearn")
    files = [config.results / "train" / folder_name(config.data) / name for name in FILES]
    reports.distinct("--data", "a file that this run does not replace (see --results)", config.data, files)
    chosen = Flags(config.categorical, config.numeric, config.date, config.ignore, config.id, config.missing)
    prepared = prepare(
        config.data,
        config.target,
        chosen,
        task=config.task,
        drop_missing=config.drop_missing,
        delimiter=config.delimiter,
        encoding=config.encoding,
    )
    folder = reports.make_folder(config.results / "train", folder_name(config.data), RUN)
    rows, used = len(prepared.y), prepared.frame.shape[1]
    notes = "; ".join(prepared.notes)
    print(f"{config.data}: {counted(rows, 'row')}, {counted(used, 'column')} to predict from; {notes}")
    print_columns(prepared)
    kind = "classification" if prepared.target.classes else "regression"
    print(f"{config.target}: {prepared.target.why}, so {kind}")
    for warning in prepared.warnings:
        print(f"warning: {warning}")
    start = time.perf_counter()
    fitted = fit(config, prepared)
    seconds = {"compile_and_train": round(time.perf_counter() - start, 2)}
    if fitted.report is not None:
        print(fitted.report.why)
    stored = save(folder, fitted.model)
    facts = {"file": config.data.name, "rows": rows, "columns to predict from": used, "notes": notes}
    versions = reports.versions() | {name: metadata.version(name) for name in ("pandas", "scikit-learn")}
    data, target, run = (shlex.quote(str(text)) for text in (config.data, config.target, folder))
    told = describe.contents(
        prepared,
        fitted,
        facts,
        command=f"python -m experiments predict --run {run} --data new.csv",
        made_by=f"python -m experiments train --data {data} --target {target}",
        seconds=seconds | {"whole": round(time.perf_counter() - STARTED, 2)},
        versions=versions,
    )
    measured = tabular_report.measure(told)
    tabular_report.write(folder, measured)
    if fitted.result is not None:
        reports.save_history(folder / "history.csv", fitted.result.history)
    seconds["whole"] = round(time.perf_counter() - STARTED, 2)
    report = {
        "experiment": "train",
        "config": asdict(config),
        "versions": versions,
        "model": stored,
        "rows": {"train": len(fitted.train), "test": len(fitted.test), "left_out": prepared.dropped},
        "seconds": seconds,
    }
    reports.save_json(folder / RUN, report)
    check_saved(folder, fitted.model, prepared.frame)
    print()
    Console(highlight=False).print(tabular_report.scores_table(measured))
    print(*tabular_report.sentences(measured), sep="\n")
    if best := describe.best_features(told):
        print(f"columns that matter most (decrease of {told.importance_of}, if shuffled): {', '.join(best)}")
    print(f"{seconds['whole']:.1f} s in total")
    print(f"saved: {', '.join(str(folder / name) for name in FILES if (folder / name).exists())}")
