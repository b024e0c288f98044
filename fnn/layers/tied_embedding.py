"""Embeddings that are the output matrix, too. The backward is under its forward."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.checks import protocol
from fnn.dtypes import wide, widest
from fnn.init import Initializer, normal
from fnn.layers.combinators import calibrated, split_key
from fnn.layers.embedding import Embedding, embedding
from fnn.layers.matmul import weight_gradient
from fnn.split_params import gathered, passes_params, split_like
from fnn.types import Layer, Params, PRNGKey, Residuals, Stream

_small_normal = normal(0.02)


class TiedEmbedding(NamedTuple):
    """The parameters of `tied_embedding`: W, with one row for each id, and those of the layer between."""

    w: Float[Array, "n d"]
    layer: Params


def tied_embedding(n: int, d: int, layer: Layer, w_init: Initializer = _small_normal) -> Layer:
    """An embedding whose matrix also computes the outputs (Press and Wolf 2017).

    Z = H Wᵀ, H = f(E), E = rows x of W

    dH = dZ W, dE = dH ∂f/∂E, dW = dZᵀ H + Σ_{t: x_t = k} dE_t in row k

    Z has the logits of n ids at each position: train it with `fnn.softmax_cross_entropy`.

    Args:
      n: number of ids, the size of the vocabulary.
      d: number of features of each id.
      layer: f, from (batch, time, d) to (batch, time, d), such as a `serial` of `transformer_block`s.
      w_init: initialiser of W.

    Returns:
      A Layer with parameters `TiedEmbedding(w, layer)`, from ids x (batch, time) to logits z (batch, time, n).

    Raises:
      ValueError: if a size is not positive, a parameter has another shape, an id is out of range, or f changes the
        number of features.
      TypeError: if x is not an array of integers.

    >>> import jax
    >>> from fnn.layers.recurrent import lstm
    >>> network = tied_embedding(65, 8, lstm(8, 8))
    >>> network.forward(network.init(jax.random.key(0)), jnp.ones((5, 7), jnp.int32))[0].shape
    (5, 7, 65)
    """
    n, d = checks.positive_int("tied_embedding", "n", n), checks.positive_int("tied_embedding", "d", d)
    layer = checks.layer("tied_embedding", "layer", layer)
    lookup = embedding(n, d, w_init)

    def init(key: PRNGKey) -> TiedEmbedding:
        w_key, layer_key = split_key(key, 2)
        return TiedEmbedding(lookup.init(w_key).w, protocol.init("tied_embedding", "layer", layer, layer_key))

    def whole(params: TiedEmbedding) -> TiedEmbedding:
        """The parameters with all of W, if it is split over devices."""
        w, inner = checks.fields("tied_embedding", params, TiedEmbedding)
        return TiedEmbedding(gathered(w), inner)

    def embed(params: TiedEmbedding, x: Array) -> tuple[Array, Residuals]:
        checks.fields("tied_embedding", params, TiedEmbedding, w=(n, d))
        return lookup.forward(Embedding(params.w), x)

    def project(params: TiedEmbedding, h: Array) -> Array:
        """Z = H Wᵀ"""
        if h.ndim < 2 or h.shape[-1] != d:
            raise checks.fail("tied_embedding", "the layer's output", f"of shape (batch, ..., {d})", h)
        dtype = widest(h, params.w)
        return h.astype(dtype) @ params.w.astype(dtype).T

    def forward(params: TiedEmbedding, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """Z = H Wᵀ, H = f(E), E = rows x of W"""
        params = whole(params)
        e, ids = embed(params, x)
        h, r = protocol.forward("tied_embedding", "layer", layer, params.layer, e, key)
        return project(params, h), (ids, r, h)

    def backward(params: TiedEmbedding, residuals: Residuals, dz: Array) -> tuple[TiedEmbedding, Any]:
        """dH = dZ W, dE = dH ∂f/∂E, dW = dZᵀ H + Σ_{t: x_t = k} dE_t in row k"""
        ids, r, h = residuals
        given, params = params.w, whole(params)
        dh = (dz @ params.w.astype(dz.dtype)).astype(h.dtype)
        dlayer, de = protocol.backward("tied_embedding", "layer", layer, params.layer, r, dh)
        rows, dx = lookup.backward(Embedding(params.w), ids, de)
        dtype = wide(params.w)
        dw = weight_gradient(dz, h, jnp.zeros_like(params.w, dtype)) + rows.w.astype(dtype)
        return TiedEmbedding(split_like(dw.astype(params.w.dtype), given), dlayer), dx

    def calibrate(params: TiedEmbedding, x: Array) -> tuple[TiedEmbedding, Array]:
        gathered_params = whole(params)
        p, h = calibrated(layer, params.layer, embed(gathered_params, x)[0])
        return params._replace(layer=p), project(gathered_params, h)

    return passes_params(
        Layer(
            init,
            forward,
            backward,
            calibrate if layer.calibrate else None,
            name=f"tied_embedding({n}, {d})",
            layers=(layer,),
            combinator=tied_embedding,
            stream=_stream(layer.stream, embed, project),
            vocabulary=n,
        )
    )


def _stream(inner: Stream | None, embed: Any, project: Any) -> Stream | None:
    """Return the stream of f between the embedding and the output, which act on each position alone."""
    if inner is None:
        return None

    def start(params: TiedEmbedding, batch: int) -> Any:
        return inner.start(checks.fields("tied_embedding", params, TiedEmbedding).layer, batch)

    def advance(
        params: TiedEmbedding, memory: Any, x: Array, key: PRNGKey | None = None
    ) -> tuple[Array, Residuals, Any]:
        e, ids = embed(params, x)
        h, r, memory = inner.advance(params.layer, memory, e, key)
        return project(params, h), (ids, r, h), memory

    return Stream(start, advance)
