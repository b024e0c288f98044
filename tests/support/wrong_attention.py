"""Attention with a fault planted in the backward pass: {fault: (layer, shape of x, paths of the leaves it makes wrong)}."""

import math

import jax.numpy as jnp

import fnn
from fnn.layers.attention import blockwise, stored
from fnn.layers.attention import layer as module
from tests.support.wrong_recurrent import with_gradient, with_patch

PLAIN = fnn.attention(6, 2)
GROUPS = fnn.attention(8, 4, rotary=True, kv_heads=2)
LONG = fnn.attention(4, 2)
SEQUENCE, WIDE, MANY = (3, 5, 6), (3, 5, 8), (2, 130, 4)
QKV = {"[0].w_qkv", "[0].b_qkv", "[1]"}
right = stored.attend_backward


def with_core(layer, change):
    """Return the layer with another backward of the softmax; `change` takes what it takes."""
    return with_patch(layer, stored, "attend_backward", change)


def without_d(q, k, v, o, p, do):
    """dS = P ∘ dP"""
    return right(q, k, v, jnp.zeros_like(o), p, do)


def without_the_root(q, k, v, o, p, do):
    """dQ = dS K"""
    dq, dk, dv = right(q, k, v, o, p, do)
    return dq * math.sqrt(q.shape[-1]), dk, dv


def other_transposition(q, k, v, o, p, do):
    """dK = dS Q / √d"""
    return right(q, k, v, o, p, do)[0], right(q, k, v, o, jnp.swapaxes(p, 3, 4), do)[1], right(q, k, v, o, p, do)[2]


def values_of_dp(q, k, v, o, p, do):
    """dV = P dO"""
    dq, dk, _ = right(q, k, v, o, p, do)
    return dq, dk, stored.product("bgqtk,bgqkd->bgtd", p, do)


def first_of_a_group(q, k, v, o, p, do):
    """dK, dV of the first head of each group alone"""
    dq, _, _ = right(q, k, v, o, p, do)
    return dq, *right(*(a[:, :, :1] if a.ndim == 5 else a for a in (q, k, v, o, p, do)))[1:]


def groups_interleaved(q, k, v, o, p, do):
    """K and V of head h from group h % kv_heads, not h // (heads / kv_heads)"""
    dq, *_ = right(q, k, v, o, p, do)
    swap = lambda a: a.reshape(a.shape[0], a.shape[2], a.shape[1], *a.shape[3:]).swapaxes(1, 2)
    _, dk, dv = right(*(swap(a) if a.ndim == 5 else a for a in (q, k, v, o, p, do)))
    return dq, dk, dv


def not_rotated(layer):
    return with_patch(layer, module, "rotate_backward", lambda dy, theta: dy)


def rotated_again(layer):
    """The rotation by +θ"""
    return with_patch(layer, module, "rotate_backward", module.rotate)


def without_the_mask(causal, position, first, q, k):
    return None


def last_block_only(layer):
    """dK, dV without the sum over blocks"""
    plus = blockwise.attend_backward

    def change(q, k, v, o, lse, do, causal, position=None):
        dq, *_ = plus(q, k, v, o, lse, do, causal, position)
        at = blockwise.block_length() * (q.shape[3] // blockwise.block_length())
        rows = (slice(None), slice(None), slice(None), slice(at, None))
        _, *last = right(q[rows], k, v, o[rows], jnp.exp(stored.scores(q, k, None) - lse)[rows], do[rows])
        return dq, *last

    return with_patch(layer, blockwise, "attend_backward", change)


WRONG = {
    "missing D": (with_core(PLAIN, without_d), SEQUENCE, QKV),
    "missing 1/√d in dQ": (with_core(PLAIN, without_the_root), SEQUENCE, QKV),
    "dS for its transpose in dK": (with_core(PLAIN, other_transposition), SEQUENCE, QKV),
    "P for its transpose in dV": (with_core(PLAIN, values_of_dp), SEQUENCE, QKV),
    "no rotation back": (not_rotated(GROUPS), WIDE, QKV),
    "rotation by +θ": (rotated_again(GROUPS), WIDE, QKV),
    "dK, dV of one head of a group": (with_core(GROUPS, first_of_a_group), WIDE, QKV),
    "kv_heads summed over the wrong axis": (with_core(GROUPS, groups_interleaved), WIDE, QKV),
    "no bias of the output": (
        with_gradient(PLAIN, lambda d: d._replace(b_o=jnp.zeros_like(d.b_o))),
        SEQUENCE,
        {"[0].b_o"},
    ),
    "long: missing D": (with_core(LONG, without_d), MANY, QKV),
    "long: keys past the diagonal": (with_patch(LONG, blockwise, "visible", without_the_mask), MANY, QKV),
    "long: no sum over blocks": (last_block_only(LONG), MANY, QKV),
}
