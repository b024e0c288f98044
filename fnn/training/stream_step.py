"""Truncated backpropagation through time: training steps that carry a memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fnn import checks
from fnn.backprop import make_forward_backward
from fnn.data.arrays import unpack_batch
from fnn.data.order import step_key
from fnn.layers.streams import batch_axes, stream_of
from fnn.training.step import as_transformation, update_state
from fnn.types import Batch, GradientTransformation, Layer, Loss, Params, Stream, TrainState
from fnn.weights import IsWeight, is_weight

StreamStep = Callable[..., tuple[TrainState, Any, Any]]
"""(state, memory, batch, reset=None) -> state, memory, cost"""


def make_stream_step(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    l2: float | Array = 0.0,
    *,
    is_weight: IsWeight = is_weight,
) -> StreamStep:
    """A pure function that makes one step of training with a memory. Jit it.

    Long sequences are trained in pieces: row i of each batch continues row i of the batch before it. The forward pass
    reads on from the memory, and the gradient stops at it, which is truncated backpropagation through time (Williams
    and Peng 1990): it is that of `jax.grad` with `jax.lax.stop_gradient` of the memory.

    Args:
      network: the layer to train, with a `fnn.Stream`.
      loss: a `Loss`.
      optimizer: a gradient transformation, fnn's or optax's.
      l2: λ in the penalty λ/2 ‖W‖².
      is_weight: (path, leaf) -> bool, the leaves that the penalty acts on. Default: `fnn.is_weight`.

    Returns:
      step(state, memory, batch, reset=None) -> (state, memory, cost). The first memory is
      `fnn.start_memory(network, params, batch)`. The batch is (x, y) or (x, y, weight), with x (batch, time, …). A row
      of weight 0 has no part in the cost, but it is read, so that its memory advances. Where `reset` (batch,) is True,
      the memory of that row is set to its start before the step. The key of a step, and 64-bit integers in `jax.jit`,
      are as in `fnn.make_step`.

    Raises:
      ValueError: if a layer of the network has no stream. The step raises it if the memory is not that of the network
        for as many sequences as the batch has, or rows are to be reset that do not each have a memory of their own.

    >>> import fnn
    >>> network, optimizer = fnn.serial(fnn.gru(1, 3), fnn.dense(3, 1)), fnn.sgd(0.1)
    >>> step = jax.jit(make_stream_step(network, fnn.squared_error, optimizer))
    >>> state = fnn.init_state(network, optimizer, jax.random.key(0))
    >>> memory = fnn.start_memory(network, state.params, 2)
    >>> x = y = jnp.ones((2, 5, 1))
    >>> state, memory, cost = step(state, memory, (x, y), jnp.array([True, False]))
    >>> int(state.step), memory[0].shape
    (1, (2, 3))
    """
    stream = stream_of("make_stream_step", checks.layer("make_stream_step", "network", network))
    optimizer = as_transformation("make_stream_step", optimizer)
    forward_backward = make_forward_backward(network, loss, l2, is_weight=is_weight)

    def step(
        state: TrainState, memory: Any, batch: Batch, reset: ArrayLike | None = None
    ) -> tuple[TrainState, Any, Float[Array, ""]]:
        x, y, weight = unpack_batch("step", batch)
        memory = _checked(stream, state.params, memory, checks.array("step", "x", x))
        if reset is not None:
            memory = _reset(stream, state.params, memory, reset)
        key = step_key(state.key, state.step)
        evaluate = lambda params: forward_backward(params, x, y, weight, key, memory)
        state, evaluation = update_state(optimizer, state, evaluate)
        return state, evaluation.memory, evaluation.cost

    return step


def _checked(stream: Stream, params: Params, memory: Any, x: Array) -> Any:
    """Return the memory if it has the tree and the shapes that the stream starts with, for the sequences of x."""
    if x.ndim < 2 or not x.shape[1]:
        raise checks.fail("step", "x", "of shape (batch, time, ...), of at least one position", x)
    fresh = jax.eval_shape(lambda params: stream.start(params, x.shape[0]), params)
    advice = "The first memory is fnn.start_memory(network, params, batch)."
    if jax.tree.structure(memory) != jax.tree.structure(fresh):
        expected = f"a tree as the network's stream starts with, {jax.tree.structure(fresh)}"
        raise checks.fail("step", "memory", expected, came=str(jax.tree.structure(memory)), advice=advice)
    for (path, leaf), like in zip(jax.tree.leaves_with_path(memory), jax.tree.leaves(fresh), strict=True):
        if jnp.shape(leaf) != like.shape:
            expected, name = f"of shape {like.shape} for {x.shape[0]} sequences", jax.tree_util.keystr(path)
            raise checks.fail("step", f"memory{name}", expected, leaf, advice=advice)
    return memory


def _reset(stream: Stream, params: Params, memory: Any, reset: ArrayLike) -> Any:
    """Return the memory with the start of the stream in the rows where `reset` is True."""
    reset, axes = checks.array("step", "reset", reset), batch_axes("step", stream, params)
    leaves, tree = jax.tree.flatten(memory)
    size = next((leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None), None)
    if reset.dtype != jnp.bool_ or reset.ndim != 1 or (size is not None and reset.shape[0] != size):
        expected = f"booleans ({'batch' if size is None else size},)"
        raise checks.fail("step", "reset", expected, reset, TypeError if reset.dtype != jnp.bool_ else ValueError)
    if None in axes:
        advice = "Begin all of them with fnn.start_memory(network, params, batch)."
        came = "a network whose sequences share a part of their memory, such as the position that comes next"
        raise checks.fail("step", "reset", "None", came=came, advice=advice)

    def replace(leaf: Array, fresh: Array, axis: int) -> Array:
        rows = reset.reshape(tuple(-1 if i == axis else 1 for i in range(leaf.ndim)))
        return jnp.where(rows, fresh.astype(leaf.dtype), leaf)

    fresh = jax.tree.leaves(stream.start(params, reset.shape[0]))
    replaced = [replace(a, b, axis) for a, b, axis in zip(leaves, fresh, axes, strict=True) if axis is not None]
    return jax.tree.unflatten(tree, replaced)
