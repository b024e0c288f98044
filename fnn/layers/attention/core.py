"""The softmax attention between the projections of `fnn.attention`: what computes O from Q, K and V.

| core | keeps for the backward pass | for |
|---|---|---|
| `stored_attention` | P | few positions |
| `blockwise_attention` | ℓ; computes P again, block by block | many positions |
| `cudnn_attention` | ℓ; fused kernels of cuDNN | bfloat16 and float16 on NVIDIA GPUs |
| a core of your own | | |
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array

from fnn.layers.attention import blockwise, cudnn, stored
from fnn.layers.attention.cache import positions_of
from fnn.layers.attention.stored import Keys, Queries

LONG = 128
"""From this number of positions on, the probabilities are computed again in the backward pass."""


class AttentionCore(NamedTuple):
    """The softmax attention of `fnn.attention`, for example a kernel of your own.

    S = Q Kᵀ / √d, -∞ where s > t if causal; P = softmax(S) over s; O = P V

    Q and O are (batch, groups, queries, time, d): each of the `groups` heads of K and V, (batch, groups, time, d), is
    shared by `queries` heads of Q. Check the layer that uses it with `fnn.gradcheck.check_layer`.

    Attributes:
      forward: q, k, v, causal -> o, saved. `causal` is a Python bool, `saved` a pytree of arrays.
      backward: saved, o, do, causal -> dq, dk, dv.
    """

    forward: Callable[..., tuple[Queries, Any]]
    backward: Callable[..., tuple[Queries, Keys, Keys]]


def _stored(q: Queries, k: Keys, v: Keys, causal: bool, position: Array | None = None) -> tuple[Queries, Any]:
    visible = stored.up_to(positions_of(position, q.shape[3]), k.shape[2]) if causal else None
    o, p = stored.attend(q, k, v, visible)
    return o, (q, k, v, p)


def _stored_backward(saved: Any, o: Queries, do: Queries, causal: bool, position: Array | None = None) -> Any:
    q, k, v, p = saved
    return stored.attend_backward(q, k, v, o, p, do)


def _blockwise(q: Queries, k: Keys, v: Keys, causal: bool, position: Array | None = None) -> tuple[Queries, Any]:
    o, lse = blockwise.attend(q, k, v, causal, position)
    return o, (q, k, v, lse)


def _blockwise_backward(saved: Any, o: Queries, do: Queries, causal: bool, position: Array | None = None) -> Any:
    q, k, v, lse = saved
    return blockwise.attend_backward(q, k, v, o, lse, do, causal, position)


stored_attention = AttentionCore(_stored, _stored_backward)
"""Keeps the probabilities."""

blockwise_attention = AttentionCore(_blockwise, _blockwise_backward)
"""Keeps the log-sum-exp of each row of S and computes P again in blocks (Dao et al. 2022). Memory is linear in time."""

cudnn_attention = AttentionCore(cudnn.attend, cudnn.attend_backward)
"""The fused kernels of cuDNN, for Q, K, V in bfloat16 or float16 on an NVIDIA GPU. The backward is cuDNN's."""


def choose(time: int, d: int, dtype: Any) -> AttentionCore:
    """Return the fastest core for Q (…, time, d) on the device that JAX computes on."""
    if time < LONG:
        return stored_attention
    return cudnn_attention if cudnn.is_available(d, dtype) else blockwise_attention


def own(time: int) -> AttentionCore:
    """Return the core for a piece of a sequence, whose forward and backward take its position too."""
    return stored_attention if time < LONG else blockwise_attention
