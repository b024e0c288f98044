"""Checks that layers and losses keep to their protocol, with errors that name the layer.

They look at types, trees and shapes while a program is traced, so they change no program and cost nothing when it runs.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn.checks.errors import describe, fail
from fnn.split_params import arrays, for_layer, split_like
from fnn.types import Layer, Params, PRNGKey, Residuals


def init(function: str, argument: str, layer: Layer, key: PRNGKey | None) -> Params:
    """Return layer.init(key), after a check that it takes a key and returns a tree of arrays."""
    params = _call(function, "init", argument, layer, "(key)", key)
    for path, leaf in jax.tree.leaves_with_path(params):
        if not isinstance(leaf, int | float) and not hasattr(leaf, "dtype"):
            got = f"{describe(leaf)} at params{jax.tree_util.keystr(path)}"
            raise _fail(function, "init", argument, layer, "return a tree of arrays", got, TypeError)
    return params


def forward(
    function: str, argument: str, layer: Layer, params: Params, x: Any, key: PRNGKey | None = None
) -> tuple[Array, Residuals]:
    """Return layer.forward(params, x, key), after a check that it takes these arguments and returns (y, residuals).

    Args:
      function: the public function that the user called.
      argument: its argument that holds the layer.
      layer: the layer.
      params, x, key: the arguments of its forward.

    >>> double = Layer(lambda key: (), lambda params, x: (2 * x, ()), lambda params, r, dy: ((), 2 * dy), name="double")
    >>> forward("fit", "network", double, (), jnp.ones((3, 2)))
    Traceback (most recent call last):
        ...
    TypeError: fit: the forward of network (double) must take (params, x, key=None), got (params, x)
    """
    params = for_layer(layer, params)
    result = _call(function, "forward", argument, layer, "(params, x, key=None)", params, x, key)
    return _pair(function, "forward", argument, layer, "(y, residuals)", result)


def backward(
    function: str, argument: str, layer: Layer, params: Params, residuals: Residuals, dy: Array
) -> tuple[Params, Any]:
    """Return layer.backward(params, residuals, dy), after a check that it returns (dparams, dx).

    `dparams` must have the tree and the shapes of params, and hold floating point arrays. dx is an array, of the dtype
    float0 for ids, or a pair if x is a pair (x, lengths).
    """
    if not hasattr(dy, "shape"):
        name = _name(layer, "backward")
        raise fail(function, "dy", f"an array, the dx of what follows {argument} ({name})", dy, TypeError)
    dparams, dx = _backward(function, argument, layer, for_layer(layer, params), residuals, dy)
    return split_like(dparams, params), dx


def _backward(
    function: str, argument: str, layer: Layer, params: Params, residuals: Residuals, dy: Array
) -> tuple[Params, Any]:
    result = _call(function, "backward", argument, layer, "(params, residuals, dy)", params, residuals, dy)
    returned, dx = _pair(function, "backward", argument, layer, "(dparams, dx)", result)
    params, dparams = arrays(params), arrays(returned)
    if _like(dparams, params):
        _check_dtypes(function, argument, layer, params, dparams)
        return returned, dx
    if _like(dx, params):
        raise _fail(function, "backward", argument, layer, "return (dparams, dx)", "(dx, dparams)")
    if jax.tree.structure(dparams) != jax.tree.structure(params):
        expected = f"return dparams with the tree of params, {jax.tree.structure(params)}"
        raise _fail(function, "backward", argument, layer, expected, str(jax.tree.structure(dparams)))
    for (path, param), grad in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(dparams), strict=True):
        if jnp.shape(grad) != jnp.shape(param):
            leaf = f"dparams{jax.tree_util.keystr(path)}"
            expected = f"return {leaf} of shape {jnp.shape(param)}"
            summed = jnp.ndim(grad) == jnp.ndim(param) + 1 and jnp.shape(grad)[1:] == jnp.shape(param)
            advice = "A sum over the batch is missing." if summed else None
            raise _fail(function, "backward", argument, layer, expected, str(jnp.shape(grad)), advice=advice)
    return returned, dx


def loss_forward(function: str, loss: Any, prediction: Array, target: Array) -> tuple[Array, Residuals]:
    """Return loss.forward(prediction, target), after a check that it takes these and returns (values, residuals)."""
    result = _call(function, "forward", "loss", loss, "(prediction, target)", prediction, target)
    return _pair(function, "forward", "loss", loss, "(values, residuals)", result)


def loss_backward(function: str, loss: Any, residuals: Residuals, dvalues: Array, prediction: Array) -> Array:
    """Return loss.backward(residuals, dvalues), after a check that it has the prediction's shape."""
    result = _call(function, "backward", "loss", loss, "(residuals, dvalues)", residuals, dvalues)
    if getattr(result, "shape", None) != prediction.shape:
        expected = f"return dprediction of the prediction's shape {tuple(prediction.shape)}"
        raise _fail(function, "backward", "loss", loss, expected, describe(result))
    return result


def _call(function: str, method: str, argument: str, layer: Any, expected: str, *args: Any) -> Any:
    """Call a method of a layer or loss. If it does not take these arguments, the error says so."""
    try:
        return getattr(layer, method)(*args)
    except TypeError:
        takes = _mismatch(getattr(layer, method), args)
        if takes:
            raise _fail(function, method, argument, layer, f"take {expected}", takes, TypeError) from None
        raise


def _check_dtypes(function: str, argument: str, layer: Layer, params: Params, dparams: Params) -> None:
    """Check that the gradients of floating point parameters are floating point arrays."""
    for (path, param), grad in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(dparams), strict=True):
        dtype = getattr(grad, "dtype", None)
        if jnp.issubdtype(getattr(param, "dtype", type(param)), jnp.floating) and (
            dtype is None or not jnp.issubdtype(dtype, jnp.floating)
        ):
            expected = f"return a floating point array for dparams{jax.tree_util.keystr(path)}"
            raise _fail(function, "backward", argument, layer, expected, describe(grad), TypeError)


def _pair(function: str, method: str, argument: str, layer: Any, expected: str, result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple | list):
        raise _fail(function, method, argument, layer, f"return {expected}", describe(result), TypeError)
    if len(result) != 2:
        raise _fail(function, method, argument, layer, f"return {expected}", f"{len(result)} values", TypeError)
    first, second = result
    return first, second


def _like(tree: Any, params: Params) -> bool:
    """Return True if a tree has the structure and the shapes of the parameters."""
    if jax.tree.structure(tree) != jax.tree.structure(params):
        return False
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(params), strict=True)
    return all(jnp.shape(a) == jnp.shape(b) for a, b in pairs)


def _mismatch(method: Any, args: tuple) -> str:
    """Return the parameters of a function that does not take these arguments; "" if it does, or cannot be inspected."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*args)
    except TypeError:
        return str(signature.replace(return_annotation=signature.empty))
    return ""


def _fail(
    function: str,
    method: str,
    argument: str,
    layer: Any,
    expected: str,
    got: str,
    error: type[Exception] = ValueError,
    *,
    advice: str | None = None,
) -> Exception:
    message = f"{function}: the {method} of {argument} ({_name(layer, method)}) must {expected}, got {got}"
    return error(message if advice is None else f"{message}. {advice}")


def _name(layer: Any, method: str) -> str:
    return getattr(layer, "name", "") or getattr(getattr(layer, method), "__qualname__", "")
