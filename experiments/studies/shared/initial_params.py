"""Stacked initial parameters, for runs whose `init` is `lambda start: start`."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

import fnn
from fnn.types import Layer, Params

_SGD = fnn.sgd(0.0)  # `init_state` needs an optimizer; the state of this one is empty


def init_params(network: Layer, seeds: int) -> Params:
    """Initialise the network once per seed: leaves (seeds, …).

    `fnn.init_state` compiles once. Random initialisation inside a larger program takes far longer to compile.
    """
    keys = jax.random.split(jax.random.key(0), seeds)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *[fnn.init_state(network, _SGD, key).params for key in keys])


def scaled_params(network: Layer, scales: Sequence[Callable[[int], float]], seeds: int) -> Params:
    """Multiply each seed's parameters by each scale, a function of n_in: leaves (scales · seeds, …)."""
    params = init_params(network, seeds)
    parts = [jax.tree.map(lambda leaf, scale=scale: leaf * scale(leaf.shape[-2]), params) for scale in scales]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves).astype(np.float32), *parts)
