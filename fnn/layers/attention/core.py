"""The softmax attention between the projections of `fnn.attention`: what computes O from Q, K and V.

| core | keeps for the backward pass | for |
|---|---|---|
| `stored_attention` | P | few positions |
| `blockwise_attention` | ℓ; computes P again, block by block | many positions |
| `cudnn_attention` | ℓ; fused kernels of cuDNN | many positions in bfloat16 or float16 on NVIDIA GPUs |
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from fnn import checks
from fnn.layers.attention import blockwise, cudnn, stored
from fnn.layers.attention.cache import positions_of
from fnn.layers.attention.stored import Keys, Probabilities, Queries, RowSums

LONG = 128
"""From this number of positions on, the probabilities are computed again in the backward pass."""


class AttentionCore(NamedTuple):
    """The softmax attention of `fnn.attention`, for example a kernel of your own.

    S = Q Kᵀ / √d, -∞ where s > t if causal; P = softmax(S) over s; O = P V

    Q and O are (batch, groups, queries, time, d): each of the `groups` heads of K and V, (batch, groups, time, d), is
    shared by `queries` heads of Q. Check the layer that uses it with `fnn.gradcheck.check_layer`.

    Attributes:
      forward: q, k, v, causal -> o, saved. `o` has the shape and the dtype of q, `saved` is a pytree of arrays, and
        `causal` a Python bool.
      backward: saved, o, do, causal -> dq, dk, dv, of the shapes of q, k and v, in their dtype or a wider one.

    A core whose positions all see each other alike, P = 1 / time:

    >>> import fnn, jax, jax.numpy as jnp
    >>> def forward(q, k, v, causal):
    ...     return jnp.broadcast_to(v.mean(2)[:, :, None, None], q.shape), (q, k)
    >>> def backward(saved, o, do, causal):
    ...     q, k = saved
    ...     dv = do.sum((2, 3))[:, :, None] / k.shape[2]
    ...     return jnp.zeros_like(q), jnp.zeros_like(k), jnp.broadcast_to(dv, k.shape)
    >>> layer = fnn.attention(4, heads=2, causal=False, core=AttentionCore(forward, backward))
    >>> fnn.gradcheck.check_layer(layer, layer.init(jax.random.key(0)), jnp.ones((2, 3, 4)), key=1).ok
    True
    """

    forward: Callable[..., tuple[Queries, Any]]
    backward: Callable[..., tuple[Queries, Keys, Keys]]


class Stored(NamedTuple):
    """What `stored_attention` saves."""

    q: Queries
    k: Keys
    v: Keys
    p: Probabilities


class Blockwise(NamedTuple):
    """What `blockwise_attention` saves; ℓ in `lse`."""

    q: Queries
    k: Keys
    v: Keys
    lse: RowSums


def stored_forward(q: Queries, k: Keys, v: Keys, causal: bool, position: Array | None = None) -> tuple[Queries, Stored]:
    """S, P and O of queries from `position` on, or from 0; see `stored.attend`"""
    visible = stored.up_to(positions_of(position, q.shape[3]), k.shape[2]) if causal else None
    o, p = stored.attend(q, k, v, visible)
    return o, Stored(q, k, v, p)


def stored_backward(
    saved: Stored, o: Queries, do: Queries, causal: bool, position: Array | None = None
) -> tuple[Queries, Keys, Keys]:
    """dQ, dK, dV from P; see `stored.attend_backward`"""
    return stored.attend_backward(saved.q, saved.k, saved.v, o, saved.p, do)


def blockwise_forward(
    q: Queries, k: Keys, v: Keys, causal: bool, position: Array | None = None
) -> tuple[Queries, Blockwise]:
    """ℓ and O of queries from `position` on, or from 0; see `blockwise.attend`"""
    o, lse = blockwise.attend(q, k, v, causal, position)
    return o, Blockwise(q, k, v, lse)


def blockwise_backward(
    saved: Blockwise, o: Queries, do: Queries, causal: bool, position: Array | None = None
) -> tuple[Queries, Keys, Keys]:
    """dQ, dK, dV from ℓ; see `blockwise.attend_backward`"""
    return blockwise.attend_backward(saved.q, saved.k, saved.v, o, saved.lse, do, causal, position)


stored_attention = AttentionCore(stored_forward, stored_backward)
"""Keeps the probabilities."""

blockwise_attention = AttentionCore(blockwise_forward, blockwise_backward)
"""Keeps the log-sum-exp of each row of S and computes P again in blocks (Dao et al. 2022). Memory is linear in time."""

cudnn_attention = AttentionCore(cudnn.attend, cudnn.attend_backward)
"""The fused kernels of cuDNN, for Q, K, V in bfloat16 or float16 on an NVIDIA GPU. The backward is cuDNN's."""


def choose(time: int, d: int, dtype: Any) -> AttentionCore:
    """Return the fastest core for Q (…, time, d) on the device that JAX computes on."""
    return cudnn_attention if time >= LONG and cudnn.is_available(d, dtype) else choose_for_piece(time)


def choose_for_piece(time: int) -> AttentionCore:
    """Return the core for a piece of a sequence. Its functions also take the position of the piece."""
    return stored_attention if time < LONG else blockwise_attention


def that_saved(saved: Any) -> AttentionCore:
    """Return the core that `choose` or `choose_for_piece` had chosen, from what its forward saved."""
    if isinstance(saved, Stored):
        return stored_attention
    return blockwise_attention if isinstance(saved, Blockwise) else cudnn_attention


def check_forward(result: Any, q: Queries) -> tuple[Queries, Any]:
    """Return what the forward of a core returned: (o, saved), where o is like q."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise checks.fail("attention", "core.forward", "a function that returns (o, saved)", result)
    _check_like("core.forward", "o", result[0], q.shape)
    if result[0].dtype != q.dtype:
        expected = f"a function that returns o in the dtype of q, {q.dtype}"
        raise checks.fail("attention", "core.forward", expected, result[0])
    return result


def check_backward(
    result: Any, o: Queries, keys: tuple[int, ...]
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """Return what the backward of a core returned: (dq, dk, dv), of the shapes of q, which is that of o, k and v."""
    if not isinstance(result, tuple) or len(result) != 3:
        raise checks.fail("attention", "core.backward", "a function that returns (dq, dk, dv)", result)
    for name, value, shape in zip(("dq", "dk", "dv"), result, (o.shape, keys, keys), strict=True):
        _check_like("core.backward", name, value, shape)
    return result


def _check_like(argument: str, name: str, value: Any, shape: tuple[int, ...]) -> None:
    if getattr(value, "shape", None) != shape:
        raise checks.fail("attention", argument, f"a function that returns {name} of shape {shape}", value)
