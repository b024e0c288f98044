"""What the ways to continue a sequence share: checks of the network and the prompt, and logits of the next id."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from fnn import checks
from fnn.checks.host_values import has_values
from fnn.checks.targets import inputs
from fnn.dtypes import at_least_int32, widest
from fnn.layers.streams import stream_of
from fnn.types import Layer, Params, Stream


def check_prompt(function: str, network: Layer, params: Params, prompt: ArrayLike) -> Int[Array, "batch time"]:
    """Return the prompt, ids (batch, time) of at least one position, for a network that can continue it."""
    checks.layer(function, "network", network)
    checks.params(function, params)
    if network.vocabulary is None:
        came = f"{network.name or 'a layer'}, whose inputs are not ids"
        raise checks.fail(function, "network", "a layer that begins with an embedding of ids", came=came)
    stream_of(function, network)
    prompt = checks.array(function, "prompt", prompt)
    if prompt.ndim != 2 or not prompt.shape[0] or not prompt.shape[1]:
        raise checks.fail(function, "prompt", "ids of shape (batch, time), of at least one position", prompt)
    prompt = inputs(function, "prompt", prompt, network.vocabulary)
    return prompt.astype(at_least_int32(prompt))


def check_length(function: str, network: Layer, params: Params, batch: int, positions: int) -> None:
    """Raise if the network cannot read this many positions, or does not return logits of ids.

    Only shapes are computed. It runs while a program is traced.
    """
    ids = jax.ShapeDtypeStruct((batch, positions), jnp.int32)
    try:
        y = jax.eval_shape(lambda p, x: network.forward(p, x)[0], params, ids)
    except ValueError as error:
        error.add_note(f"{function}: the network reads {positions} positions, those of the prompt and of n - 1 ids")
        raise
    vocabulary = network.vocabulary or 0
    if y.ndim != 3 or y.shape[:2] != (batch, positions) or not 1 <= y.shape[2] <= vocabulary:
        expected = f"of shape (batch, time, k) with a logit for each of at most {vocabulary} ids"
        raise checks.fail(function, "the output of the network", expected, y)


def next_logits(
    stream: Stream, params: Params, memory: Any, ids: Int[Array, "batch time"]
) -> tuple[Float[Array, "batch k"], Any]:
    """Read ids. Return the logits of the id after them, in float32 at least, and the memory."""
    y, _, memory = stream.advance(params, memory, ids)
    logits = y[:, -1]
    return logits.astype(widest(logits, jnp.float32)), memory


def is_usable(logits: Float[Array, "... k"]) -> Array:
    """Return whether each row of logits is a distribution: without NaN and +∞, and not -∞ throughout."""
    return jnp.all(jnp.isfinite(jnp.max(logits, axis=-1)))


def check_usable(function: str, usable: Array, positions: int) -> None:
    """Raise if logits were no distribution. `usable` has one entry for each id; traced ones are not checked."""
    if has_values(usable) and not np.all(usable):
        position = positions + int(np.argmin(usable))
        advice = "A network that has read all positions that it has room for returns NaN."
        raise checks.fail(
            function,
            "the output of the network",
            "a distribution over ids at each position",
            came=f"NaN or inf (or -inf for each id) after {position} positions",
            advice=advice,
        )
