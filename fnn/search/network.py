"""The network of a search: a linear model plus a hidden layer, of a width that each run has for itself."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from fnn.layers.activations import silu
from fnn.layers.combinators import Residual, residual, serial
from fnn.layers.dense import Dense, dense
from fnn.search.records import Members
from fnn.types import Layer, PRNGKey


def _dropout(rate) -> Layer:
    def forward(params, x, key: PRNGKey | None = None):
        if key is None:
            return x, None
        mask = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(mask, x / (1 - rate), 0), mask

    def backward(params, mask, dy):
        return (), dy if mask is None else jnp.where(mask, dy / (1 - rate), 0)

    return Layer(lambda key: (), forward, backward, name="dropout")


def skip_network(d: int, width: int, k: int, dropout: float | Array) -> Layer:
    """z = A x + W_3 drop(silu(W_1 x + b_1)) + c"""
    return residual(serial(dense(d, width), silu, _dropout(dropout), dense(width, k)), dense(d, k))


def initial_params(d: int, width: int, k: int, widths: Int[np.ndarray, " runs"], seeds: Int[np.ndarray, " runs"]):
    """Draw initial parameters on the host for each run, stacked in the first axis.

    A starts at 0, W_1 has standard deviation √(2/d), W_3 has 1/√width. Units beyond a run's own width are 0. Since
    silu(0) = 0, their gradients are 0, and they stay 0 without a mask.
    """
    runs = len(widths)
    w_in, w_out = np.zeros((runs, d, width), np.float32), np.zeros((runs, width, k), np.float32)
    for run, (h, seed) in enumerate(zip(widths, seeds, strict=True)):
        rng = np.random.default_rng(seed)
        w_in[run, :, :h] = rng.standard_normal((d, h), np.float32) * np.sqrt(2 / d)
        w_out[run, :h] = rng.standard_normal((h, k), np.float32) / np.sqrt(max(h, 1))
    zeros = lambda *shape: np.zeros((runs, *shape), np.float32)
    hidden = Dense(w_in, zeros(width)), (), (), Dense(w_out, zeros(k))
    return Residual(hidden, Dense(zeros(d, k), zeros(k)))


def members_of(params: Residual) -> Members:
    """Return stacked parameters of `skip_network` as the members of an ensemble."""
    first, _, _, last = params.layer
    skip = params.shortcut
    return Members(*map(np.asarray, (skip.w, first.w, first.b, last.w, skip.b + last.b)))
