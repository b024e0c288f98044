"""A small training: 150 examples of three classes, 80 for validation, and a network that learns them quickly."""

import numpy as np

import fnn
from tests.support.oracles import normal

rng = np.random.default_rng(0)
LABELS = rng.integers(0, 3, 230)
X = normal(0, (230, 4)) + 2 * np.eye(3, 4, dtype="float32")[LABELS]
TRAIN, VALIDATION = (X[:150], LABELS[:150]), (X[150:], LABELS[150:])
NETWORK, LOSS, OPTIMIZER = fnn.mlp([4, 8, 3], fnn.tanh), fnn.softmax_cross_entropy, fnn.momentum(0.5)


def fit(key, network=NETWORK, optimizer=OPTIMIZER, data=TRAIN, **options):
    options = {"epochs": 6, "batch_size": 32, "progress": False} | options
    return fnn.fit(network, LOSS, optimizer, data, key=key, **options)
