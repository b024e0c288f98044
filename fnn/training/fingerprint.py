"""The fingerprint of a training: what the user chose, as text that processes and checkpoints can compare.

`fit` stores the fingerprint in every checkpoint and resumes only if its own is the same. Two fingerprints are equal
if the user made the same choices: network, loss, optimizer, their numbers, the data, the key, and the state to start
from, if one was given. `fnn.training.description` says how functions and objects are described.
"""

import platform
from typing import Any

import jax
import numpy as np

from fnn.hashing import hash_array, hash_tree
from fnn.sharding.process_rows import fingerprint_rows
from fnn.sharding.rows import Examples, Rows
from fnn.training.description import describe, short_hash
from fnn.training.epoch import Program
from fnn.training.numerics import describe_precision, platform_of
from fnn.types import GradientTransformation, Layer, PRNGKey, TrainState

VERSION = 2
"""The version of this description, `identity` in a manifest. Checkpoints of version 1 do not have the entry."""

FROM_KEY = "drawn from the key"
"""What the entry `state` says of a training that no state was given to."""


def describe_network(layer: Layer) -> str:
    """Describe a network by the names of its layers.

    >>> import fnn
    >>> describe_network(fnn.mlp([4, 8, 3]))
    'serial(dense(4, 8), relu, dense(8, 3))'
    """
    name = layer.name or "layer"
    return f"{name}({', '.join(map(describe_network, layer.layers))})" if layer.layers else name


def describe_examples(data: Examples) -> list[str]:
    """Describe each array of the data. The text does not depend on how many devices or processes hold the rows."""
    if not isinstance(data, Rows):
        return [hash_array(part) for part in data]
    if data.arrays[0].is_fully_addressable:
        return [hash_array(part[: data.size]) for part in map(np.asarray, data.arrays)]
    return [
        f"{part.dtype} {(data.size, *part.shape[1:])} ~{fingerprint_rows(data.layout, part, data.size)}"
        for part in data.arrays
    ]


def describe_start(state: TrainState) -> str:
    """Describe the state that a training was given to start from, without its key."""
    leaves = jax.tree.leaves(state._replace(key=()))
    whole = all(getattr(leaf, "is_fully_addressable", True) or leaf.is_fully_replicated for leaf in leaves)
    return f"{len(leaves)} arrays" + (f" #{hash_tree(leaves)}" if whole else " ~")


def training_fingerprint(
    program: Program, key: PRNGKey, data: Examples, validation: Examples | None, start: TrainState | None = None
) -> dict[str, Any]:
    """Return what must be the same if a training is to resume from a checkpoint, by name; values that JSON can hold.

    `start` is the state that the caller gave to `fit`; None if it gave a key. The entry `code` alone may differ.
    `deterministic` counts on a GPU, where it chooses other kernels.
    """
    platform = platform_of([key])
    return program_fingerprint(program) | {
        "identity": VERSION,
        "data": describe_examples(data),
        "validation": None if validation is None else describe_examples(validation),
        "key": hash_array(key),
        "state": FROM_KEY if start is None else describe_start(start),
        "precision": describe_precision(program.numerics.precision, platform),
        "deterministic": platform == "gpu" and program.numerics.deterministic,
        "code": code_fingerprint(program),
    }


def program_fingerprint(program: Program) -> dict[str, Any]:
    """Return the part of the fingerprint that does not depend on the data, the key or the code of functions."""
    network, loss = program.network, program.loss
    return {
        "network": f"{describe_network(network)} #{short_hash(describe(network))}",
        "loss": f"{loss.name} #{short_hash(describe(loss))}",
        "optimizer": describe_optimizer(program.optimizer),
        "metrics": describe(program.metrics),
        "l2": program.l2,
        "is_weight": describe(program.is_weight),
        "batch_size": program.batch_size,
        "patience": program.patience,
        "micro_batch_size": program.micro_batch_size,
    }


def describe_optimizer(optimizer: GradientTransformation) -> str:
    """Describe an optimizer by its update, and by its init if that holds more: numbers that it puts into the state.

    >>> import fnn
    >>> describe_optimizer(fnn.sgd(0.5))
    'sgd(learning_rate=0.5)'
    """
    update, init = describe(optimizer.update), describe(optimizer.init)
    return update if init == update.partition("(")[0] else f"{update}{INIT}{init}"


INIT = "; init "
"""What separates the two parts of an optimizer's description."""


def code_fingerprint(program: Program) -> dict[str, str]:
    """Return hashes of the code of users' functions, by name. Other versions of Python have other code."""
    named = {
        "network": program.network,
        "loss": program.loss,
        "optimizer": tuple(program.optimizer) if isinstance(program.optimizer, tuple) else program.optimizer,
        "metrics": program.metrics,
        "is_weight": program.is_weight,
    }
    hashes = {name: short_hash(describe(value, with_code=True)) for name, value in named.items()}
    return hashes | {"python": platform.python_version()}
