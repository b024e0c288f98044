"""Initial parameters of many trainings at once, stacked: what `init=lambda start: start` of a run is given."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

import fnn
from fnn.types import Layer, Params

_ANY = fnn.sgd(0.0)  # its state is empty


def drawn(network: Layer, seeds: int) -> Params:
    """The network's own initial parameters from each seed: leaves (seeds, …).

    By `fnn.init_state`, compiled once and lightly: inside a larger program, drawing takes far longer to compile.
    """
    keys = jax.random.split(jax.random.key(0), seeds)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *[fnn.init_state(network, _ANY, key).params for key in keys])


def scaled(network: Layer, scales: Sequence[Callable[[int], float]], seeds: int) -> Params:
    """The same parameters of each seed times each scale, a function of n_in: leaves (scales · seeds, …)."""
    params = drawn(network, seeds)
    parts = [jax.tree.map(lambda leaf, scale=scale: leaf * scale(leaf.shape[-2]), params) for scale in scales]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves).astype(np.float32), *parts)
