"""Softmax attention by the fused kernels of cuDNN, on NVIDIA GPUs. Forward and backward are the library's.

They are those of `jax.nn.dot_product_attention` and its derivative (flash attention, Dao et al. 2022): scores and
probabilities stay inside the kernels, so that neither is written to the memory of the device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layers.attention.stored import Keys, Queries
from fnn.layers.devices import default_device

_LARGEST_HEAD, _COMPUTE_CAPABILITY = 128, (8, 0)  # what cuDNN's flash attention supports on every GPU since Ampere


def is_available(d: int, dtype: Any) -> bool:
    """Return whether the kernels take heads of `d` features of this dtype on the device that JAX computes on.

    Never inside a mesh with Explicit axes.
    """
    if dtype not in (jnp.bfloat16, jnp.float16) or d % 8 or d > _LARGEST_HEAD:
        return False
    return not jax.sharding.get_abstract_mesh().explicit_axes and _on_nvidia_gpu(default_device())


def _on_nvidia_gpu(device: Any) -> bool:
    if device.platform != "gpu" or "cuda" not in device.client.platform_version:
        return False
    return tuple(map(int, device.compute_capability.split("."))) >= _COMPUTE_CAPABILITY


def attend(q: Queries, k: Keys, v: Keys, causal: bool) -> tuple[Queries, Any]:
    """S = Q Kᵀ / √d, P = softmax(S), O = P V; returns O and cuDNN's backward, which holds Q, K, V, O and ℓ"""
    if not is_available(q.shape[-1], q.dtype):
        expected = "cudnn_attention only for bfloat16 or float16, with up to 128 features per head, on an NVIDIA GPU"
        came, advice = f"{q.dtype} {q.shape} on {default_device()}", "Leave `core` out to use what fits the device."
        raise checks.fail("attention", "core", expected, came=came, advice=advice)
    return _differentiable(q, k, v, causal)


def _attend(q: Queries, k: Keys, v: Keys, causal: bool) -> tuple[Queries, Any]:
    batch, groups, queries, time, d = q.shape
    heads = lambda a: a.reshape(batch, -1, *a.shape[-2:]).swapaxes(1, 2)  # (batch, time, heads, d)

    def fused(q: Queries, k: Keys, v: Keys) -> Queries:
        with jax.numpy_dtype_promotion("standard"):
            o = jax.nn.dot_product_attention(heads(q), heads(k), heads(v), is_causal=causal, implementation="cudnn")
        return o.swapaxes(1, 2).reshape(batch, groups, queries, time, d)

    return jax.vjp(fused, q, k, v)


def attend_backward(pullback: Callable, o: Queries, do: Queries, causal: bool) -> tuple[Queries, Keys, Keys]:
    """dQ, dK, dV as in `stored.attend_backward`"""
    return pullback(do)


def _rule_forward(q: Queries, k: Keys, v: Keys, causal: bool) -> tuple[tuple[Queries, Any], Any]:
    o, pullback = _attend(q, k, v, causal)
    return (o, pullback), pullback


def _rule_backward(causal: bool, pullback: Callable, cotangents: tuple[Queries, Any]) -> tuple[Queries, Keys, Keys]:
    return pullback(cotangents[0])


_differentiable: Any = jax.custom_vjp(_attend, nondiff_argnums=(3,))
"""JAX cannot differentiate a function that calls `jax.vjp` of these kernels, so the derivative of O is a rule, too."""
_differentiable.defvjp(_rule_forward, _rule_backward)
