"""The network of a search: a linear model plus a hidden layer, of a width that each run has for itself."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fnn.layers.activations import silu
from fnn.layers.add import add
from fnn.layers.combinators import serial
from fnn.layers.dense import Dense, dense
from fnn.layers.dropout import dropout
from fnn.search.records import Members
from fnn.types import Layer


def skip_network(d: int, width: int, k: int, rate: Float[Array, ""]) -> Layer:
    """z = A x + W_3 drop(silu(W_1 x + b_1)) + c, where drop is dropout of a rate that may be traced."""
    return add(dense(d, k), serial(dense(d, width), silu, dropout(rate), dense(width, k)))


def initial_params(
    sizes: tuple[int, int, int],
    widths: Int[np.ndarray, " runs"],
    seeds: Int[np.ndarray, "runs words"],
    bias: Float[np.ndarray, " k"],
) -> tuple[Any, ...]:
    """Draw the initial parameters of `skip_network` for each run, stacked in the first axis.

    A starts at 0, c at `bias`; W_1 has standard deviation √(2/d) and W_3 has 1/√width. Units beyond a run's own width
    are 0. Since silu(0) = 0, their gradients are 0, and they stay 0 without a mask. The host draws: compiling the draws
    takes about 0.8 s (jax 0.10, CPU).

    Args:
      sizes: d, the width of the widest run, and k.
      widths: the width of each run.
      seeds: words that seed each run.
      bias: c.
    """
    (d, most, k), runs = sizes, len(widths)
    w_in, w_out = np.zeros((runs, d, most), np.float32), np.zeros((runs, most, k), np.float32)
    for run, (width, words) in enumerate(zip(widths, seeds, strict=True)):
        rng = np.random.default_rng(words)
        w_in[run, :, :width] = rng.standard_normal((d, width), np.float32) * np.float32(np.sqrt(2 / d))
        w_out[run, :width] = rng.standard_normal((width, k), np.float32) / np.float32(np.sqrt(max(1, width)))
    zeros = lambda *shape: np.zeros((runs, *shape), np.float32)
    arrays = zeros(d, k), zeros(k) + bias.astype(np.float32), w_in, zeros(most), w_out, zeros(k)
    w, b, w_in, b_in, w_out, b_out = map(jnp.asarray, arrays)
    return Dense(w, b), (Dense(w_in, b_in), (), (), Dense(w_out, b_out))


def members_of(params: tuple[Any, ...]) -> Members:
    """Return stacked parameters of `skip_network` as the members of an ensemble."""
    skip, (first, _, _, last) = params
    return Members(*map(np.asarray, (skip.w, first.w, first.b, last.w, skip.b + last.b)))
