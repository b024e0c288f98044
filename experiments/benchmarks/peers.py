"""Who takes part in the benchmark, what each can do, and what each must be: a job with a unit of work to time."""

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.workloads import Data, Workload


class Job(NamedTuple):
    """A peer's side of a work, compiled by its first unit.

    unit      does the work once and blocks until it is done -> None, or seconds by name of its parts
    reset     back to the initial parameters
    predict   logits of the test examples, (test, outputs), of several networks (networks, test, outputs); None: none
    scale     a unit of the work is so many of this job's units
    note      what was scaled, in words
    """

    unit: Callable[[], dict[str, float] | None]
    reset: Callable[[], None]
    predict: Callable[[], np.ndarray] | None = None
    scale: float = 1.0
    note: str = ""


class Peer(NamedTuple):
    """A library, or a way to use one. `kinds`: of work that was written for it; `make` is in the module named."""

    label: str
    module: str
    kinds: tuple[str, ...]
    needs: tuple[str, ...] = ()


_NETWORKS = ("mlp", "cnn", "predict")

PEERS = {
    "fnn": Peer("fnn", "peer_fnn", (*_NETWORKS, "nets", "planar", "sweep", "growth", "start")),
    "fnn-autodiff": Peer("jax.grad of fnn's forward", "peer_fnn", ("mlp", "cnn")),
    "jax": Peer("JAX by hand + optax", "peer_jax", (*_NETWORKS, "nets", "planar"), ("optax",)),
    "jax-scan": Peer("JAX, lax.conv inside a scan", "peer_jax", ("cnn",), ("optax",)),
    "flax": Peer("Flax NNX + optax", "peer_flax", _NETWORKS, ("flax", "optax")),
    "equinox": Peer("Equinox + optax", "peer_equinox", _NETWORKS, ("equinox", "optax")),
    "torch": Peer("PyTorch", "peer_torch", (*_NETWORKS, "nets", "planar"), ("torch",)),
    "torch-compile": Peer("PyTorch, torch.compile", "peer_torch", _NETWORKS, ("torch",)),
    "sklearn": Peer("scikit-learn", "peer_sklearn", ("mlp", "predict"), ("sklearn",)),
    "numpy": Peer("NumPy loop", "peer_numpy", ("mlp", "predict")),
    "products": Peer("products of these shapes alone", "peer_products", ("mlp", "nets", "sweep")),
    "square": Peer("products 2048x2048 alone", "peer_products", ("mlp", "nets")),
}

RATES = ("products", "square")
"""These only measure the rate of matrix products beside the work."""


def find_compiler() -> str | None:
    """The C++ compiler that torch.compile would call."""
    return next(
        (path for name in (os.environ.get("CXX"), "g++", "clang++") if name and (path := shutil.which(name))), None
    )


def reason_to_skip(name: str, work: Workload) -> str:
    """Why this peer does not take part in this work; "" if it does."""
    peer = PEERS[name]
    missing = [module for module in peer.needs if importlib.util.find_spec(module) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if name == "torch-compile" and find_compiler() is None:
        return "no C++ compiler"
    if work.kind not in peer.kinds or (name in RATES and not work.rates):
        return "not written for this work"
    return ""


def make(name: str, work: Workload, data: Data) -> Job:
    """The job of a peer; imports what it needs."""
    module = importlib.import_module(f"experiments.benchmarks.{PEERS[name].module}")
    return module.make(name, work, data)
