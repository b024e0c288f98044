"""How compiled programs compute: the precision of their matrix products, and whether their results repeat exactly.

A GPU and a TPU multiply float32 matrices in fewer bits unless a program asks for all of them. Programs of this library
ask for all of them, unless the caller or JAX's own setting chooses otherwise:

| precision | float32 products on an NVIDIA GPU | on a TPU | on a CPU |
|---|---|---|---|
| "highest", "float32" | float32 | six products of bfloat16 | float32 |
| "tf32", "tensorfloat32", "high" | TF32 in cuBLAS and cuDNN, else float32 | three products of bfloat16 | float32 |
| "bfloat16", "default" | TF32, 10 bits of mantissa | one product of bfloat16 | float32 |

For each product XLA chooses between cuBLAS and kernels of its own, which use TF32 at "default" only (jax 0.10).
The other names are those of `jax.lax.DotAlgorithmPreset`, for example "BF16_BF16_F32_X3": one algorithm for all
products, which not every platform and not every operation has. Products of float64 and bfloat16, and on a GPU of
float16, compile to the same instructions for every name in the table (jax 0.10; a TPU has no float16 and treats it as
float32). A layer that passes a precision of its own to JAX keeps it.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from fnn import checks

_LEVELS = {"float32": "highest", "tensorfloat32": "high", "bfloat16": "default"}
"""Names of JAX for the same precision."""

NAMES = (
    *("highest", "tf32", "bfloat16", "default", "high", "float32", "tensorfloat32"),
    *(name for name in jax.lax.DotAlgorithmPreset.__members__ if name != "DEFAULT"),
)
"""The values of `precision`, besides None."""

_SETTING = "jax_default_matmul_precision"


class Numerics(NamedTuple):
    """How a program computes.

    Attributes:
      precision: a name of `jax.default_matmul_precision`. None: what `effective_precision` says when the program is
        traced.
      deterministic: whether the program must compute the same bits each time on a GPU.
    """

    precision: str | None = None
    deterministic: bool = False


def check_precision(function: str, precision: Any) -> str | None:
    """Return the argument `precision` of a function in JAX's words, or None."""
    if precision is None:
        return None
    if not isinstance(precision, str) or precision not in NAMES:
        raise checks.fail(function, "precision", f"None or one of {', '.join(map(repr, NAMES))}", precision)
    return "tensorfloat32" if precision == "tf32" else precision


def check_numerics(function: str, precision: Any, deterministic: Any) -> Numerics:
    """Return the arguments `precision` and `deterministic` of a function."""
    if not isinstance(deterministic, bool):
        raise checks.fail(function, "deterministic", "True or False", deterministic, TypeError)
    return Numerics(check_precision(function, precision), deterministic)


def effective_precision(precision: str | None) -> str:
    """Return the precision of matrix products: the given one, else that of `jax.default_matmul_precision`, else full.

    >>> effective_precision(None), effective_precision("high")
    ('highest', 'high')
    >>> with jax.default_matmul_precision("tensorfloat32"):
    ...     effective_precision(None)
    'tensorfloat32'
    """
    return precision or getattr(jax.config, _SETTING) or "highest"


def describe_precision(precision: str | None, platform: str | None) -> str:
    """Return one text for all precisions that compute the same on a platform.

    >>> describe_precision("tensorfloat32", "gpu"), describe_precision("tensorfloat32", "cpu")
    ('high', 'highest')
    """
    name = effective_precision(precision)
    name = _LEVELS.get(name, name)
    return "highest" if platform == "cpu" and name in _LEVELS.values() else name


def platform_of(leaves: Iterable[Any]) -> str | None:
    """Return the platform on which a program of these arguments runs. None inside another program, which decides it."""
    here = jnp.zeros(())
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    if any(isinstance(leaf, Tracer) for leaf in (here, *arrays)):
        return None
    return next(iter(next((array for array in arrays if array.committed), here).devices())).platform


def resolved(numerics: Numerics) -> Numerics:
    """Return it with the precision that `effective_precision` gives now, so that equal programs are equal keys.

    >>> resolved(Numerics())
    Numerics(precision='highest', deterministic=False)
    """
    return numerics._replace(precision=effective_precision(numerics.precision))


def computing(numerics: Numerics) -> AbstractContextManager[None]:
    """Return a context in which JAX traces matrix products with the precision of `numerics`.

    A compiled program must also be called in it: `jax.jit` compiles a program anew for each setting of the caller.
    """
    return jax.default_matmul_precision(effective_precision(numerics.precision))


def compiler_options(numerics: Numerics, platform: str | None) -> dict[str, Any]:
    """Return the options of XLA for a program on a platform; none if `platform` is None, inside another program.

    On a GPU, sums into one address are otherwise made in the order in which threads arrive, and XLA times several
    algorithms for a product and takes the fastest. Without times it leaves products to cuBLAS: its own kernels need
    them, and some do not compile without (jax 0.10). A CPU and a TPU do not have these options.

    >>> sorted(compiler_options(Numerics(deterministic=True), "gpu").items())
    [('xla_gpu_deterministic_ops', True), ('xla_gpu_enable_triton_gemm', False)]
    >>> compiler_options(Numerics(deterministic=True), "cpu")
    {}
    """
    if not numerics.deterministic or platform != "gpu":
        return {}
    return {"xla_gpu_deterministic_ops": True, "xla_gpu_enable_triton_gemm": False}
