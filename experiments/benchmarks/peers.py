"""The peers of the benchmark, and the job that each has to provide."""

import importlib
import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.workloads import Data, Workload


class Job(NamedTuple):
    """A peer's implementation of a workload. Its first unit compiles.

    unit      runs one unit and blocks until it is done; returns None, or seconds by name of its parts
    reset     restores the initial parameters
    predict   returns logits of the test examples, (test, outputs) or (networks, test, outputs); None if there are none
    scale     number of this job's units in a unit of the workload
    note      what was scaled, in words
    """

    unit: Callable[[], dict[str, float] | None]
    reset: Callable[[], None]
    predict: Callable[[], np.ndarray] | None = None
    scale: float = 1.0
    note: str = ""


class Peer(NamedTuple):
    """A library, or a way to use one.

    label     its name in tables
    module    the module that defines `make(name, work, data)`
    kinds     the kinds of workloads that it implements
    needs     modules that must be installed
    variables environment variables of its process
    """

    label: str
    module: str
    kinds: tuple[str, ...]
    needs: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


_NETWORKS = ("mlp", "cnn", "predict")
_SEQUENCES = ("recurrent", "gpt", "attention")

PEERS = {
    "fnn": Peer("fnn", "peer_fnn", (*_NETWORKS, "nets", "planar", "sweep", "growth", "start", *_SEQUENCES)),
    "fnn-autodiff": Peer("jax.grad of fnn's forward", "peer_fnn", ("mlp", "cnn", *_SEQUENCES)),
    "jax": Peer("JAX by hand + optax", "peer_jax", (*_NETWORKS, "nets", "planar", "attention"), ("optax",)),
    "jax-scan": Peer("JAX, lax.conv inside a scan", "peer_jax", ("cnn",), ("optax",)),
    "flax": Peer("Flax NNX + optax", "peer_flax", (*_NETWORKS, "recurrent"), ("flax", "optax")),
    "flax-lstm-cell": Peer("Flax NNX, LSTMCell", "peer_flax", ("recurrent",), ("flax", "optax")),
    "equinox": Peer("Equinox + optax", "peer_equinox", (*_NETWORKS, "recurrent"), ("equinox", "optax")),
    "torch": Peer("PyTorch", "peer_torch", (*_NETWORKS, "nets", "planar", *_SEQUENCES), ("torch",)),
    "torch-passive": Peer(
        "PyTorch, threads wait passively", "peer_torch", _SEQUENCES, ("torch",), (("OMP_WAIT_POLICY", "PASSIVE"),)
    ),
    "torch-compile": Peer("PyTorch, torch.compile", "peer_torch", (*_NETWORKS, "gpt"), ("torch",)),
    "torch-graph": Peer("PyTorch, CUDA graph", "peer_torch", ("mlp", "cnn", "gpt"), ("torch",)),
    "sklearn": Peer("scikit-learn", "peer_sklearn", ("mlp", "predict"), ("sklearn",)),
    "numpy": Peer("NumPy loop", "peer_numpy", ("mlp", "predict")),
    "products": Peer("matrix products of these shapes", "peer_products", ("mlp", "nets", "sweep")),
    "square": Peer("square matrix products", "peer_products", ("mlp", "nets")),
}

RATES = ("products", "square")
"""Peers that only measure the rate of matrix products."""

MIXED = ("fnn", "fnn-autodiff", "jax", "torch", "torch-compile", "torch-graph", "square")
"""Peers that compute in bfloat16 with parameters in float32."""


def find_compiler() -> str | None:
    """Return the C++ compiler that torch.compile would call, or None."""
    return next(
        (path for name in (os.environ.get("CXX"), "g++", "clang++") if name and (path := shutil.which(name))), None
    )


def find_driver() -> str | None:
    """Return the version of NVIDIA's driver, or None if there is no device of it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "of unknown version" if Path("/dev/nvidiactl").exists() else None
    found = re.search(r"Kernel Module\D*([0-9.]+)", text)
    return found.group(1) if found else text.strip()[:80]


def reason_to_skip(name: str, work: Workload) -> str:
    """Return why this peer does not run this workload, or "" if it does."""
    peer = PEERS[name]
    other_cell = name == "flax-lstm-cell" and work.cell != "lstm"
    other_dtype = work.dtype != "float32" and name not in MIXED
    if work.kind not in peer.kinds or (name in RATES and not work.rates) or other_cell or other_dtype:
        return "not implemented for this workload"
    missing = [module for module in peer.needs if importlib.util.find_spec(module) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if name == "torch-compile" and find_compiler() is None:
        return "no C++ compiler"
    if name == "torch-graph" and find_driver() is None:
        return "no CUDA device"
    return ""


def make(name: str, work: Workload, data: Data) -> Job:
    """Return the job of a peer. Imports the peer's library."""
    module = importlib.import_module(f"experiments.benchmarks.{PEERS[name].module}")
    return module.make(name, work, data)
