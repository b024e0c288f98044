"""Fingerprints: each choice of a training counts, under its own name."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.training import fingerprint
from fnn.training.epoch import Program
from fnn.training.fingerprint import VERSION, program_fingerprint, training_fingerprint
from fnn.training.numerics import Numerics

NETWORK = fnn.mlp([4, 8, 3])
X, Y = np.ones((6, 4), "float32"), np.zeros(6, "int32")


def program(**changes):
    fields = {
        "network": NETWORK,
        "loss": fnn.softmax_cross_entropy,
        "optimizer": fnn.sgd(0.5),
        "l2": 0.0,
        "metrics": fnn.softmax_cross_entropy.metrics,
        "batch_size": 2,
    }
    return Program(**fields | changes)


CHANGES = {
    "network": fnn.mlp([4, 9, 3]),
    "loss": fnn.negative_log_likelihood,
    "optimizer": fnn.sgd(0.25),
    "l2": 0.1,
    "metrics": (),
    "batch_size": 3,
    "patience": 4,
    "micro_batch_size": 1,
    "is_weight": lambda path, leaf: leaf.ndim >= 2,
}


def test_each_field_of_a_program_counts():
    assert set(CHANGES) == set(Program._fields) - {"numerics"}
    same = program_fingerprint(program())
    assert same == program_fingerprint(program(network=fnn.mlp([4, 8, 3]), optimizer=fnn.sgd(0.5)))
    for name, value in CHANGES.items():
        changed = program_fingerprint(program(**{name: value}))
        assert [entry for entry in same if same[entry] != changed[entry]] == [name]


def test_data_validation_and_key_count():
    data, key = (jnp.asarray(X), jnp.asarray(Y)), jax.random.key(0)
    same = training_fingerprint(program(), key, data, data)
    assert same == training_fingerprint(program(), key, (X, Y), (X, Y))
    assert same["identity"] == VERSION == 2
    for name, other in {
        "data": (key, (X + 1, Y), data),
        "validation": (key, data, None),
        "key": (jax.random.key(1), data, data),
    }.items():
        changed = training_fingerprint(program(), *other)
        assert [entry for entry in same if same[entry] != changed[entry]] == [name]


def test_numerics_count_where_they_change_results(monkeypatch):
    def entries(precision):
        numerics = Numerics(precision, deterministic=precision is None)
        found = training_fingerprint(program(numerics=numerics), jax.random.key(0), (X, Y), None)
        return found["precision"], found["deterministic"]

    names = None, "float32", "tensorfloat32", "high", "bfloat16", "BF16_BF16_F32"
    precisions, deterministic = zip(*map(entries, names), strict=True)
    assert precisions == (*["highest"] * 5, "BF16_BF16_F32")
    assert set(deterministic) == {False}
    monkeypatch.setattr(fingerprint, "platform_of", lambda arrays: "gpu")
    precisions, deterministic = zip(*map(entries, names), strict=True)
    assert precisions == ("highest", "highest", "high", "high", "default", "BF16_BF16_F32")
    assert deterministic == (True, *[False] * 5)
