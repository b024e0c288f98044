"""The benchmark's peers on tiny workloads: they compute the same numbers as fnn."""

import warnings

import jax
import numpy as np
import pytest

from experiments.benchmarks import peers, worker
from experiments.benchmarks.workloads import WORKLOADS, Data, Workload, flops, load, shrunk

TINY = {
    "sigmoid": WORKLOADS["sigmoid"]._replace(sizes=(784, 7, 10), examples=12, batch=12),
    "relu": WORKLOADS["relu"]._replace(sizes=(784, 9, 8, 10), examples=12, batch=12),
    "cnn": WORKLOADS["cnn"]._replace(filters=(3, 4), sizes=(64, 9, 10), examples=8, batch=8),
    "logistic": WORKLOADS["logistic"]._replace(sizes=(784, 1), examples=12, batch=12),
    "predict": WORKLOADS["predict"]._replace(sizes=(784, 9, 10)),
    "nets": WORKLOADS["nets"]._replace(sizes=(784, 5, 10), examples=12, batch=12, networks=3),
    "planar": WORKLOADS["planar"]._replace(networks=3, epochs=20),
    "lstm": WORKLOADS["lstm"]._replace(sizes=(5, 4, 10), positions=6, examples=12, batch=12),
    "gpt": WORKLOADS["gpt"]._replace(sizes=(11, 8), layers=2, heads=2, positions=6, examples=12, batch=12),
    "attention": shrunk(WORKLOADS["attention"], 20),
    "gru": WORKLOADS["gru"]._replace(sizes=(5, 4, 10), positions=6, examples=12, batch=12),
}
UNITS = 3


def tiny_data(work: Workload) -> Data:
    rng = np.random.default_rng(0)
    if work.kind == "gpt":
        return Data(*(rng.integers(11, size=(n, 6)).astype(np.int32) for n in (12, 12, 4, 4)))
    if work.kind == "attention":
        return load(work, None)
    outputs = work.sizes[-1]
    labels = rng.integers(max(2, outputs), size=work.examples).astype(np.int32)
    labels[:10] = np.arange(10)[: work.examples] % max(2, outputs)
    y = labels
    if work.loss == "sigmoid":
        y = (labels[:, None] if outputs == 1 else labels[:, None] == np.arange(outputs)).astype(np.float32)
    shape = {"cnn": (784,), "recurrent": (work.positions, work.sizes[0])}.get(work.kind, (work.sizes[0],))
    x, test_x = (rng.random((n, *shape), np.float32) for n in (len(labels), 6))
    return Data(x, y, test_x, rng.integers(outputs, size=6))


def trained(peer: str, work: Workload, units: int = UNITS) -> np.ndarray:
    """The logits after some units from the initial weights; the unit that compiles is undone."""
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")  # warnings of other libraries
        data = tiny_data(work)
        job, ready = worker.prepare(peer, work, data)
        assert ready["first_unit"] > 0
        for _ in range(units):
            job.unit()
        assert job.predict is not None
        return job.predict()


def ready(peer: str, work: Workload) -> None:
    reason = peers.reason_to_skip(peer, work)
    if "not installed" in reason or "no CUDA" in reason:
        pytest.skip(f"{peer}: {reason}")
    assert not reason


QUICK = {
    *((peer, "sigmoid") for peer in ("jax", "numpy", "sklearn")),
    ("numpy", "predict"),
}
SLOW = {
    ("numpy", "relu"),
    ("jax", "planar"),
    ("fnn-autodiff", "gru"),
    ("jax", "attention"),
}  # the remaining pairs are marked exhaustive


def marks_of(peer: str, name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a pair: none for those that run by default."""
    if (peer, name) in QUICK:
        return []
    return [pytest.mark.slow if (peer, name) in SLOW else pytest.mark.exhaustive]


OTHER = {("flax", "gru"), ("flax-lstm-cell", "gru")}  # see below
PAIRS = [
    pytest.param(peer, name, marks=marks_of(peer, name))
    for name, work in TINY.items()
    for peer, described in peers.PEERS.items()
    if work.kind in described.kinds and peer not in ("fnn", "torch-compile", *peers.RATES)
    if not (work.kind == "recurrent" and (peer.startswith("torch") or (peer, name) in OTHER))
]


@pytest.fixture(scope="module")
def by_fnn():
    cache: dict[str, np.ndarray] = {}

    def logits(name: str, units: int = UNITS) -> np.ndarray:
        if name not in cache:
            cache[name] = trained("fnn", TINY[name], units)
        return cache[name]

    return logits


@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_every_peer_trains_the_same_network(peer, name, by_fnn):
    """With full batches the order of examples does not matter, so logits agree up to rounding."""
    work = TINY[name]
    ready(peer, work)
    units = UNITS if work.kind != "gpt" else 1  # Adam magnifies rounding where gradients are 0: the keys' biases
    ours, theirs = by_fnn(name, units), trained(peer, work, units)
    if peer == "sklearn":  # which returns probabilities
        if work.loss == "softmax":
            ours = np.exp(ours) / np.exp(ours).sum(axis=1, keepdims=True)
        else:
            ours = 1 / (1 + np.exp(-ours)) - (0.5 if work.sizes[-1] == 1 else 0)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(theirs, ours, atol=1e-4 * np.abs(ours).max())
    if work.kind in ("mlp", "cnn"):
        assert np.abs(by_fnn(name) - trained_not_at_all(work)).max() > 1e-3  # training changed the network


def trained_not_at_all(work: Workload) -> np.ndarray:
    job = peers.make("fnn", work, tiny_data(work))
    assert job.predict is not None
    return job.predict()


@pytest.mark.exhaustive
@pytest.mark.parametrize("peer", ["torch", "torch-passive", "flax"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_peers_with_other_biases_begin_with_the_same_network(peer, name):
    """PyTorch trains two biases where fnn trains their sum, and Flax's GRU has no inner bias."""
    work = TINY[name]
    ready(peer, work)
    np.testing.assert_allclose(trained(peer, work, 0), trained("fnn", work, 0), rtol=1e-4, atol=1e-5)


def test_rates_are_of_the_same_arithmetic():
    work = shrunk(WORKLOADS["wide"], 20)._replace(sizes=(784, 32, 10), batch=8, examples=16)
    for name in peers.RATES:
        job = peers.make(name, work, tiny_data(work))
        job.unit()
        assert job.scale == (1.0 if name == "products" else pytest.approx(flops(work) / (4 * 2 * 2048**3)))
    for many in (TINY["nets"], shrunk(WORKLOADS["sweep"], 250)):
        peers.make("products", many, tiny_data(many)).unit()
