"""Every function that takes data, so that a check is tried on each."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.data import one_hot

K = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
Y = np.arange(9) % 3
NET = fnn.mlp([4, 3])
CROSS = fnn.softmax_cross_entropy
WIDE = Y.astype("int64").copy()
WIDE[5] += 2**32
FLAGS = {"epochs": 1, "batch_size": 3, "progress": False}


def fit(data, loss=CROSS, **options):
    network = options.pop("network", NET)
    return fnn.fit(network, loss, fnn.sgd(0.1), data, **FLAGS, key=K, **options)


def layout():
    return fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))


ENTRIES = {
    "fit": lambda x, y: fit((x, y)),
    "validation": lambda x, y: fit((X, Y), validation=(x, y)),
    "device_memory": lambda x, y: fit((x, y), device_memory=200),
    "stream": lambda x, y: fit(lambda epoch: iter([(x[:3], y[:3]), (x[3:6], y[3:6]), (x[6:], y[6:])])),
    "mesh": lambda x, y: fit((x, y), sharding=layout()),
    "place": lambda x, y: fnn.sharding.place(layout(), (x, y)),
    "evaluate": lambda x, y: fnn.evaluate(NET, CROSS, NET.init(K), (x, y)),
    "make_run": lambda x, y: fnn.make_run(NET, CROSS, fnn.sgd, (x, y), epochs=1, batch_size=3),
    "value_and_grad": lambda x, y: fnn.value_and_grad(NET, CROSS)(NET.init(K), x, y),
    "loss": lambda x, y: CROSS.forward(jnp.asarray(x)[:, :3], y),
    "accuracy": lambda x, y: fnn.accuracy(jnp.asarray(x)[:, :3], y),
    "one_hot": lambda x, y: one_hot(y, 3),
    "batches": lambda x, y: list(fnn.data.batches(K, (x, y), 3)),
}
