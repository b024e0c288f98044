"""Continue sequences by a search for their most probable continuations."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from fnn import checks
from fnn.generation.reading import check_length, check_prompt, check_usable, is_usable, next_logits
from fnn.layers.streams import batch_axes, stream_of
from fnn.training.compiled import compiled
from fnn.types import Layer, Params

_KEPT = 16  # programs, each for another network, shape of the prompt, n or number of beams


class Beams(NamedTuple):
    """The continuations that `beam_search` found, the most probable first.

    Attributes:
      ids: the new ids (batch, beams, n).
      log_probs: the logarithm of the probability of each continuation (batch, beams).
    """

    ids: Int[Array, "batch beams n"]
    log_probs: Float[Array, "batch beams"]


def beam_search(network: Layer, params: Params, prompt: ArrayLike, n: int, beams: int) -> Beams:
    """Search for the most probable continuations of n ids.

    This is beam search (Lowerre 1976; Graves 2012). At each position every continuation is extended by every id, and
    the most probable ones are kept, `beams` of them. One beam is the greedy continuation, that of `fnn.sample` with
    `temperature=0`. With k^(n-1) beams, of k ids, the search is exhaustive.

    Args:
      network: a layer with a stream, from ids (batch, time) to logits (batch, time, k), as for `fnn.sample`.
      params: its parameters.
      prompt: ids (batch, time) of at least one position.
      n: how many ids to add to each sequence.
      beams: how many continuations are kept, at most k^n.

    Returns:
      Beams(ids, log_probs), for each prompt the continuations with the largest probability first.

    Raises:
      ValueError: if the prompt is empty or an id is out of range, n or `beams` is not positive, there are fewer
        continuations than beams, a layer has no stream, or the network cannot read that many positions.
      TypeError: if the prompt does not hold integers.

    >>> import fnn
    >>> network = fnn.serial(fnn.embedding(10, 4), fnn.dense(4, 10))  # a bigram model
    >>> found = beam_search(network, network.init(jax.random.key(0)), jnp.array([[1, 2, 3]]), 5, beams=4)
    >>> found.ids.shape, found.log_probs.shape
    ((1, 4, 5), (1, 4))
    """
    prompt, n = check_prompt("beam_search", network, params, prompt), checks.positive_int("beam_search", "n", n)
    beams = checks.positive_int("beam_search", "beams", beams)
    found, usable = _beam_search(network, n, beams, params, prompt)
    check_usable("beam_search", usable, prompt.shape[1])
    return found


@compiled(static=3, kept=_KEPT)
def _beam_search(
    network: Layer, n: int, beams: int, params: Params, prompt: Int[Array, "batch time"]
) -> tuple[Beams, Array]:
    """The continuations, and for each of the n positions whether the logits were distributions."""
    batch, time = prompt.shape
    check_length("beam_search", network, params, batch, time + n - 1)
    stream = stream_of("beam_search", network)
    axes = batch_axes("beam_search", stream, params)

    def of_each_beam(memory: Any, index: Int[Array, " rows"]) -> Any:
        """Gather the memory by sequences; what they share stays"""
        leaves, tree = jax.tree.flatten(memory)
        gathered = [
            leaf if axis is None else jnp.take(leaf, index, axis=axis) for leaf, axis in zip(leaves, axes, strict=True)
        ]
        return jax.tree.unflatten(tree, gathered)

    def extend(found: Beams, logits: Float[Array, "rows k"], i: Int[Array, ""]) -> tuple[Beams, Int[Array, " rows"]]:
        """Return the best continuations of i + 1 ids, and the row of the continuation that each extends"""
        k = logits.shape[-1]
        scores = found.log_probs[..., None] + jax.nn.log_softmax(logits).reshape(batch, beams, k)
        log_probs, best = jax.lax.top_k(scores.reshape(batch, beams * k), beams)
        parent = (best // k).astype(jnp.int32)
        ids = jnp.take_along_axis(found.ids, parent[..., None], axis=1)
        ids = jax.lax.dynamic_update_index_in_dim(ids, (best % k).astype(jnp.int32), i, axis=2)
        first_row = beams * jnp.arange(batch, dtype=jnp.int32)[:, None]
        return Beams(ids, log_probs), (first_row + parent).reshape(-1)

    def step(carry: tuple[Beams, Any], i: Int[Array, ""]) -> tuple[tuple[Beams, Any], Array]:
        found, memory = carry
        last = jax.lax.dynamic_index_in_dim(found.ids, i - 1, axis=2, keepdims=False)
        logits, memory = next_logits(stream, params, memory, last.reshape(-1, 1))
        found, parents = extend(found, logits, i)
        return (found, of_each_beam(memory, parents)), is_usable(logits)

    logits, memory = next_logits(stream, params, stream.start(params, batch), prompt)
    continuations = logits.shape[-1] ** n
    if beams > continuations:
        raise checks.fail("beam_search", "beams", f"at most the number of continuations, {continuations}", beams)
    first = jnp.repeat(jnp.arange(batch, dtype=jnp.int32), beams)
    # all beams begin as the same empty continuation: all but one have probability 0
    alone = jnp.where(jnp.arange(beams, dtype=jnp.int32) == 0, 0, -jnp.inf).astype(logits.dtype)
    empty = Beams(jnp.zeros((batch, beams, n), jnp.int32), jnp.tile(alone[None], (batch, 1)))
    found, parents = extend(empty, logits[first], jnp.zeros((), jnp.int32))
    carry = found, of_each_beam(of_each_beam(memory, first), parents)
    (found, _), usable = jax.lax.scan(step, carry, jnp.arange(1, n, dtype=jnp.int32))
    return found, jnp.concatenate([is_usable(logits)[None], usable])
