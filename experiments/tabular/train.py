"""Trains a network on a table of your own: .csv or .npz, classes or a quantity.

    python -m experiments train --data flowers.csv --target species

The first line of a .csv names its columns; of an .npz file every array is a column, or several.
All columns but the target are features, numbers each (--ignore leaves some out); the target is text
or numbers. Of few values it is taken as classes, else as a quantity, unless --task says. Features,
and a quantity, are standardised by mean and deviation of the training part. The validation part
decides which epoch's parameters are kept, the test part is used once, at the end.

Leaves in results/train/NAME, NAME being the file's: figure.png, history.csv, params.safetensors and
run.json, of which `python -m experiments predict --run results/train/NAME --data new.csv` makes use.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import STARTED, reports
from experiments.data.examples import Examples, Wanted, read_examples
from experiments.errors import DataError, at_least, needs, usage
from experiments.examples import commands
from experiments.examples.digits import OPTIMIZERS
from experiments.tabular import trained
from experiments.tabular.reports import draw, guessing, print_table, scores
from experiments.tabular.trained import Model

FEWEST = 20  # examples
LARGEST = 1e100  # number: beyond, its square has no place
MANY_CLASSES = 20  # numbers of more values are a quantity
SMALLEST_CLASS = 3  # examples: one for each part


@dataclass(frozen=True)
class Config:
    data: Path
    """A .csv file with names in its first line, or an .npz file."""
    target: str
    """The column to predict."""
    task: Literal["classification", "regression"] | None = None
    """What the target is; None: classes if it is text or at most 20 different integers, else a quantity."""
    ignore: tuple[str, ...] = ()
    """Columns that are no features, such as numbers of rows."""
    drop_missing: bool = False
    """Leave out rows where something is missing, instead of an error."""
    delimiter: str = ","
    """What separates the fields of a .csv file."""
    hidden: tuple[int, ...] = (64, 32)
    """Units of each hidden layer; nothing after the flag: none, linear or softmax regression."""
    activation: Literal["relu", "leaky-relu", "gelu", "silu", "softplus", "tanh", "sigmoid"] = "relu"
    """What follows each hidden layer."""
    optimizer: Literal["adam", "momentum", "heavy-ball", "nesterov", "sgd"] = "adam"
    """How a gradient becomes a step."""
    learning_rate: float | None = None
    """Length of a step; None: what suits the optimizer."""
    epochs: int = 300
    """Passes over the training data, at most: see --patience."""
    batch_size: int = 32
    """Examples per step."""
    l2: float = 1e-3
    """Strength of the penalty l2/2 ||W||^2 on weights; 0: none."""
    dropout: float = 0.0
    """Share of hidden units zeroed at random in training; 0: none."""
    patience: int = 30
    """Stop after this many epochs without a lower validation cost, and keep the best."""
    validation: float = 0.16
    """Share of the examples that decides which epoch is kept."""
    test: float = 0.2
    """Share of the examples that is used once, at the end."""
    seed: int = 0
    """Draws the split, the initial weights and the order of the examples."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, train/NAME, in it."""


def check(config: Config) -> None:
    """UsageError, naming the flag, for a value that cannot be meant."""
    if config.data.suffix.lower() not in (".csv", ".npz", ".tsv", ".txt"):
        raise usage("--data", "a file .csv (.tsv, .txt) or .npz", config.data)
    if len(config.delimiter) != 1:
        raise usage("--delimiter", "one character", repr(config.delimiter))
    if config.target in config.ignore:
        raise usage("--ignore", "other columns than the target", config.target)
    for units in config.hidden:
        at_least("--hidden", units, 1)
    commands.check_flags(config, "epochs", "batch_size", "patience")
    at_least("--l2", config.l2, 0.0)
    if not 0 <= config.dropout < 1:
        raise usage("--dropout", "in [0, 1)", config.dropout)
    for flag in ("validation", "test"):
        if not 0 < getattr(config, flag) < 1:
            raise usage(f"--{flag}", "in (0, 1)", getattr(config, flag))
    if config.validation + config.test > 0.9:
        raise usage("--validation and --test", "at most 0.9 together", config.validation + config.test)


class Target(NamedTuple):
    """The target as numbers, its classes or (), and in words why it is taken so."""

    y: np.ndarray
    classes: tuple[str, ...]
    why: str


def read_target(config: Config, text: tuple[str, ...]) -> Target:
    """Classes or a quantity, as --task says or the values show; DataError where it is neither."""
    where, numbers = f"{config.data}: --target {config.target}", [trained.as_number(field) for field in text]
    whole = all(number is not None and number == int(number) for number in numbers)
    names = trained.class_names(text)
    if len(names) < 2:
        raise DataError(f"{where} has the value {text[0]!r} in every row: there is nothing to learn")
    quantity = None not in numbers and not (whole and len(names) <= MANY_CLASSES)
    if config.task == "regression" or (config.task is None and quantity):
        y = trained.quantities(config.target, text, config.data)
        reason = f"{len(names):,} different numbers" if config.task is None else "as --task says"
        return Target(y, (), f"a quantity ({reason})")
    if len(names) > len(text) // 4 or len(names) > 1000:
        raise DataError(f"{where} has {len(names):,} different values in {len(text):,} rows: too many to be classes")
    y = trained.class_indices(names, text)
    least = int(np.argmin(np.bincount(y)))
    if np.bincount(y)[least] < SMALLEST_CLASS:
        hint = "; --task regression if it is a quantity" if None not in numbers else ""
        raise DataError(f"{where}: fewer than {SMALLEST_CLASS} examples are {names[least]!r}{hint}")
    reason = "text" if None in numbers else "integers"
    return Target(y, names, f"{len(names)} classes ({reason if config.task is None else 'as --task says'})")


Part = tuple[np.ndarray, np.ndarray]


def split(config: Config, key: jax.Array, x: np.ndarray, target: Target) -> dict[str, Part]:
    """Training, validation and test, each with every class in proportion."""
    fractions = (1 - config.validation - config.test, config.validation, config.test)
    stratify = target.y if target.classes else None
    parts = fnn.data.split(key, (x, target.y), fractions, stratify=stratify)
    empty = [name for name, part in zip(("training", "validation", "test"), parts, strict=True) if not len(part[1])]
    if empty:
        raise usage("--validation and --test", "shares that leave every part examples", f"none for {empty[0]}")
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def make_model(config: Config, examples: Examples, target: Target, x: np.ndarray, y: np.ndarray) -> Model:
    """The model of this training part; mean and deviation in float64."""
    with jax.enable_x64(True):
        mean, std = (np.asarray(part) for part in jax.jit(fnn.data.fit_standardization)(jnp.asarray(x, jnp.float64)))
    center, spread = (0.0, 1.0) if target.classes else (float(np.mean(y)), float(np.std(y)) or 1.0)
    return Model(
        examples.names,
        tuple(mean.tolist()),
        tuple(std.tolist()),
        config.target,
        target.classes,
        center,
        spread,
        config.hidden,
        config.activation,
        config.dropout,
    )


def as_data(model: Model, part: Part, source: object) -> tuple[jax.Array, jax.Array]:
    """What the network trains on."""
    x, y = trained.inputs(model, part[0], source), part[1]
    if not model.classes:
        y = ((y - model.target_mean) / model.target_std).astype(np.float32)[:, None]
    return jnp.asarray(x), jnp.asarray(y)


def main(config: Config) -> None:
    """Reads, splits, trains, tests once, saves."""
    check(config)
    needs("matplotlib")
    examples = read_examples(
        config.data, Wanted(config.target, None, config.ignore, config.drop_missing), config.delimiter
    )
    if len(examples.x) < FEWEST:
        raise DataError(f"{config.data}: has {len(examples.x)} examples, fewer than {FEWEST}")
    row, column = np.unravel_index(np.abs(examples.x).argmax(), examples.x.shape)
    if abs(examples.x[row, column]) > LARGEST:
        name = examples.names[column]
        raise DataError(f"{config.data}: {name!r} is too large: {examples.x[row, column]:g}, more than {LARGEST:g}")
    target = read_target(config, examples.target)
    folder = reports.make_folder(config.results / "train", config.data.stem)
    split_key, fit_key = jax.random.split(jax.random.key(config.seed))
    parts = split(config, split_key, examples.x, target)
    model = make_model(config, examples, target, *parts["train"])
    sizes = ", ".join(f"{name} {len(y):,}" for name, (_, y) in parts.items())
    dropped = f", {examples.dropped:,} with gaps left out" if examples.dropped else ""
    print(f"{config.data}: {len(examples.x):,} examples of {len(model.features)} features{dropped}; {sizes}")
    print(f"{config.target}: {target.why}, so {'classification' if model.classes else 'regression'}")
    constant = [name for name, i in zip(model.features, np.ptp(parts["train"][0], axis=0), strict=True) if i == 0]
    if constant:
        print(f"the same in every training example, so of no use: {', '.join(constant[:10])}")

    network = trained.make_network(model)
    print(f"\n{fnn.summary(network, (1, len(model.features)))}\n", flush=True)
    data = {name: as_data(model, part, config.data) for name, part in parts.items()}
    loss = fnn.softmax_cross_entropy if model.classes else fnn.squared_error
    make_optimizer, suited = OPTIMIZERS[config.optimizer]
    optimizer = make_optimizer(suited if config.learning_rate is None else config.learning_rate)
    start = time.perf_counter()
    result = commands.fit(
        network,
        loss,
        optimizer,
        data["train"],
        epochs=config.epochs,
        batch_size=min(config.batch_size, len(parts["train"][1])),
        key=fit_key,
        l2=config.l2,
        validation=data["validation"],
        patience=config.patience,
    )
    seconds = {"compile_and_train": round(time.perf_counter() - start, 2)}
    kept = int(np.argmin(result.history["validation_cost"])) + 1

    given = {name: trained.answers(model, result.state.params, np.asarray(x)) for name, (x, _) in data.items()}
    results = {name: scores(model, answer, parts[name][1]) for name, answer in given.items()}
    test_y = parts["test"][1]
    results["test, guessing"] = scores(model, guessing(model, parts["train"][1], len(test_y)), test_y)
    used = [name for name, value in (("dropout", config.dropout), ("penalty", config.l2)) if value]
    terms = f"(with {' and '.join(used)})" if used else ""
    files = [folder / name for name in ("figure.png", "history.csv", trained.PARAMS, trained.RUN)]
    draw(files[0], model, result.history, kept, test_y, given["test"].values, terms)
    reports.save_history(files[1], result.history)
    stored = trained.save(folder, model, result.state.params)
    seconds["whole"] = round(time.perf_counter() - STARTED, 2)
    report = {
        "experiment": "train",
        "config": asdict(config),
        "versions": reports.versions(),
        "model": stored,
        "examples": {name: len(y) for name, (_, y) in parts.items()} | {"left_out": examples.dropped},
        "epochs": len(result.history["cost"]),
        "kept_epoch": kept,
        "results": results,
        "seconds": seconds,
    }
    reports.save_json(files[3], report)
    print()
    print_table("with the parameters kept, without dropout and penalty", results)
    print(f"parameters of epoch {kept} of {report['epochs']} kept; {seconds['whole']:.1f} s in all")
    print(f"saved: {', '.join(map(str, files))}")
