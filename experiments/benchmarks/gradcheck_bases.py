"""Functions with correct hand-written backwards: elementwise, dense, convolutional, whole networks.

The arguments are float32 NumPy arrays, which each tool casts as it needs.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Base(NamedTuple):
    """A function with arguments and its correct backward: backward(args, ȳ) -> a gradient per argument."""

    name: str
    kind: str
    fun: Callable
    backward: Callable
    args: tuple
    marks: dict[str, tuple[int, ...]]
    """For the path of each leaf, the index of the element that mutations change; its first number is the row."""


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def silu() -> Base:
    """y = x σ(x), dx = ȳ (σ + y (1 - σ))."""

    def backward(args, ct):
        s = jax.nn.sigmoid(args[0])
        return (ct * (s + args[0] * s * (1 - s)),)

    return Base("silu", "elementwise", lambda x: x * jax.nn.sigmoid(x), backward, (_normal(1, 8, 8),), {"": (3, 5)})


def product() -> Base:
    """y = x sin(z), dx = ȳ sin(z), dz = ȳ x cos(z)."""

    def backward(args, ct):
        x, z = args
        return ct * jnp.sin(z), ct * x * jnp.cos(z)

    args = (_normal(2, 6, 6), _normal(3, 6, 6))
    return Base("product", "elementwise", lambda x, z: x * jnp.sin(z), backward, args, {"[0]": (2, 4), "[1]": (5, 1)})


def normalize() -> Base:
    """y = x/‖x‖, dx = (ȳ - y ⟨y, ȳ⟩)/‖x‖."""

    def fun(x):
        return x / jnp.sqrt(jnp.sum(x * x))

    def backward(args, ct):
        (x,) = args
        y = fun(x)
        return ((ct - y * jnp.sum(y * ct)) / jnp.sqrt(jnp.sum(x * x)),)

    x = np.random.RandomState(0).randn(64).astype(np.float32)
    return Base("normalize", "elementwise", fun, backward, (x,), {"": (10,)})


def affine(p, x):
    """Return X W + b."""
    return x @ p["w"] + p["b"][None]


def dense() -> Base:
    """Y = X W + b, dW = Xᵀ Ȳ, db = Σ ȳ, dX = Ȳ Wᵀ."""

    def backward(args, dy):
        p, x = args
        return {"b": dy.sum(0), "w": x.T @ dy}, dy @ p["w"].T

    args = ({"b": _normal(4, 7), "w": _normal(5, 7, 7)}, _normal(6, 5, 7))
    return Base("dense", "dense", affine, backward, args, {"[0]['b']": (2,), "[0]['w']": (3, 1), "[1]": (4, 2)})


def convolve(x, w):
    """Convolve without padding; inputs are NHWC, kernels HWIO."""
    return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _patches(x, k: int):
    h, w = x.shape[1] - k + 1, x.shape[2] - k + 1
    return jnp.stack([x[:, i : i + h, j : j + w] for i in range(k) for j in range(k)], 3)


def _convolve_backward(x, w, dy):
    k = w.shape[0]
    dw = jnp.einsum("nhwpc,nhwo->pco", _patches(x, k), dy).reshape(w.shape)
    padded = jnp.pad(dy, ((0, 0), (k - 1, k - 1), (k - 1, k - 1), (0, 0)))
    dx = jnp.einsum("nhwpo,pco->nhwc", _patches(padded, k), w[::-1, ::-1].reshape(k * k, *w.shape[2:]))
    return dw, dx


def conv() -> Base:
    """Y = X * W + b. dW uses patches of X, and dX is the full correlation of Ȳ with the flipped kernel."""

    def fun(p, x):
        return convolve(x, p["w"]) + p["b"][None, None, None]

    def backward(args, dy):
        p, x = args
        dw, dx = _convolve_backward(x, p["w"], dy)
        return {"b": dy.sum((0, 1, 2)), "w": dw}, dx

    args = ({"b": _normal(7, 3), "w": _normal(8, 3, 3, 2, 3)}, _normal(9, 4, 6, 6, 2))
    return Base("conv", "conv", fun, backward, args, {"[0]['b']": (1,), "[0]['w']": (1, 2, 0, 1), "[1]": (2, 3, 4, 1)})


def mlp(sizes: tuple[int, ...] = (6, 8, 8, 4), batch: int = 5, seed: int = 10) -> Base:
    """A ReLU network: Z = A W + b, A = max(Z, 0); dZ = dA [Z > 0], dW = Aᵀ dZ, db = Σ dz, dA = dZ Wᵀ."""
    names = [f"l{i}" for i in range(len(sizes) - 1)]

    def forward(p, x):
        states = [x]
        for name in names:
            z = affine(p[name], states[-1])
            states.append(z if name == names[-1] else jax.nn.relu(z))
        return states

    def backward(args, dy):
        p, x = args
        states, grads = forward(p, x), {}
        for i in reversed(range(len(names))):
            dz = dy if i == len(names) - 1 else jnp.where(states[i + 1] > 0, dy, jnp.zeros_like(dy))
            grads[names[i]] = {"b": dz.sum(0), "w": states[i].T @ dz}
            dy = dz @ p[names[i]]["w"].T
        return grads, dy

    params = {}
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        w = _normal(seed + 2 * i, n, m) * np.float32(np.sqrt(2 / n))
        params[f"l{i}"] = {"b": 0.1 * _normal(seed + 2 * i + 1, m), "w": w}
    index = {"[0]['l1']['b']": (3,), "[0]['l1']['w']": (3, 3), "[0]['l0']['w']": (2, 5)}
    args = (params, _normal(seed + 20, batch, sizes[0]))
    return Base("mlp", "network", lambda p, x: forward(p, x)[-1], backward, args, index)


def convnet() -> Base:
    """A convolution, tanh, a dense layer and the mean softmax cross-entropy. The integer labels have no gradient."""
    filters = conv()
    labels = np.array([0, 2, 1, 2], np.int32)

    def logits(p, x):
        h = jnp.tanh(filters.fun(p["conv"], x))
        return h, affine(p["out"], h.reshape(len(x), -1))

    def fun(p, x, labels):
        z = jax.nn.log_softmax(logits(p, x)[1])
        return -jnp.mean(jnp.take_along_axis(z, labels[:, None], 1))

    def backward(args, ct):
        p, x, labels = args
        h, z = logits(p, x)
        dz = ct * (jax.nn.softmax(z) - jax.nn.one_hot(labels, 3, dtype=z.dtype)) / len(x)
        flat = h.reshape(len(x), -1)
        dh = (dz @ p["out"]["w"].T).reshape(h.shape) * (1 - h * h)
        (dconv, dx) = filters.backward((p["conv"], x), dh)
        return {"conv": dconv, "out": {"b": dz.sum(0), "w": flat.T @ dz}}, dx, None

    p = {"conv": filters.args[0], "out": {"b": _normal(31, 3), "w": 0.2 * _normal(32, 48, 3)}}
    index = {"[0]['conv']['b']": (1,), "[0]['conv']['w']": (1, 2, 0, 1), "[0]['out']['w']": (30, 1)}
    return Base("convnet", "network", fun, backward, (p, filters.args[1], labels), index)


BASES = (silu, product, normalize, dense, conv, mlp, convnet)
