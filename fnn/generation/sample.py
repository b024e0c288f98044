"""Continue sequences by drawing ids from the distributions that a network predicts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from fnn import checks
from fnn.checks.host_values import python_scalar, value_of
from fnn.generation.reading import check_length, check_prompt, check_usable, is_usable, next_logits
from fnn.generation.truncation import truncate
from fnn.layers.streams import stream_of
from fnn.training.compiled import compiled
from fnn.types import Layer, Params, PRNGKey

_KEPT = 16  # programs, each for another network, shape of the prompt, n or top_k


def sample(
    network: Layer,
    params: Params,
    prompt: ArrayLike,
    n: int,
    key: PRNGKey | None,
    temperature: float | Array = 1.0,
    top_k: int | None = None,
    top_p: float | Array | None = None,
) -> Int[Array, "batch n"]:
    """Draw n more ids after each prompt.

    id ~ softmax(z / temperature), z the logits after all ids before it

    The network reads the prompt once, and then one id at a time: what it remembers is in the memory of its
    `fnn.Stream`. The whole is one compiled program. Another temperature or another top_p does not compile it again.

    Args:
      network: a layer with a stream, from ids (batch, time) to logits (batch, time, k), such as
        `fnn.serial(fnn.embedding(k, d), fnn.lstm(d, d), fnn.dense(d, k))`. It runs without randomness of its own.
      params: its parameters.
      prompt: ids (batch, time) of at least one position.
      n: how many ids to draw for each sequence.
      key: PRNG key. Id i, from 0, is drawn by `jax.random.categorical` with `jax.random.fold_in(key, i)`. It may be
        None if the temperature is 0.
      temperature: below 1, probable ids are drawn more often. At 0, the id with the largest logit is taken.
      top_k: only the k most probable ids may be drawn (Fan, Lewis and Dauphin 2018).
      top_p: only the smallest set of the most probable ids whose probabilities sum to at least p may be drawn, p in
        (0, 1] (Holtzman et al. 2020). With top_k, of those, with their probabilities renormalised. Of equally probable
        ids, the smaller are kept first.

    Returns:
      The new ids (batch, n), int32.

    Raises:
      ValueError: if the prompt is empty or an id is out of range, n is not positive, the temperature is negative,
        top_p is not in (0, 1], a layer has no stream, or the network cannot read that many positions.
      TypeError: if the prompt does not hold integers, or the key is not a PRNG key.

    >>> import fnn
    >>> network = fnn.serial(fnn.embedding(10, 4), fnn.dense(4, 10))  # a bigram model
    >>> params = network.init(jax.random.key(0))
    >>> sample(network, params, jnp.array([[1, 2, 3]]), 5, jax.random.key(1), temperature=0.8, top_k=3).shape
    (1, 5)
    """
    prompt, n = check_prompt("sample", network, params, prompt), checks.positive_int("sample", "n", n)
    checks.number("sample", "temperature", temperature, minimum=0.0)
    top_k = None if top_k is None else checks.positive_int("sample", "top_k", top_k)
    top_k = None if top_k is None or top_k >= (network.vocabulary or 0) else top_k
    if top_p is not None:
        checks.number("sample", "top_p", top_p)
        if not 0 < value_of(top_p, 1) <= 1:
            raise checks.fail("sample", "top_p", "in (0, 1]", python_scalar(top_p))
        top_p = jnp.asarray(top_p, jnp.float32)
    if key is None and value_of(temperature, 1) != 0:
        raise checks.fail("sample", "key", "a single PRNG key unless the temperature is 0", key, TypeError)
    key = jax.random.key(0) if key is None else checks.key("sample", key)
    ids, usable = _sample(network, n, top_k, params, prompt, key, jnp.asarray(temperature, jnp.float32), top_p)
    check_usable("sample", usable, prompt.shape[1])
    return ids


@compiled(static=3, kept=_KEPT)
def _sample(
    network: Layer,
    n: int,
    top_k: int | None,
    params: Params,
    prompt: Int[Array, "batch time"],
    key: PRNGKey,
    temperature: Float[Array, ""],
    top_p: Float[Array, ""] | None,
) -> tuple[Int[Array, "batch n"], Array]:
    """The ids, and for each of the n positions whether the logits were distributions."""
    batch, time = prompt.shape
    check_length("sample", network, params, batch, time + n - 1)
    stream = stream_of("sample", network)

    def draw(i: Int[Array, ""], logits: Float[Array, "batch k"]) -> Int[Array, " batch"]:
        """The id with the largest logit plus Gumbel noise, or without noise if the temperature is 0"""
        t = jnp.where(temperature > 0, temperature, 1).astype(logits.dtype)
        largest = jnp.max(logits, axis=-1, keepdims=True)
        # a large z / t may overflow, and its rounding hides the noise; smaller ones are not shifted, so as to be exact
        shift = jnp.where(jnp.abs(largest) > 1024 * t, largest, 0)
        drawn = jax.random.categorical(jax.random.fold_in(key, i), truncate((logits - shift) / t, top_k, top_p))
        return jnp.where(temperature > 0, drawn, jnp.argmax(logits, axis=-1)).astype(jnp.int32)

    def step(carry, i: Int[Array, ""]):
        ids, memory = carry
        logits, memory = next_logits(stream, params, memory, ids[:, None])
        ids = draw(i, logits)
        return (ids, memory), (ids, is_usable(logits))

    logits, memory = next_logits(stream, params, stream.start(params, batch), prompt)
    first = draw(jnp.zeros((), jnp.int32), logits)
    _, (ids, usable) = jax.lax.scan(step, (first, memory), jnp.arange(1, n, dtype=jnp.int32))
    return jnp.concatenate([first[None], ids]).T, jnp.concatenate([is_usable(logits)[None], usable])
