"""Activation functions, each with its derivative under it.

z is the input of an activation and a its output, of any shape; dz and da are gradients of the cost with respect to
them. Each forward keeps as residuals what is cheapest for its backward: the probabilities of softmax, a mask of ReLU.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fnn import checks
from fnn.dtypes import widened
from fnn.layers.streams import per_position
from fnn.types import Layer, Residuals

Floats = Float[Array, "..."]


def parameterless(
    name: str, forward: Callable[[Floats], tuple[Floats, Residuals]], backward: Callable[[Residuals, Floats], Floats]
) -> Layer:
    """Make a Layer without parameters of a forward and a backward function."""

    def layer_forward(params, x, key=None):
        checks.no_params(name, params)
        return forward(checks.floating(name, "x", x))

    def layer_backward(params, residuals, dy):
        return (), backward(residuals, dy)

    return Layer(lambda key: (), layer_forward, layer_backward, name=name)


def activation(name: str, forward: Callable, backward: Callable) -> Layer:
    """Make a layer of functions as `parameterless` does, one that acts on each position of a sequence alone."""
    return per_position(parameterless(name, forward, backward))


def elementwise(f: Callable[[Floats], Floats], df: Callable[[Floats], Floats]) -> Layer:
    """Make an activation of a function and its derivative: a = f(z), dz = da ∘ f'(z).

    To check the derivative, compare the layer with `fnn.autodiff(layer)`, or call `fnn.gradcheck.check_layer`.

    Args:
      f: the activation, a function of an array that keeps its shape and dtype.
      df: the derivative f', likewise.

    Returns:
      A Layer without parameters. x and y have any shape.

    Raises:
      TypeError: if `f` or `df` is not a function.
      ValueError: in the forward or backward pass, if the function changes the shape or dtype.

    >>> sine = elementwise(jnp.sin, jnp.cos)
    >>> a, residuals = sine.forward((), jnp.zeros((1, 2)))
    >>> sine.backward((), residuals, jnp.ones((1, 2)))[1]
    Array([[1., 1.]], dtype=float32)
    """
    for argument, function in (("f", f), ("df", df)):
        if not callable(function):
            raise checks.fail("elementwise", argument, "a function of an array", function, TypeError)

    def same_shape(argument: str, value: Floats, z: Floats) -> Floats:
        if value.shape != z.shape or value.dtype != z.dtype:
            expected = f"a function that keeps shape and dtype ({checks.describe(z)})"
            raise checks.fail("elementwise", argument, expected, value)
        return value

    def forward(z: Floats) -> tuple[Floats, Floats]:
        return same_shape("f", f(z), z), z

    def backward(z: Floats, da: Floats) -> Floats:
        return da * same_shape("df", df(z), z)

    return activation(f"elementwise({getattr(f, '__name__', 'f')})", forward, backward)


def _identity(z: Floats) -> tuple[Floats, None]:
    """a = z"""
    return z, None


def _identity_backward(_: None, da: Floats) -> Floats:
    """dz = da"""
    return da


identity = activation("identity", _identity, _identity_backward)
"""The identity: a = z, dz = da."""


def _sigmoid(z: Floats) -> tuple[Floats, Floats]:
    """a = σ(z) = 1 / (1 + e^-z)"""
    a = jax.nn.sigmoid(z)
    return a, a


def _sigmoid_backward(a: Floats, da: Floats) -> Floats:
    """dz = da ∘ a (1 - a)"""
    return da * (a * (1 - a))


sigmoid = activation("sigmoid", _sigmoid, _sigmoid_backward)
"""The logistic function: a = σ(z) = 1 / (1 + e^-z), dz = da ∘ a (1 - a)."""


def _tanh(z: Floats) -> tuple[Floats, Floats]:
    """a = tanh(z) = (e^z - e^-z) / (e^z + e^-z) = 2 σ(2z) - 1"""
    a = jnp.tanh(z)
    return a, a


def _tanh_backward(a: Floats, da: Floats) -> Floats:
    """dz = da ∘ (1 - a²)"""
    return da * (1 - a * a)


tanh = activation("tanh", _tanh, _tanh_backward)
"""The hyperbolic tangent: a = tanh(z), dz = da ∘ (1 - a²). See LeCun et al. (1998)."""


def _relu(z: Floats) -> tuple[Floats, Bool[Array, "..."]]:
    """a = max(0, z)"""
    a = jax.nn.relu(z)
    # On accelerators the mask depends on a alone, so that XLA computes a inside the matrix product before it; it would
    # rewrite a > 0 to z > 0 (jax 0.10, GPU). NaN is the one number that differs from itself.
    of_output = lambda z, a: (a != 0) & (a == a)
    return a, jax.lax.platform_dependent(z, a, cpu=lambda z, a: z > 0, default=of_output)


def _relu_backward(positive: Bool[Array, "..."], da: Floats) -> Floats:
    """dz = da where z > 0, else 0 (also at z = 0, where there is no derivative)"""
    return jnp.where(positive, da, 0)


relu = activation("relu", _relu, _relu_backward)
"""The rectified linear unit: a = max(0, z), dz = da where z > 0, else 0. See Nair and Hinton (2010)."""


def leaky_relu(slope: float = 0.01) -> Layer:
    """The leaky ReLU, with a small slope for negative inputs (Maas et al. 2013).

    a = z where z > 0, else slope·z; dz = da where z > 0, else slope·da

    Args:
      slope: the slope where z <= 0; may be traced.

    Returns:
      A Layer without parameters. x and y have any shape.

    >>> leaky_relu(0.1).forward((), jnp.array([-1.0, 2.0]))[0]
    Array([-0.1,  2. ], dtype=float32)
    """
    checks.number("leaky_relu", "slope", slope)

    def forward(z: Floats) -> tuple[Floats, Bool[Array, "..."]]:
        positive = z > 0
        return jnp.where(positive, z, jnp.asarray(slope, z.dtype) * z), positive

    def backward(positive: Bool[Array, "..."], da: Floats) -> Floats:
        return jnp.where(positive, da, jnp.asarray(slope, da.dtype) * da)

    return activation(f"leaky_relu({slope})", forward, backward)


def _softplus(z: Floats) -> tuple[Floats, Floats]:
    """a = ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|)"""
    e = jnp.exp(-jnp.maximum(z, -z))  # |z| by jnp.abs would have the derivative 1 at 0 under autodiff
    return jnp.maximum(z, 0) + jnp.log1p(e), jnp.where(z >= 0, 1, e) / (1 + e)


def _softplus_backward(s: Floats, da: Floats) -> Floats:
    """dz = da ∘ σ(z)"""
    return da * s


softplus = activation("softplus", _softplus, _softplus_backward)
"""A smooth ReLU: a = ln(1 + e^z), dz = da ∘ σ(z). See Dugas et al. (2001)."""


def _silu(z: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """a = z σ(z)"""
    s = jax.nn.sigmoid(z)
    return z * s, (z, s)


def _silu_backward(residuals: tuple[Floats, Floats], da: Floats) -> Floats:
    """dz = da ∘ σ(z) (1 + z (1 - σ(z)))"""
    z, s = residuals
    return da * (s * (1 + z * (1 - s)))


silu = activation("silu", _silu, _silu_backward)
"""SiLU, also called swish: a = z σ(z). See Hendrycks and Gimpel (2016), Ramachandran et al. (2017)."""


def _softmax(z: Floats) -> tuple[Floats, Floats]:
    """a_k = e^z_k / Σ_j e^z_j over the last axis"""
    a = jax.nn.softmax(widened(z), axis=-1).astype(z.dtype)  # a sum of 65,505 ones is infinite in float16
    return a, a


def _softmax_backward(a: Floats, da: Floats) -> Floats:
    """dz = a ∘ (da - Σ_j da_j a_j)"""
    dtype, a, da = da.dtype, widened(a), widened(da)
    return (a * (da - jnp.sum(da * a, axis=-1, keepdims=True))).astype(dtype)


softmax = per_position(parameterless("softmax", _softmax, _softmax_backward), features=True)
"""Softmax over the last axis: a_k = e^z_k / Σ_j e^z_j, dz = a ∘ (da - Σ_j da_j a_j). See Bridle (1990).

To train a classifier, end the network in logits and use `softmax_cross_entropy`, which is more accurate.
"""
