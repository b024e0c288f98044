"""GELU and its approximation. Each backward is under its forward."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn.dtypes import widened
from fnn.layers.activations import activation
from fnn.layers.matmul import rounded

Floats = Float[Array, "..."]

_ROOT_HALF = math.sqrt(0.5)


def _gelu(z: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """a = z Φ(z), Φ the standard normal distribution function"""
    phi = 0.5 * jax.lax.erfc(z * -_ROOT_HALF)
    return z * phi, (z, phi)


def _gelu_backward(residuals: tuple[Floats, Floats], da: Floats) -> Floats:
    """dz = da ∘ (Φ(z) + z e^(-z²/2) / √2π)"""
    z, phi = residuals
    u = z * -_ROOT_HALF  # in this form XLA computes e^(-u²) once, for erfc and here
    return da * (phi + z * (jnp.exp(-(u * u)) * (1 / math.sqrt(2 * math.pi))))


gelu = activation("gelu", _gelu, _gelu_backward)
"""GELU: a = z Φ(z), dz = da ∘ (Φ(z) + z Φ'(z)). See Hendrycks and Gimpel (2016)."""

_C = math.sqrt(2 / math.pi)


def _t(z: Floats) -> Floats:
    """t = tanh(√(2/π) (z + 0.044715 z³))"""
    return jnp.tanh(z * (_C + (0.044715 * _C) * (z * z)))


def _gelu_tanh(z: Floats) -> tuple[Floats, tuple[Floats, Floats | None]]:
    """a = z/2 (1 + t)

    For a narrow z, t is not saved: accelerators compute it again in less time than they need to read it.
    """
    wide = widened(z)  # z² overflows in float16 above 255
    t = _t(wide)
    return (wide * (0.5 + 0.5 * t)).astype(z.dtype), (z, t if wide.dtype == z.dtype else None)


def _gelu_tanh_backward(residuals: tuple[Floats, Floats | None], da: Floats) -> Floats:
    """dz = da ∘ ((1 + t)/2 + z/2 (1 - t²) √(2/π) (1 + 3·0.044715 z²))"""
    dtype, (z, t) = da.dtype, residuals
    z = widened(z if t is not None else jax.lax.optimization_barrier(z))  # else XLA would save the t of the forward
    t, da = _t(z) if t is None else t, widened(da)
    dz = (da * (0.5 + 0.5 * t + z * ((1 - t * t) * (0.5 * _C + (1.5 * 0.044715 * _C) * (z * z))))).astype(dtype)
    return dz if dtype == z.dtype else rounded(dz)


gelu_tanh = activation("gelu_tanh", _gelu_tanh, _gelu_tanh_backward)
"""The tanh approximation of GELU: a = z/2 (1 + tanh(√(2/π) (z + 0.044715 z³))). See Hendrycks and Gimpel (2016)."""
