"""A small training with what makes resuming hard: momentum, dropout, early stopping, a smaller last batch."""

import jax
import numpy as np

import fnn
from fnn.checkpoint import store
from fnn.dtypes import is_key

rng = np.random.default_rng(0)
X = rng.standard_normal((94, 4)).astype("float32")
Y = (X[:, 0] + 0.5 * rng.standard_normal(94) > 0).astype("int32")
TRAIN, VALIDATION = (X[:74], Y[:74]), (X[74:], Y[74:])  # 74 = 4 * 16 + 10: five steps an epoch
NETWORK = fnn.serial(fnn.dense(4, 8), fnn.tanh, fnn.dropout(0.3), fnn.dense(8, 2))
LOSS, OPTIMIZER = fnn.softmax_cross_entropy, fnn.momentum(2.0)
SMALL, SGD = fnn.dense(4, 2), fnn.sgd(0.1)


def fit(network=NETWORK, loss=LOSS, optimizer=OPTIMIZER, data=TRAIN, **options):
    options = {
        "epochs": 6,
        "batch_size": 16,
        "key": jax.random.key(0),
        "validation": VALIDATION,
        "patience": 5,
        "progress": False,
    } | options
    return fnn.fit(network, loss, optimizer, data, **options)


def small_fit(**options):
    """A training that compiles in a third of the time: one layer, one batch size, neither dropout nor validation."""
    small = {"network": SMALL, "data": (X[:32], Y[:32]), "optimizer": SGD, "validation": None, "patience": None}
    return fit(**small | {"epochs": 2} | options)


def bits(tree) -> list[bytes]:
    """The bytes of every leaf."""
    leaves = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(tree)]
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def content(folder):
    """{checkpoint: the bytes of all of its files}"""
    paths = store.list_checkpoints(folder)
    return {path.name: [file.read_bytes() for file in sorted(path.iterdir())] for path in paths}
