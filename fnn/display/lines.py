"""The lines that losses, optimizers and results show as their repr. Nothing is computed for them."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def format_value(value: float) -> str:
    """Format a number with four digits after the point, or with four significant digits if it is small or large.

    >>> format_value(0.12345), format_value(1e-9), format_value(0)
    ('0.1235', '1.000e-09', '0.0000')
    """
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"


def ordered(logs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Put training before validation and costs before metrics. Compiled programs return their names sorted.

    >>> [name for name, _ in ordered({"accuracy": 1, "cost": 0, "validation_cost": 0})]
    ['cost', 'accuracy', 'validation_cost']
    """
    return sorted(logs.items(), key=lambda item: ("validation" in item[0], "cost" not in item[0], item[0]))


def lower_is_better(name: str) -> bool:
    """Return True if the lowest value of this name of a history is the best: a cost, a loss or an error.

    >>> lower_is_better("validation_cost"), lower_is_better("accuracy")
    (True, False)
    """
    return name.endswith(("cost", "loss", "error"))


def label(name: str) -> str:
    """Return the name of a history's entry in words: "validation cost" for validation_cost."""
    return name.replace("_", " ")


def named(name: Any, kind: str, function: Any) -> str:
    """Return a name, or the kind of object with its function if it has no name.

    >>> named("relu", "Layer", None), named("", "Layer", len), named("", "Layer", lambda x: x)
    ('relu', 'Layer(len)', 'Layer')
    """
    if isinstance(name, str) and name:
        return name
    function = built_by(function)
    return f"{kind}({function})" if function else kind


def built_by(function: Any) -> str:
    """Return the name of a function, or of the function that built it if it is a closure; "" if there is none.

    >>> import fnn
    >>> built_by(fnn.sgd(0.1).update), built_by(lambda: 0)
    ('sgd', '')
    """
    name = getattr(getattr(function, "func", function), "__qualname__", "")
    outer = name.partition(".<locals>")[0] if isinstance(name, str) else ""
    return "" if outer.startswith("<") else outer


def is_concrete(value: Any) -> bool:
    """Return whether the values of an array can be read here: not of a traced one or a shape."""
    if isinstance(value, jax.Array):
        return not isinstance(value, Tracer) and value.is_fully_addressable and not value.is_deleted()
    return isinstance(value, np.ndarray | np.generic | int | float)


def optimizer(update: Any) -> str:
    """Return the builder of an optimizer with the numbers that it was given.

    >>> import fnn
    >>> optimizer(fnn.momentum(0.1).update)
    'momentum(learning_rate=0.1, beta=0.9)'
    """
    name, code = built_by(update), getattr(update, "__code__", None)
    if not name or code is None:
        return name or "GradientTransformation"
    builder = getattr(update, "__globals__", {}).get(name)
    order = getattr(getattr(builder, "__code__", None), "co_varnames", ())
    held = {}
    for free, cell in zip(code.co_freevars, update.__closure__ or (), strict=True):
        if free in order:
            held[free] = _argument(cell)
    return f"{name}({', '.join(f'{free}={held[free]}' for free in sorted(held, key=order.index))})"


def _argument(cell: Any) -> str:
    """Return the text of an argument that a closure holds: a number, the name of a function, or an ellipsis."""
    try:
        value = cell.cell_contents
    except ValueError:  # not assigned yet
        return "…"
    if is_concrete(value) and np.ndim(value) == 0:
        return str(np.asarray(value).item()) if isinstance(value, jax.Array | np.ndarray) else str(value)
    return built_by(value) or "…"


def parameters(params: Any, runs: int = 1) -> str:
    """Return the number of entries of a tree of arrays in words, those of each of so many runs."""
    n = sum(math.prod(getattr(leaf, "shape", ())) for leaf in jax.tree.leaves(params)) // max(1, runs)
    return f"{n:,} parameter{'' if n == 1 else 's'}"


def last_values(history: Any, noun: str = "epoch") -> str:
    """Return the number of epochs or reports of a history and its last values; its shape if they cannot be read.

    >>> last_values({"accuracy": np.array([0.5, 0.75]), "cost": np.array([0.3, 0.2])})
    '2 epochs, cost 0.2000, accuracy 0.7500'
    """
    if not isinstance(history, Mapping):
        return "no history"
    shapes = {tuple(getattr(value, "shape", ())) for value in history.values()}
    if len(shapes) != 1:
        return f"history of {', '.join(map(label, history))}" if history else "no history"
    (shape,) = shapes
    if len(shape) == 1 and shape[0] and all(map(is_concrete, history.values())):
        values = [f"{label(name)} {format_value(float(np.asarray(value)[-1]))}" for name, value in ordered(history)]
        return ", ".join([count(shape[0], noun), *values])
    return f"history {shape} of {', '.join(label(name) for name, _ in ordered(history))}"


def epochs(history: Any) -> dict[str, Any]:
    """Return the columns of a history's table, the epoch first; {} if it has no values to read.

    >>> epochs({"accuracy": np.array([0.5, 0.75]), "validation_cost": np.array([0.3, 0.2])})
    {'epoch': range(1, 3), 'accuracy': array([0.5 , 0.75]), 'validation cost': array([0.3, 0.2])}
    """
    if not isinstance(history, Mapping) or not all(map(is_concrete, history.values())):
        return {}
    columns = {label(name): np.asarray(value) for name, value in ordered(history)}
    if not columns or any(column.ndim != 1 for column in columns.values()):
        return {}
    return {"epoch": range(1, len(next(iter(columns.values()))) + 1), **columns}


def scalar(value: Any) -> str:
    """Return a number, or the type of what has no value to read."""
    if is_concrete(value) and np.ndim(value) == 0:
        return f"{np.asarray(value).item():,}"
    return f"{getattr(value, 'dtype', type(value).__name__)}{[*getattr(value, 'shape', ())]}"


def count(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "epoch"), count(1200, "epoch")
    ('1 epoch', '1,200 epochs')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def sweep(history: Any, params: Any, noun: str = "epoch") -> str:
    """Return the numbers of hyperparameters, keys and epochs of a sweep, what it recorded, and the parameters of a run.

    >>> sweep({"cost": np.zeros((12, 3, 50))}, {"w": np.zeros((12, 3, 4, 2))})
    '12 hyperparameters × 3 keys, 50 epochs of cost, 8 parameters each'
    """
    shapes = [getattr(value, "shape", ()) for value in history.values()] if isinstance(history, Mapping) else []
    if not shapes or len(shapes[0]) != 3:
        return last_values(history, noun)
    n, n_keys, reports = shapes[0]
    recorded = ", ".join(label(name) for name, _ in ordered(history))
    runs = f"{n:,} hyperparameters × {count(n_keys, 'key')}"
    return f"{runs}, {count(reports, noun)} of {recorded}, {parameters(params, n * n_keys)} each"
