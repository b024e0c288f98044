"""Data and initial weights of the workloads that read sequences."""

from typing import NamedTuple

import numpy as np

from experiments.benchmarks.workloads import Workload, gates


class Recurrent(NamedTuple):
    """The weights of a recurrent layer in fnn's layout, and of the dense layer on its last state.

    w (n_in, gates·n), u (n, gates·n), b (gates·n,), c (n,), the inner bias of a GRU, and v (n, k), d (k,).
    """

    w: np.ndarray
    u: np.ndarray
    b: np.ndarray
    c: np.ndarray
    v: np.ndarray
    d: np.ndarray


def recurrent_weights(work: Workload) -> Recurrent:
    """Return the initial weights of every peer.

    They are normal of variance 1/n_in. Biases are 0, but those of the LSTM's forget gate 1.
    """
    n_in, n, k = work.sizes
    rng = np.random.default_rng(0)
    normal = lambda *shape: (shape[0] ** -0.5 * rng.standard_normal(shape)).astype(np.float32)
    zeros = lambda *shape: np.zeros(shape, np.float32)
    b = zeros(gates(work) * n)
    if work.cell == "lstm":
        b[n : 2 * n] = 1.0
    return Recurrent(normal(n_in, gates(work) * n), normal(n, gates(work) * n), b, zeros(n), normal(n, k), zeros(k))
