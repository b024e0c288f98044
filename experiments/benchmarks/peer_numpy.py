"""NumPy: a loop with a hand-written backward pass, for dense networks."""

import numpy as np

from experiments.benchmarks.peers import Job
from experiments.benchmarks.workloads import Data, Weights, Workload, initial_weights


def sigmoid(z: np.ndarray) -> np.ndarray:
    """σ(z) = 1 / (1 + e^-z), with e^-z bounded."""
    return 1 / (1 + np.exp(-np.clip(z, -80, 80)))


def forward(work: Workload, params: Weights, x: np.ndarray) -> list[np.ndarray]:
    """Return the input of each dense layer, then the logits."""
    inputs = [x]
    for i, (w, b) in enumerate(params):
        z = inputs[-1] @ w + b
        last = i == len(params) - 1
        inputs.append(z if last else np.maximum(z, 0) if work.activation == "relu" else sigmoid(z))
    return inputs


def step(work: Workload, params: Weights, x: np.ndarray, y: np.ndarray) -> None:
    """Update the parameters in place.

    For both losses, dZ of the last layer is (a - y) / m.
    """
    *inputs, logits = forward(work, params, x)
    if work.loss == "sigmoid":
        dz = sigmoid(logits) - y
    else:
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        dz = e / e.sum(axis=1, keepdims=True)
        dz[np.arange(len(y)), y] -= 1
    dz /= np.float32(len(x))
    for i in reversed(range(len(params))):
        w, b = params[i]
        a = inputs[i]
        dw, db = a.T @ dz, dz.sum(axis=0)
        if i:
            da = dz @ w.T
            dz = da * (a > 0) if work.activation == "relu" else da * a * (1 - a)
        w -= np.float32(work.learning_rate) * dw
        b -= np.float32(work.learning_rate) * db


def copied_weights(work: Workload) -> Weights:
    """Return the initial weights for `step` to overwrite."""
    return [(w.copy(), b.copy()) for w, b in initial_weights(work)]


def train(work: Workload, data: Data) -> Job:
    """A unit is an epoch."""
    rng, params = np.random.default_rng(0), copied_weights(work)

    def reset() -> None:
        params[:] = copied_weights(work)

    def unit() -> None:
        order = rng.permutation(work.examples)
        for i in range(0, work.examples, work.batch):
            index = order[i : i + work.batch]
            step(work, params, data.x[index], data.y[index])

    return Job(unit, reset, lambda: forward(work, params, data.test_x)[-1])


def make(name: str, work: Workload, data: Data) -> Job:
    """Return NumPy's job for a workload."""
    if work.kind == "mlp":
        return train(work, data)
    params, result = initial_weights(work), [data.test_x]

    def unit() -> None:
        result[:] = forward(work, params, data.test_x)[-1:]

    return Job(unit, lambda: None, lambda: result[0])
