"""Values on the host as JAX will have them: numbers of scalars, byte orders, and integers that a narrower dtype holds.

JAX casts 64-bit integers to 32 bits without a check (unless `jax_enable_x64` is set), so that 2³² + 1 becomes 1. Labels
and targets are checked here before that happens.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class UnfitError(ValueError):
    """A value that does not survive the conversion.

    Attributes:
      expected: what the value must be.
      came: what it is, and in which row.
      kind: the type of the error to raise.
    """

    def __init__(self, expected: str, came: str, kind: type[Exception] = ValueError) -> None:
        super().__init__(f"must be {expected}, got {came}")
        self.expected, self.came, self.kind = expected, came, kind


def has_values(array: Any) -> bool:
    """Return whether this process can read an array: it is not traced, and no part of it is in other processes."""
    return not isinstance(array, Tracer) and getattr(array, "is_fully_addressable", True)


def python_scalar(value: Any) -> Any:
    """Return a scalar of NumPy or JAX as a Python one; a traced scalar, and any other value, as it is.

    >>> python_scalar(np.float32(1.5)), python_scalar(np.array(2)), python_scalar([3])
    (1.5, 2, [3])
    """
    concrete = isinstance(value, jax.Array) and has_values(value)
    if isinstance(value, np.generic) or ((concrete or isinstance(value, np.ndarray)) and value.shape == ()):
        return value if concrete and jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value.item()
    return value


def value_of(value: Any, default: int | float) -> int | float:
    """Return the value of a number or a scalar array; `default` if it is traced."""
    value = python_scalar(value)
    return value if isinstance(value, int | float) else default


def refuse_masked(value: Any) -> None:
    """Raise UnfitError for NumPy's masked arrays, and for lists of them: a conversion would drop the mask."""
    parts = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):
        raise UnfitError("an array without a mask (see numpy.ma.filled)", "a masked array", TypeError)


def host_dtype(dtype: Any) -> np.dtype:
    """Return the dtype that JAX has for a dtype of the host, in this machine's byte order.

    >>> host_dtype(np.dtype(">f4"))
    dtype('float32')
    """
    dtype = np.dtype(dtype)
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    return np.dtype(jax.dtypes.canonicalize_dtype(native))


def narrowed(array: np.ndarray, row: Callable[[int], str] = "row {}".format) -> np.ndarray:
    """Return the array in the dtype that JAX has for it. Integers that do not fit raise UnfitError.

    Args:
      array: the array.
      row: names a row, given its index.

    >>> narrowed(np.array([1, 2**32 + 1]))
    Traceback (most recent call last):
        ...
    fnn.checks.host_values.UnfitError: must be integers that fit int32, got 4294967297 in row 1
    """
    dtype = host_dtype(array.dtype)
    if dtype.kind in "iu" and array.dtype.itemsize > dtype.itemsize and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            bad = np.unravel_index(np.argmax((array < limits.min) | (array > limits.max)), array.shape)
            place = f" in {row(int(bad[0]))}" if bad else ""
            raise UnfitError(f"integers that fit {dtype}", f"{array[bad]}{place}")
    return array.astype(dtype, copy=False)


def for_jax(value: Any) -> Any:
    """Return what `jnp.asarray` is to convert: `value`, with the checks and conversions of this module."""
    if isinstance(value, jax.Array):
        return value
    refuse_masked(value)
    if isinstance(value, np.ndarray | np.generic):
        return narrowed(np.asarray(value)) if value.dtype.kind in "iufc" else value
    if hasattr(value, "__array__") and not hasattr(value, "__jax_array__"):
        return narrowed(np.asarray(value))
    if isinstance(value, list | tuple) and not any(isinstance(part, jax.Array) for part in value):
        try:
            found = np.asarray(value)
        except (TypeError, ValueError):  # jnp.asarray says what is wrong, or stacks traced arrays
            return value
        if found.dtype.kind in "iu":
            narrowed(found)
        elif found.dtype == object and found.size and all(isinstance(number, int) for number in found.flat):
            raise UnfitError("integers of at most 64 bits", f"{max(found.flat, key=abs)}")
    return value
