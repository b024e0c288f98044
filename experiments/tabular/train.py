"""Train a network on your own table: .csv or .npz, classes or a quantity.

    python -m experiments train --data flowers.csv --target species

The first line of a .csv file must name the columns. In an .npz file each array is one column or several.
All columns except the target are features and must be numeric; --ignore leaves columns out. The target is
text or numbers. If it has few distinct values, they are treated as classes, otherwise as a quantity;
--task overrides this. Features, and a quantity, are standardised with the statistics of the training part.
The validation part decides which epoch's parameters are kept. The test part is used once, at the end.

Writes figure.png, history.csv, params.safetensors and run.json to results/train/NAME, where NAME is the
name of the data file. `python -m experiments predict --run results/train/NAME --data new.csv` uses them.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import STARTED, flags, reports
from experiments.data.tables import Examples, Selection, read_examples
from experiments.errors import DataError, at_least, needs, usage
from experiments.examples import common
from experiments.examples.common import OPTIMIZERS
from experiments.saved_models import RUN, save
from experiments.tabular.model import FILES, Model, inputs, make_network, predict
from experiments.tabular.reports import baseline, draw, print_table, scores
from experiments.tabular.target import Target, infer_target
from experiments.wording import counted

FEWEST = 20  # examples
LARGEST = 1e100  # absolute value of a feature: the square of a larger number overflows


@dataclass(frozen=True)
class Config:
    data: Path
    """A .csv file with column names in its first line, or an .npz file."""
    target: str
    """The column to predict."""
    task: Literal["classification", "regression"] | None = None
    """Type of the target. None: classification for text or at most 20 different integers, else regression."""
    ignore: tuple[str, ...] = ()
    """Columns that are not features, such as row numbers."""
    drop_missing: bool = False
    """Drop rows with missing values instead of stopping with an error."""
    delimiter: str = ","
    """Character between the fields of a .csv file."""
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
    """Fraction of the examples for validation, which decides which epoch's parameters are kept."""
    test: float = 0.2
    """Fraction of the examples for the test, which is used once, at the end."""
    seed: int = 0
    """Seed of the split, the initial weights and the order of the examples."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder train/NAME."""


def check(config: Config) -> None:
    """Raise UsageError, naming the flag, for an invalid value."""
    if config.data.suffix.lower() not in (".csv", ".npz", ".tsv", ".txt"):
        raise usage("--data", "a .csv (.tsv, .txt) or .npz file", config.data)
    if len(config.delimiter) != 1:
        raise usage("--delimiter", "one character", repr(config.delimiter))
    if config.target in config.ignore:
        raise usage("--ignore", "columns other than the target", config.target)
    for units in config.hidden:
        at_least("--hidden", units, 1)
    common.check_flags(config, "epochs", "batch_size", "patience")
    at_least("--l2", config.l2, 0.0)
    if not 0 <= config.dropout < 1:
        raise usage("--dropout", "in [0, 1)", config.dropout)
    for flag in ("validation", "test"):
        if not 0 < getattr(config, flag) < 1:
            raise usage(f"--{flag}", "in (0, 1)", getattr(config, flag))
    if config.validation + config.test > 0.9:
        raise usage("--validation and --test", "at most 0.9 together", config.validation + config.test)


Part = tuple[np.ndarray, np.ndarray]


def split(config: Config, key: jax.Array, x: np.ndarray, target: Target) -> dict[str, Part]:
    """Split into training, validation and test, stratified by class."""
    fractions = (1 - config.validation - config.test, config.validation, config.test)
    stratify = target.y if target.classes else None
    parts = fnn.data.split(key, (x, target.y), fractions, stratify=stratify)
    empty = [name for name, part in zip(("training", "validation", "test"), parts, strict=True) if not len(part[1])]
    if empty:
        raise usage("--validation and --test", "fractions that leave examples in every part", f"none for {empty[0]}")
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def make_model(config: Config, examples: Examples, target: Target, x: np.ndarray, y: np.ndarray) -> Model:
    """Build the model, with the statistics of the training part x, y in float64."""
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
    """Convert a part to the arrays that the network trains on."""
    x, y = inputs(model, part[0], source), part[1]
    if not model.classes:
        y = ((y - model.target_mean) / model.target_std).astype(np.float32)[:, None]
    return jnp.asarray(x), jnp.asarray(y)


def main(config: Config) -> None:
    """Read and split the table, train, test once, and save the results."""
    check(config)
    needs("matplotlib")
    files = [config.results / "train" / config.data.stem / name for name in FILES]
    reports.distinct("--data", "a file that this run does not replace (see --results)", config.data, files)
    examples = read_examples(
        config.data, Selection(config.target, None, config.ignore, config.drop_missing), config.delimiter
    )
    if len(examples.x) < FEWEST:
        raise DataError(f"{config.data}: has {counted(len(examples.x), 'example')}, fewer than {FEWEST}")
    row, column = np.unravel_index(np.abs(examples.x).argmax(), examples.x.shape)
    if abs(examples.x[row, column]) > LARGEST:
        name = examples.names[column]
        raise DataError(f"{config.data}: {name!r} is too large: {examples.x[row, column]:g}, more than {LARGEST:g}")
    target = infer_target(config.target, examples.target, config.task, config.data)
    folder = reports.make_folder(config.results / "train", config.data.stem, RUN)
    split_key, fit_key = jax.random.split(jax.random.key(config.seed))
    parts = split(config, split_key, examples.x, target)
    model = make_model(config, examples, target, *parts["train"])
    sizes = ", ".join(f"{name} {len(y):,}" for name, (_, y) in parts.items())
    dropped = f", {examples.dropped:,} with missing values dropped" if examples.dropped else ""
    print(f"{config.data}: {len(examples.x):,} examples of {counted(len(model.features), 'feature')}{dropped}; {sizes}")
    print(f"{config.target}: {target.why}, so {'classification' if model.classes else 'regression'}")
    spreads = np.ptp(parts["train"][0], axis=0)
    constant = [name for name, spread in zip(model.features, spreads, strict=True) if spread == 0]
    if constant:
        print(f"constant over the training examples, so not informative: {', '.join(constant[:10])}")

    network = make_network(model)
    flags.check_weights("--hidden", (len(model.features), *config.hidden, len(model.classes) or 1))
    print(f"\n{fnn.summary(network, (1, len(model.features)))}\n", flush=True)
    data = {name: as_data(model, part, config.data) for name, part in parts.items()}
    loss = fnn.softmax_cross_entropy if model.classes else fnn.squared_error
    make_optimizer, default_rate = OPTIMIZERS[config.optimizer]
    optimizer = make_optimizer(default_rate if config.learning_rate is None else config.learning_rate)
    start = time.perf_counter()
    result = common.fit(
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
        guessing=float(np.log(len(model.classes))) if model.classes else 0.5,  # of a standardised quantity
    )
    seconds = {"compile_and_train": round(time.perf_counter() - start, 2)}
    kept = int(np.argmin(result.history["validation_cost"])) + 1

    predictions = {name: predict(model, result.state.params, np.asarray(x)) for name, (x, _) in data.items()}
    results = {name: scores(model, predicted, parts[name][1]) for name, predicted in predictions.items()}
    test_y = parts["test"][1]
    results["test, guessing"] = scores(model, baseline(model, parts["train"][1], len(test_y)), test_y)
    used = [name for name, value in (("dropout", config.dropout), ("penalty", config.l2)) if value]
    terms = f"(with {' and '.join(used)})" if used else ""
    draw(files[0], model, result.history, kept, test_y, predictions["test"].values, terms)
    reports.save_history(files[1], result.history)
    stored = save(folder, model, result.state.params)
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
    print_table("with the kept parameters, without dropout and penalty", results)
    print(f"kept the parameters of epoch {kept} of {report['epochs']}; {seconds['whole']:.1f} s in total")
    print(f"saved: {', '.join(map(str, files))}")
