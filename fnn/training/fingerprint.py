"""What a training is made of, as text that two processes can compare: layers, hyperparameters, data.

Functions are told apart by their names and by what they close over (rates, other functions, arrays), not by their
code or the globals they read.
"""

import functools
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from fnn.checkpoint.atomic import sha256
from fnn.dtypes import is_key
from fnn.hashing import hash_array
from fnn.sharding.process_rows import fingerprint_rows
from fnn.sharding.rows import Examples, Rows
from fnn.training.programs import Program
from fnn.types import Layer, PRNGKey

_SHORT = 160


def describe(value: Any) -> str:
    """Text that is the same for what computes the same, in any process; long parts are hashes.

    >>> import fnn
    >>> describe(fnn.sgd(0.5).update)
    'fnn.optimizers.sgd.<locals>.update(learning_rate=0.5)'
    """
    return _describe(value, {}, [])


def _describe(value: Any, known: dict[int, tuple[Any, str]], open_ids: list[int]) -> str:
    """`known` holds what was described already, and keeps it alive so that its id stays its own."""
    if id(value) in known:
        return known[id(value)][1]
    if id(value) in open_ids:
        return "itself"
    open_ids.append(id(value))
    text = _text(value, lambda part: _describe(part, known, open_ids))
    open_ids.pop()
    text = text if len(text) <= _SHORT else f"{text[: _SHORT // 2]}… #{sha256(text.encode())[:12]}"
    known[id(value)] = value, text
    return text


def _text(value: Any, inner: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 30 and 30.0 compute the same; optax's schedules turn one into the other when called
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer):
        return hash_array(value) if value.ndim or is_key(value) else inner(np.asarray(value).item())
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(inner, value))})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{inner(name)}: {inner(part)}" for name, part in value.items())) + "}"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__func__)} of {inner(value.__self__)}"
    function = value if isinstance(value, types.FunctionType) else getattr(value, "__wrapped__", None)
    if isinstance(function, types.FunctionType):
        return _function(function, inner)
    named = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _function(function: types.FunctionType, inner: Any) -> str:
    closed: dict[str, Any] = dict(function.__kwdefaults__ or {})
    closed |= {f"default {i}": default for i, default in enumerate(function.__defaults__ or ())}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            closed[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    parts = [f"{name}={inner(part)}" for name, part in sorted(closed.items()) if part is not None]
    return f"{function.__module__}.{function.__qualname__}" + (f"({', '.join(parts)})" if parts else "")


def describe_network(layer: Layer) -> str:
    """The network as one would write it.

    >>> import fnn
    >>> layers(fnn.mlp([4, 8, 3]))
    'serial(dense(4, 8), relu, dense(8, 3))'
    """
    name = layer.name or "layer"
    return f"{name}({', '.join(map(describe_network, layer.layers))})" if layer.layers else name


def describe_examples(data: Examples) -> list[str]:
    """Each of their arrays; the same over any number of devices, and over any number of processes."""
    if not isinstance(data, Rows):
        return [hash_array(part) for part in data]
    if data.arrays[0].is_fully_addressable:
        return [hash_array(part[: data.size]) for part in map(np.asarray, data.arrays)]
    return [
        f"{part.dtype} {(data.size, *part.shape[1:])} ~{fingerprint_rows(data.layout, part, data.size)}"
        for part in data.arrays
    ]


def training_fingerprint(program: Program, key: PRNGKey, data: Examples, validation: Examples | None) -> dict[str, Any]:
    """What must be the same for a training to go on with what another one saved."""
    return program_fingerprint(program) | {
        "data": describe_examples(data),
        "validation": None if validation is None else describe_examples(validation),
        "key": hash_array(key),
    }


def program_fingerprint(program: Program) -> dict[str, Any]:
    """What it computes with, whatever the data are."""
    network, loss, optimizer, l2, metrics, batch_size, patience, micro_batch_size = program
    function = describe((network.forward, network.backward, network.calibrate))
    return {
        "network": f"{describe_network(network)} #{sha256(function.encode())[:12]}",
        "loss": f"{loss.name} #{sha256(describe(loss).encode())[:12]}",
        "optimizer": describe(optimizer.update),
        "metrics": describe(metrics),
        "l2": l2,
        "batch_size": batch_size,
        "patience": patience,
        "micro_batch_size": micro_batch_size,
    }
