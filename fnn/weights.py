"""The parameters that an L2 penalty acts on, its value and its gradient.

An L2 penalty λ/2 ‖W‖² shrinks weights. Biases, and the scales and shifts of normalisation layers, are left alone
(Goodfellow, Bengio and Courville 2016, section 7.1).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import wide, widest
from fnn.types import Params

IsWeight = Callable[[tuple, Any], bool]
"""(path, leaf) -> whether this leaf of the parameters is a weight."""


def is_weight(path: tuple, leaf: Any) -> bool:
    """Return True if a parameter is a weight: its name is `w` or `u`, or begins with `w_`.

    This is the default of the argument `is_weight` of `value_and_grad`, `make_step`, `fit`, `make_run` and `add_l2`.
    Pass a function of your own with the same signature if your layers name their weights differently.

    Args:
      path: the path of the leaf, a tuple of keys as `jax.tree_util.tree_map_with_path` gives it. The last key is
        the name of the leaf.
      leaf: the parameter, an array. The default does not look at it; a function of your own may, for example to
        call every matrix a weight: `lambda path, leaf: leaf.ndim >= 2`.

    Returns:
      True for `w`, `w_q` or `w_hidden`, and for `u`, the recurrent weights of `fnn.lstm`; False for `b`, `gamma` or
      `width`, and for a leaf without a name.

    >>> params = {"w": 1, "w_q": 2, "b": 3, "width": 4}
    >>> [(path[-1].key, is_weight(path, leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
    [('b', False), ('w', True), ('w_q', True), ('width', False)]
    """
    name = jax.tree_util.keystr(path[-1:], simple=True)
    return name in ("w", "u") or name.startswith("w_")


def squared_norm(params: Params, is_weight: IsWeight = is_weight) -> Float[Array, ""]:
    """Return ‖W‖² = Σ W_ij² over the weights among `params`.

    >>> squared_norm({"w": jnp.array([[3.0, 4.0]]), "b": jnp.array([9.0])})
    Array(25., dtype=float32)
    """
    weights = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_weight(path, leaf)]
    dtype = widest(jnp.float32, *weights)
    return sum((jnp.sum(jnp.square(w.astype(dtype))) for w in weights), jnp.zeros((), dtype))


def add_scaled_weights(tree: Params, params: Params, scale: float | Array, is_weight: IsWeight = is_weight) -> Params:
    """Add scale · W, the gradient of scale/2 ‖W‖², to the weights' leaves of `tree`.

    The sum is computed in float32 at least, and has the dtype of the leaf.

    >>> params = {"w": jnp.array(3.0), "b": jnp.array(4.0)}
    >>> add_scaled_weights({"w": jnp.array(1.0), "b": jnp.array(1.0)}, params, 0.5)
    {'b': Array(1., dtype=float32, weak_type=True), 'w': Array(2.5, dtype=float32)}
    """

    def add(path: tuple, leaf: Array, param: Array) -> Array:
        if not is_weight(path, param):
            return leaf
        dtype = wide(leaf)
        return (leaf.astype(dtype) + jnp.asarray(scale, dtype) * param.astype(dtype)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(add, tree, params)


def check_is_weight(function: str, is_weight: IsWeight) -> None:
    """Raise TypeError if `is_weight` is not a function."""
    if not callable(is_weight):
        raise checks.fail(function, "is_weight", "a function (path, leaf) -> bool", is_weight, TypeError)


def check_weights(
    function: str, argument: str, strength: float | Array, params: Params, is_weight: IsWeight = is_weight
) -> None:
    """Raise ValueError if an L2 penalty would act on no leaf of `params`.

    A traced strength is not checked, since its value is unknown.
    """
    if isinstance(strength, Tracer) or float(strength) <= 0:
        return
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not any(is_weight(path, leaf) for path, leaf in leaves):
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
        came = f"{float(strength):g} with the parameters {names}, none of which is a weight"
        advice = "Name the weights `w`, `u` or `w_…`, or pass a function `is_weight(path, leaf)`"
        raise checks.fail(function, argument, "0 for a network without weights", came=came, advice=advice)
