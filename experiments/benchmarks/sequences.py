"""The workloads that read sequences: their data, their initial weights, and times by length."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.peers import Job
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


@functools.lru_cache(maxsize=1)
def gpt_weights(work: Workload) -> list[np.ndarray]:
    """Return the initial weights of a language model, in the order of the leaves of `fnn.gpt`'s parameters.

    That is the embedding (vocabulary, d), the positions (length, d), for each layer γ, β, w_qkv, w_o, b_qkv, b_o,
    γ, β, w_1, b_1, w_2, b_2, and γ, β at the end. Weights are those of nanoGPT, N(0, 0.02²). The arrays are read-only,
    since later calls return them again.
    """
    vocabulary, d, length = work.sizes[0], work.sizes[1], work.positions
    rng = np.random.default_rng(0)
    normal = lambda *shape: (0.02 * rng.standard_normal(shape)).astype(np.float32)
    zeros, norm = lambda n: np.zeros(n, np.float32), [np.ones(d, np.float32), np.zeros(d, np.float32)]
    leaves = [normal(vocabulary, d), normal(length, d)]
    for _ in range(work.layers):
        leaves += [*norm, normal(d, 3 * d), normal(d, d), zeros(3 * d), zeros(d)]
        leaves += [*norm, normal(d, 4 * d), zeros(4 * d), normal(4 * d, d), zeros(d)]
    leaves += norm
    for array in leaves:
        array.flags.writeable = False
    return leaves


ATTENTION_POSITIONS = (64, 256, 1024)
"""The lengths of the sequences of the workload `attention`."""


def attention_arrays(work: Workload, positions: int) -> list[np.ndarray]:
    """Return w_qkv (d, 3 d), w_o (d, d), and X and dY (batch, positions, d), with `work.examples` positions in all."""
    d, rng = work.sizes[0], np.random.default_rng(0)
    shapes = (d, 3 * d), (d, d), *[(work.examples // positions, positions, d)] * 2
    scales = d**-0.5, d**-0.5, 1.0, 1.0
    return [(c * rng.standard_normal(shape)).astype(np.float32) for c, shape in zip(scales, shapes, strict=True)]


def timed_lengths(run: Callable[[list], Any], arrays: dict[int, list], repeats: int, memory: dict[str, float]) -> Job:
    """Return a job whose unit calls `run` at each length, `repeats` times, and reports the milliseconds of a call."""

    def unit() -> dict[str, float]:
        parts = {}
        for positions, of in arrays.items():
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                run(of)
            parts[f"T = {positions}: ms"] = 1e3 / repeats * (time.perf_counter() - start)
            parts[f"T = {positions}: CPU ms"] = 1e3 / repeats * (time.process_time() - cpu)
        return parts | memory

    def predict() -> np.ndarray:
        return np.concatenate([np.asarray(a).ravel() for of in arrays.values() for a in run(of)])

    return Job(unit, lambda: None, predict)
