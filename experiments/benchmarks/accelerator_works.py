"""The works of the command `accelerator`, in order of importance, and their goals."""

from experiments.benchmarks.goals import Goal, time_ratio
from experiments.benchmarks.timings import Rows, ratio
from experiments.benchmarks.workloads import WORKLOADS, Workload

_LARGE = (
    Workload("large", "8192-8192-8192-8192-8192 ReLU, bfloat16, batch 8192, 2 steps", "mlp", data="noise",
             sizes=(8192,) * 5, batch=8192, examples=16384, learning_rate=0.01, rates=True, unit="2 steps",
             dtype="bfloat16", tolerance=0.1),
    Workload("gpt-124m", "GPT, 12 layers, 12 heads, d 768, 1,024 positions, bfloat16, batch 8, Adam, 4 steps", "gpt",
             data="long tokens", sizes=(50304, 768), loss="tokens", layers=12, heads=12, positions=1024, batch=8,
             examples=32, learning_rate=1e-4, unit="4 steps", dtype="bfloat16", tolerance=0.1),
)  # fmt: skip

ACCELERATOR_WORKLOADS = {work.name: work for work in _LARGE}
"""Works too large for a CPU."""

WORKS = {
    work.name: work
    for work in (
        ACCELERATOR_WORKLOADS["large"],
        WORKLOADS["nets"],
        WORKLOADS["planar"],
        WORKLOADS["cnn"],
        WORKLOADS["relu"],
        WORKLOADS["sigmoid"],
        ACCELERATOR_WORKLOADS["gpt-124m"],
    )
}
"""By name, in order of importance."""

REPEAT = {"nets": 5, "cnn": 3, "relu": 3}
"""Units that are timed together, since a GPU runs one of them in some 10 ms."""
PEERS = ("fnn", "fnn-autodiff", "jax", "flax", "torch", "torch-graph", "torch-compile", "square")
SECONDS = {"large": 40.0, "nets": 20.0, "planar": 25.0, "cnn": 30.0, "relu": 35.0, "sigmoid": 45.0, "gpt-124m": 60.0}
"""Estimated seconds of a work on a GPU."""


def share_of_square(rows: Rows) -> float | None:
    """Return fnn's rate in percent of that of square matrix products."""
    share = ratio(rows, "square")
    return None if share is None else 100 * share


GOALS = (
    *(
        Goal(name, "time of JAX by hand over fnn's, at least", "x", time_ratio("jax"), least=1.0)
        for name in ("large", "nets", "planar", "cnn", "relu", "sigmoid")
    ),
    Goal("large", "time of jax.grad of fnn's forward over fnn's, at least", "x", time_ratio("fnn-autodiff"), least=1.0),
    Goal("large", "rate over that of matrix products 8192x8192, at least", "%", share_of_square, least=80),
)


def tokens(work: Workload) -> int | None:
    """Return the tokens that a unit of a language model reads, or None for another work."""
    return work.examples * work.positions if work.kind == "gpt" else None
