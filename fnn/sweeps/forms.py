"""How the program of a sweep differs between the CPU and accelerators: what XLA compiles best on each."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn.layers.matmul import computed_once
from fnn.types import Layer, Params, PRNGKey, TrainState

_SMALL = 2**25  # bytes of the parameters of all runs, up to which a pass over them takes about as long as a launch


def steps_per_iteration(state: TrainState, n: int, x: Array, on_cpu: bool) -> int:
    """Return the number of steps in an iteration of the loop over the batches, given the shapes of the state of a run.

    It is 2 for n small networks on rows of data on an accelerator. Their kernels take no longer than their launches,
    and XLA joins some of those of neighbouring steps: for 64 networks 784-30-10, 15 of 17 kernels a step remain (jax
    0.10, GPU). Two steps of large networks would only take more memory.
    """
    size = n * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))
    return 2 if not on_cpu and x.ndim == 2 and size <= _SMALL else 1


def axes_of_runs(state: TrainState, x: Array, on_cpu: bool) -> TrainState:
    """Return the axis of the runs in each leaf of their states, or None for what all runs share.

    The weights W that the batch X is multiplied by are stored as (n_in, runs, n_out): X W for all runs is then a single
    matrix product without copies. On the CPU every matrix is. On a GPU the products of other matrices are batched over
    the runs, and XLA would copy these matrices in each step (jax 0.10).
    """
    rows = x.shape[-1] if jnp.issubdtype(x.dtype, jnp.floating) else None
    axis = lambda leaf: int(leaf.ndim == 2 and (on_cpu or leaf.shape[0] == rows))
    return jax.tree.map(axis, state)._replace(step=None, key=None)


def transposed_once(network: Layer) -> Layer:
    """The network under vmap, with its prediction and its gradient each computed once; for the CPU.

    The product of a batch with all matrices has shape (batch, runs, n). The loss under vmap needs (runs, batch, n), and
    the gradient comes back in that shape. Without this, XLA on the CPU transposes again in every use (jax 0.10).
    """

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Any]:
        prediction, residuals = network.forward(params, x, key)
        return computed_once(prediction), residuals

    def backward(params: Params, residuals: Any, dprediction: Array) -> tuple[Params, Array]:
        return network.backward(params, residuals, computed_once(dprediction))

    return network._replace(forward=forward, backward=backward)
