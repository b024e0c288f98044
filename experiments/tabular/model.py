"""A model that `train` fitted to a table: its columns, its predictions, its files."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float64

import fnn
import fnn.search
from experiments import saved_models
from experiments.errors import DataError, ExperimentError
from experiments.examples.common import ACTIVATIONS
from experiments.saved_models import PARAMS, RUN
from experiments.tabular import network
from experiments.tabular.network import Architecture
from experiments.tabular.numerals import DATE_FORMS, FORMS, Numerals
from experiments.tabular.target import Target
from experiments.tabular.transform import from_json, to_json
from experiments.tabular.values import CATEGORY, DATE, ID, NUMBER, YES_NO, Column
from fnn.types import Params

if TYPE_CHECKING:
    import pandas as pd

ENSEMBLE = ("ensemble.json", "ensemble.safetensors")
FILES = ("report.html", "scores.json", "history.csv", PARAMS, *ENSEMBLE, RUN)
LARGEST = 1e100  # absolute value of a number: the square of a larger one overflows


class Model(NamedTuple):
    """Everything that a prediction needs.

    columns       the columns that it reads: features, and ids, which only name rows
    target        the column that it predicts
    missing       spellings of missing values besides the usual ones
    transformer   the features as numbers: a fitted ColumnTransformer
    ensemble      the networks that a search found; None if one network was trained
    network       the architecture of the one network, and its parameters; None after a search
    spread        5 % and 95 % quantiles of the errors on rows that were not trained on; None for classes
    """

    columns: tuple[Column, ...]
    target: Target
    missing: tuple[str, ...]
    transformer: Any
    ensemble: fnn.search.Ensemble | None
    network: tuple[Architecture, Params] | None
    spread: tuple[float, float] | None = None


def features(columns: Sequence[Column]) -> list[Column]:
    """Return the columns that a model computes with."""
    return [column for column in columns if column.kind in (NUMBER, YES_NO, DATE, CATEGORY)]


def inputs(model: Model, frame: "pd.DataFrame", source: object) -> Float64[np.ndarray, "n inputs"]:
    """Return the features as numbers for the network."""
    x = model.transformer.transform(frame)
    bad = ~(np.abs(x) < 1e30)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        numbers = frame.iloc[row][[column.name for column in features(model.columns) if column.kind == NUMBER]]
        name = max(numbers.index, key=lambda name: abs(numbers[name]))
        raise DataError(f"{source}: {name!r} is too far outside the range of the training data: {numbers[name]:g}")
    return x


def predict(model: Model, x: Float64[np.ndarray, "n inputs"]) -> Float64[np.ndarray, "n k"]:
    """Return probabilities (n, classes), or the quantity (n, 1)."""
    if model.ensemble is not None:
        return fnn.search.predict(model.ensemble, x)
    assert model.network is not None
    return network.predict(*model.network, x)


def save(folder: Path, model: Model) -> dict[str, Any]:
    """Write the networks, and return what run.json must store about the model.

    Files of an earlier run in this folder that this model does not have are removed.
    """
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    stored: dict[str, Any] = {
        "columns": [column._asdict() for column in model.columns],
        "target": model.target._asdict(),
        "missing": list(model.missing),
        "transformer": to_json(model.transformer),
        "spread": model.spread,
    }
    if model.ensemble is not None:
        fnn.search.to_files(folder, model.ensemble)
        return stored | {"network": None, "sha256": _digest(folder / ENSEMBLE[0])}
    assert model.network is not None
    architecture, params = model.network
    fnn.checkpoint.export_params(folder / PARAMS, params)
    return stored | {"network": architecture._asdict(), "sha256": _digest(folder / PARAMS)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(folder: Path) -> Model:
    """Load what `train` wrote into this folder.

    Raises:
      DataError: if files are missing, damaged, or do not belong together.
    """
    hint = "`python -m experiments train --data FILE.csv --target COLUMN` writes the folder that --run names"
    model, digest = saved_models.read(folder, "train", hint, _build)
    if model.network is None:
        path = folder / ENSEMBLE[0]
        try:
            model = model._replace(ensemble=fnn.search.from_files(folder))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {str(error).partition(chr(10))[0]}") from None
        assert model.ensemble is not None
        width, outputs = len(model.ensemble.center), len(model.ensemble.target_center)
    else:
        architecture, path = model.network[0], folder / PARAMS
        like = jax.eval_shape(network.make_network(architecture).init, jax.random.key(0))
        model = model._replace(network=(architecture, saved_models.load_params(folder, like)))
        width, outputs = architecture.inputs, architecture.outputs
    if _digest(path) != digest:
        raise DataError(f"{path}: is not the file that {RUN} belongs to: it has another SHA-256")
    if (width, outputs) != (_width(model), len(model.target.classes) or 1):
        raise DataError(f"{path}: has {width} inputs and {outputs} outputs, which do not fit {RUN}")
    return model


def check_saved(folder: Path, model: Model, frame: "pd.DataFrame") -> None:
    """Raise ExperimentError unless the model in the folder predicts what this one does."""
    wanted, found = (predict(each, inputs(each, frame.iloc[:100], folder)) for each in (model, load(folder)))
    if not np.allclose(wanted, found, rtol=1e-5, atol=1e-7 * float(np.abs(wanted).max())):
        raise ExperimentError(f"{folder}: the saved model does not predict what the trained one does; please report it")


def _width(model: Model) -> int:
    """Return the number of columns that the transformer gives."""
    return sum(part.stop - part.start for part in model.transformer.output_indices_.values())


def _build(stored: dict[str, Any]) -> tuple[Model, str]:
    """Build the model from what run.json stores, without its networks."""
    columns = tuple(_column(each) for each in stored["columns"])
    target = stored["target"]
    classes = target["classes"]
    form = None if target["form"] is None else _numerals(target["form"])
    names = [column.name for column in columns] + [target["name"]]
    if len(set(names)) != len(names) or not all(isinstance(text, str) for text in [*names, *classes, target["why"]]):
        raise ValueError("names must be different texts")
    if (len(classes) < 2 and form is None) or len(set(classes)) != len(classes) or (classes and form is not None):
        raise ValueError("the target must have different classes, or be a quantity")
    spread = stored["spread"]
    if spread is not None and not (len(spread) == 2 and all(math.isfinite(value) for value in spread)):
        raise ValueError("spread must be two finite numbers")
    if not features(columns):
        raise ValueError("there must be columns to predict from")
    architecture = None if stored["network"] is None else _architecture(stored["network"])
    model = Model(
        columns,
        Target(target["name"], tuple(classes), form, target["why"]),
        tuple(map(str, stored["missing"])),
        from_json(stored["transformer"], columns),
        None,
        None if architecture is None else (architecture, None),
        None if spread is None else (float(spread[0]), float(spread[1])),
    )
    return model, str(stored["sha256"])


def _column(stored: dict[str, Any]) -> Column:
    column = Column(**stored)
    if column.kind not in (NUMBER, YES_NO, DATE, CATEGORY, ID):
        raise ValueError(f"{column.kind!r} is not a kind of a column")
    if column.kind == NUMBER:
        column = column._replace(form=_numerals(column.form))
    if column.kind == DATE and column.form not in DATE_FORMS:
        raise ValueError(f"{column.form!r} is not a form of dates")
    if column.kind == YES_NO and not (len(column.form) == 2 and all(isinstance(text, str) for text in column.form)):
        raise ValueError("the form of yes or no must be two texts")
    return column


def _numerals(stored: Any) -> Numerals:
    form = Numerals(*stored)
    if form._replace(prefix="", suffix="") not in FORMS or max(len(form.prefix), len(form.suffix)) > 20:
        raise ValueError(f"{stored!r} is not a form of numbers")
    return form


def _architecture(stored: dict[str, Any]) -> Architecture:
    found = Architecture(**stored)._replace(hidden=tuple(stored["hidden"]))
    sizes = (found.inputs, *found.hidden, found.outputs)
    if not all(type(n) is int and 0 < n <= 10**6 for n in sizes) or len(sizes) > 1000:
        raise ValueError("the sizes of the layers must be above 0")
    if found.activation not in ACTIVATIONS:
        raise ValueError(f"{found.activation!r} is not an activation")
    if not (0 <= found.dropout < 1 and math.isfinite(found.center) and 0 < found.scale < math.inf):
        raise ValueError("dropout, center and scale must be finite, with dropout in [0, 1) and scale above 0")
    return found
