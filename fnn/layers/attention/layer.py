"""Multi-head attention. Its backward is under its forward."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import wide, widest
from fnn.init import Initializer, lecun_normal
from fnn.layers.attention.cache import AttentionMemory, positions_of, read, write
from fnn.layers.attention.core import (
    AttentionCore,
    check_backward,
    check_forward,
    choose,
    choose_for_piece,
    that_saved,
)
from fnn.layers.attention.rotary import angles, rotate, rotate_backward
from fnn.layers.matmul import weight_gradient
from fnn.layers.streams import sharded_like
from fnn.types import Layer, PRNGKey, Residuals, Stream


class Attention(NamedTuple):
    """The parameters of `attention`, with the columns of Q, K, V side by side. The biases may be None."""

    w_qkv: Float[Array, "d qkv"]
    w_o: Float[Array, "q d"]
    b_qkv: Float[Array, " qkv"] | None = None
    b_o: Float[Array, " d"] | None = None


def attention(
    d: int,
    heads: int,
    causal: bool = True,
    rotary: bool = False,
    kv_heads: int | None = None,
    length: int | None = None,
    bias: bool = True,
    w_init: Initializer = lecun_normal,
    out_init: Initializer | None = None,
    core: AttentionCore | None = None,
) -> Layer:
    r"""Multi-head self-attention (Vaswani et al. 2017).

    [Q, K, V] = X W_qkv + b_qkv, each cut into heads of d_h = d / heads columns; for each head

    S = Q Kᵀ / √d_h, -∞ where s > t if causal; P = softmax(S) over s; O = P V; Y = O W_o + b_o with all heads in O

    dO = dY W_oᵀ, D = rowsum(dO ∘ O), dV = Pᵀ dO, dS = P ∘ (dO Vᵀ - D), dQ = dS K / √d_h, dK = dSᵀ Q / √d_h

    dW_o = Oᵀ dY, db_o = Σ dY, dW_qkv = Xᵀ [dQ, dK, dV], db_qkv = Σ [dQ, dK, dV], dX = [dQ, dK, dV] W_qkvᵀ

    Up to 127 positions it keeps P for the backward pass. For longer sequences it keeps the log-sum-exp of each row of
    S and computes P again in blocks, so that its memory is linear in time (Dao et al. 2022), and it skips most scores
    past the diagonal. On NVIDIA GPUs, long sequences in bfloat16 or float16 use the fused kernels of cuDNN. Softmax and
    D are computed in float32 at least.

    Args:
      d: number of features, the size of the last axis of x and y.
      heads: number of heads; it divides d.
      causal: whether position t sees only positions s <= t. If False, each position sees all of them.
      rotary: rotate the columns i and i + d_h/2 of Q and K at position t by the angle t 10000^(-2i/d_h), so that S
        depends on t - s (Su et al. 2021). Its gradient is rotated back.
      kv_heads: number of heads of K and V, which divides `heads`. Each is shared by a group of heads / kv_heads heads
        (Ainslie et al. 2023). None: as many as heads.
      length: the largest number of positions, for sequences that are read in pieces (see `fnn.Stream`): keys and
        values of that many positions are remembered. Each piece is compared with all `length` keys, so choose it no
        larger than needed. Without it, or if not causal, the layer has no stream.
      bias: whether there are biases.
      w_init: initialiser of W_qkv.
      out_init: initialiser of W_o; `w_init` if None.
      core: how O and dQ, dK, dV are computed, for example `fnn.blockwise_attention` or a kernel of your own. None: what
        is fastest for the shape, the dtype and the device. Sequences that are read in pieces do not use it.

    Returns:
      A Layer with parameters `Attention(w_qkv, w_o, b_qkv, b_o)`; W_qkv is (d, (heads + 2 kv_heads) d_h). x and y have
      shape (batch, time, d). Its memory is K, V and the number of positions read, which is the same for all sequences
      of the batch. The output at positions from `length` on is NaN.

    Raises:
      ValueError: if a size is invalid, x or a parameter has another shape, or x has more than `length` positions.

    >>> layer = attention(8, heads=2)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 7, 8)))[0].shape
    (5, 7, 8)
    """
    d, heads = checks.positive_int("attention", "d", d), checks.positive_int("attention", "heads", heads)
    groups = heads if kv_heads is None else checks.positive_int("attention", "kv_heads", kv_heads)
    capacity = None if length is None else checks.positive_int("attention", "length", length)
    for name, flag in {"causal": causal, "rotary": rotary, "bias": bias}.items():
        if not isinstance(flag, bool):
            raise checks.fail("attention", name, "True or False", flag, TypeError)
    if core is not None and not isinstance(core, AttentionCore):
        raise checks.fail("attention", "core", "an AttentionCore or None", core, TypeError)
    if d % heads:
        raise checks.fail("attention", "heads", f"a divisor of d = {d}", heads)
    if heads % groups:
        raise checks.fail("attention", "kv_heads", f"a divisor of heads = {heads}", kv_heads)
    d_head = d // heads
    if rotary and d_head % 2:
        raise checks.fail("attention", "heads", "such that d / heads is even, for rotary positions", heads)
    columns = d + 2 * groups * d_head
    shapes: dict[str, tuple[int, ...]] = {"w_qkv": (d, columns), "w_o": (d, d)}
    shapes |= {"b_qkv": (columns,), "b_o": (d,)} if bias else {}
    w_o_init = w_init if out_init is None else out_init

    def init(key: PRNGKey) -> Attention:
        qkv_key, o_key = jax.random.split(key)
        w_qkv, w_o = w_init(qkv_key, (d, columns)), w_o_init(o_key, (d, d))
        return Attention(w_qkv, w_o, *([jnp.zeros(columns, w_qkv.dtype), jnp.zeros(d, w_o.dtype)] if bias else []))

    def check(params: Attention, x: Array) -> tuple[Attention, Array]:
        params = checks.fields("attention", params, Attention, **shapes)
        x = checks.shaped("attention", "x", x, ("batch", "time", d))
        most = "" if capacity is None else f" and at most {capacity}"
        if x.shape[1] < 1 or x.shape[1] > (capacity or x.shape[1]):
            raise checks.fail("attention", "x", f"of at least one{most} positions", x)
        return params, x

    def start(params: Attention, batch: int) -> AttentionMemory:
        """No position is read yet. K and V are two buffers, so that the memory can be donated."""
        checks.fields("attention", params, Attention)
        k, v = (jnp.zeros((batch, groups, capacity or 0, d_head), params.w_qkv.dtype) for _ in range(2))
        return AttentionMemory(k, v, jnp.zeros((), jnp.int32))

    def remembered(memory: AttentionMemory, x: Array) -> AttentionMemory:
        shape = (x.shape[0], groups, capacity or 0, d_head)
        if not isinstance(memory, AttentionMemory):
            raise checks.fail("attention", "memory", "what start or advance returned", memory, TypeError)
        k, v = (checks.shaped("attention", f"memory.{name}", getattr(memory, name), shape) for name in ("k", "v"))
        return memory._replace(k=sharded_like(k, x), v=sharded_like(v, x))

    def advance(
        params: Attention, memory: AttentionMemory, x: Array, key: PRNGKey | None = None
    ) -> tuple[Array, Residuals, AttentionMemory]:
        """As in `forward`, where the keys and values of earlier positions come from the memory"""
        params, x = check(params, x)
        memory, position = remembered(memory, x), memory.position
        q, new_k, new_v = project(params, x, position, widest(x, memory.k, *jax.tree.leaves(params)))
        k, v = write(memory.k, new_k, position), write(memory.v, new_v, position)
        inside = positions_of(position, x.shape[1]) < k.shape[2]
        o, saved = choose_for_piece(x.shape[1]).forward(q, k.astype(q.dtype), v.astype(q.dtype), causal, position)
        o = jnp.where(inside[None, None, None, :, None], o, jnp.nan)
        y, o = output(params, o)
        return y, (x, o, saved, position), AttentionMemory(k, v, position + x.shape[1])

    def forward(params: Attention, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """S = Q Kᵀ / √d_h, P = softmax(S), O = P V, Y = O W_o + b_o"""
        params, x = check(params, x)
        q, k, v = project(params, x, None, widest(x, *jax.tree.leaves(params)))
        used = choose(x.shape[1], d_head, q.dtype) if core is None else core
        o, saved = check_forward(used.forward(q, k, v, causal), q)
        y, o = output(params, o)
        return y, (x, o, saved, None)

    def backward(params: Attention, residuals: Residuals, dy: Array) -> tuple[Attention, Array]:
        """dO = dY W_oᵀ, dQ, dK, dV as above, dX = [dQ, dK, dV] W_qkvᵀ"""
        x, o, saved, position = residuals
        dw_o, db_o, do = _affine_backward(o, params.w_o, params.b_o, dy)
        o, do = (a.astype(o.dtype).reshape(*x.shape[:2], groups, heads // groups, d_head) for a in (o, do))
        o, do = o.transpose(0, 2, 3, 1, 4), do.transpose(0, 2, 3, 1, 4)
        if position is None:
            gradients = (core or that_saved(saved)).backward(saved, o, do, causal)
            dq, dk, dv = check_backward(gradients, o, (x.shape[0], groups, x.shape[1], d_head))
        else:
            dq, dk, dv = that_saved(saved).backward(saved, o, do, causal, position)
        if position is not None:  # earlier keys and values are constants
            dk, dv = read(dk, x.shape[1], position), read(dv, x.shape[1], position)
        dw_qkv, db_qkv, dx = project_backward(params, x, position, dq, dk, dv, dy.dtype)
        return Attention(dw_qkv, dw_o, db_qkv, db_o), dx

    def project(params: Attention, x: Array, position: Array | None, dtype: Any) -> tuple[Array, Array, Array]:
        """[Q, K, V] = X W_qkv + b_qkv, Q and K rotated"""
        qkv = _affine(x.astype(dtype), params.w_qkv, params.b_qkv)
        q, k, v = jnp.split(qkv, [d, d + groups * d_head], axis=-1)
        q = q.reshape(*x.shape[:2], groups, heads // groups, d_head).transpose(0, 2, 3, 1, 4)
        k, v = (a.reshape(*x.shape[:2], groups, d_head).transpose(0, 2, 1, 3) for a in (k, v))
        if rotary:
            theta = angles(positions_of(position, x.shape[1]), d_head, q)
            q, k = rotate(q, theta), rotate(k, theta)
        return q, k, v

    def project_backward(
        params: Attention, x: Array, position: Array | None, dq: Array, dk: Array, dv: Array, dtype: Any
    ) -> tuple[Array, Array | None, Array]:
        """dW_qkv = Xᵀ [dQ, dK, dV], db_qkv = Σ [dQ, dK, dV], dX = [dQ, dK, dV] W_qkvᵀ"""
        if rotary:
            theta = angles(positions_of(position, x.shape[1]), d_head, dq)
            dq, dk = rotate_backward(dq, theta), rotate_backward(dk, theta)
        dq = dq.transpose(0, 3, 1, 2, 4).reshape(*x.shape[:2], d)
        dk, dv = (a.transpose(0, 2, 1, 3).reshape(*x.shape[:2], groups * d_head) for a in (dk, dv))
        return _affine_backward(x, params.w_qkv, params.b_qkv, jnp.concatenate([dq, dk, dv], axis=-1).astype(dtype))

    def output(params: Attention, o: Array) -> tuple[Array, Array]:
        """Y = O W_o + b_o; returns Y and O (batch, time, d)"""
        o = o.transpose(0, 3, 1, 2, 4).reshape(o.shape[0], o.shape[3], d)
        return _affine(o, params.w_o, params.b_o), o

    stream = Stream(start, advance) if causal and capacity is not None else None
    return Layer(init, forward, backward, name=f"attention({d}, {heads})", stream=stream)


def _affine(x: Array, w: Array, b: Array | None) -> Array:
    """Z = X W + b"""
    z = x @ w.astype(x.dtype)
    return z if b is None else z + b.astype(x.dtype)[None, None, :]


def _affine_backward(x: Array, w: Array, b: Array | None, dz: Array) -> tuple[Array, Array | None, Array]:
    """dW = Xᵀ dZ, db = Σ dZ, dX = dZ Wᵀ"""
    db = None if b is None else jnp.sum(dz, (0, 1), dtype=wide(widest(dz, b))).astype(b.dtype)
    return weight_gradient(x, dz, w), db, (dz @ w.astype(dz.dtype).T).astype(x.dtype)
