"""Transformers, made of attention, normalization and dense layers with `serial` and `residual`."""

import math
from collections.abc import Callable

from fnn import checks
from fnn.init import Initializer, lecun_normal, normal
from fnn.layers.activations import identity
from fnn.layers.attention import AttentionCore, attention
from fnn.layers.combinators import residual, serial
from fnn.layers.dense import dense
from fnn.layers.dropout import dropout as dropout_layer
from fnn.layers.gelu import gelu_tanh
from fnn.layers.normalization import layer_norm
from fnn.layers.positions import learned_positions
from fnn.layers.tied_embedding import tied_embedding
from fnn.types import Layer

Norm = Callable[[int], Layer]
"""n -> a layer that normalizes n features, such as `fnn.layer_norm`"""


def transformer_block(
    d: int,
    heads: int,
    causal: bool = True,
    rotary: bool = False,
    kv_heads: int | None = None,
    length: int | None = None,
    *,
    dropout: float = 0.0,
    norm: Norm = layer_norm,
    feed_forward: Layer | None = None,
    w_init: Initializer = lecun_normal,
    out_init: Initializer | None = None,
    core: AttentionCore | None = None,
) -> Layer:
    """A block of a transformer (Vaswani et al. 2017).

    The normalization comes first (Xiong et al. 2020):

    a = x + dropout(attention(norm(x))), y = a + dropout(f(norm(a))), f = dense(4 d, d) ∘ gelu ∘ dense(d, 4 d)

    It is built of the layers of this library, so its backward is theirs.

    Args:
      d: number of features, the size of the last axis of x and y.
      heads, causal, rotary, kv_heads: see `fnn.attention`.
      length: the largest number of positions, for sequences that are read in pieces; see `fnn.attention`. Each piece
        is compared with all `length` keys, so choose it no larger than needed.
      dropout: the rate of `fnn.dropout` after the attention and after f.
      norm: a function n -> Layer, such as `fnn.rms_norm`.
      feed_forward: f, for example `fnn.swiglu(d, 8 * d // 3)`. None: the two dense layers with `fnn.gelu_tanh`.
      w_init: initialiser of the weights.
      out_init: initialiser of the last matrix of the attention and of f; `w_init` if None.
      core: see `fnn.attention`.

    Returns:
      A `serial` of two `residual`s. x and y have shape (batch, time, d).

    Raises:
      ValueError: if an argument is invalid.

    >>> import jax, jax.numpy as jnp
    >>> block = transformer_block(8, heads=2)
    >>> block.forward(block.init(jax.random.key(0)), jnp.ones((5, 7, 8)))[0].shape
    (5, 7, 8)
    """
    d, rate = checks.positive_int("transformer_block", "d", d), checks.fraction("transformer_block", "dropout", dropout)
    out = w_init if out_init is None else out_init
    if feed_forward is None:
        feed_forward = serial(dense(d, 4 * d, w_init), gelu_tanh, dense(4 * d, d, out))
    feed_forward = checks.layer("transformer_block", "feed_forward", feed_forward)
    attend = attention(d, heads, causal, rotary, kv_heads, length, w_init=w_init, out_init=out, core=core)
    drop = (dropout_layer(rate),) if rate else ()
    # one serial for each branch: the layers of f are not nested in it
    inner = feed_forward.layers if feed_forward.combinator is serial else (feed_forward,)
    return serial(residual(serial(norm(d), attend, *drop)), residual(serial(norm(d), *inner, *drop)))


def gpt(
    vocabulary: int,
    length: int,
    layers: int,
    heads: int,
    d: int,
    rotary: bool = False,
    kv_heads: int | None = None,
    *,
    dropout: float = 0.0,
    norm: Norm = layer_norm,
    feed_forward: Layer | None = None,
    core: AttentionCore | None = None,
) -> Layer:
    """A language model of the kind of GPT-2 (Radford et al. 2019).

    It gives the logits of the next id at each position:

    h_0 = dropout(rows x of W + positions), h_l = block_l(h_{l-1}), z = norm(h_L) Wᵀ

    The output matrix is that of the embedding (`fnn.tied_embedding`). Weights are drawn from N(0, 0.02²); those that
    write to the residual stream, the last matrix of each branch, from N(0, 0.02² / (2 layers)).

    Args:
      vocabulary: number of ids.
      length: the largest number of positions. If a sequence is read in pieces, each piece (such as a prompt of
        `fnn.sample`) is compared with all `length` keys, so choose it no larger than needed.
      layers: number of blocks.
      heads, kv_heads: see `fnn.attention`.
      d: number of features.
      rotary: rotate keys and queries in place of learned positions.
      dropout: the rate of `fnn.dropout`, after the positions and in the blocks.
      norm, feed_forward, core: see `fnn.transformer_block`.

    Returns:
      A Layer from ids x (batch, time) of at most `length` positions to logits z (batch, time, vocabulary). It reads a
      sequence in pieces too (see `fnn.Stream`): its memory is the keys and values of all positions so far.

    Raises:
      ValueError: if an argument is invalid.

    >>> import jax, jax.numpy as jnp
    >>> network = gpt(65, length=64, layers=2, heads=2, d=8)
    >>> network.forward(network.init(jax.random.key(0)), jnp.zeros((5, 7), jnp.int32))[0].shape
    (5, 7, 65)
    """
    layers, length = checks.positive_int("gpt", "layers", layers), checks.positive_int("gpt", "length", length)
    rate = checks.fraction("gpt", "dropout", dropout)
    w_init, out_init = normal(0.02), normal(0.02 / math.sqrt(2 * layers))
    block = transformer_block(
        d,
        heads,
        True,
        rotary,
        kv_heads,
        length,
        dropout=rate,
        norm=norm,
        feed_forward=feed_forward,
        w_init=w_init,
        out_init=out_init,
        core=core,
    )
    first = [identity if rotary else learned_positions(length, d, w_init)] + [dropout_layer(rate)] * (rate > 0)
    return tied_embedding(vocabulary, d, serial(*first, *[block] * layers, norm(d)), w_init)
