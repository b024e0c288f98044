"""Networks as StableHLO programs, which run without fnn."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.checkpoint import atomic
from fnn.checkpoint.regular_files import DamagedError, read_regular
from fnn.types import Layer, Params

_PLATFORMS = ("cpu", "cuda", "tpu")
_FULL = "highest"  # the precision of float32 products
_NEEDS_A_NUMBER = jax.errors.ConcretizationTypeError, jax.errors.InconclusiveDimensionOperation


def to_stablehlo(
    network: Layer,
    params: Params,
    input_shape: Sequence[int | None],
    path: str | Path,
    *,
    dtype: Any = None,
    platforms: Sequence[str] = _PLATFORMS,
) -> None:
    """Write the forward pass of a network, with its parameters, as a program that runs without fnn.

    The file is one of `jax.export`. To run, it needs JAX and flatbuffers (`pip install jax flatbuffers`), but neither
    fnn nor the code of the network:

        import jax

        predict = jax.jit(jax.export.deserialize(open("digits.stablehlo", "rb").read()).call)
        predict(x)  # float32 images (batch, 784)

    JAX promises to read it for six months at least. `jax.export.deserialize(data).mlir_module()` is the StableHLO text,
    for compilers such as XLA and IREE. The program is that of evaluation: no dropout, and the population statistics of
    `batch_norm`. It computes float32 products in full, unless `jax.default_matmul_precision` is set.

    Args:
      network: the layer.
      params: its parameters, which become constants of the program.
      input_shape: the shape of the input, batch first. None in the place of the batch makes a program for any number of
        examples.
      path: the file to write, atomically.
      dtype: the dtype of the input. Default: int32 if the network takes ids, otherwise float32.
      platforms: those that the program can run on, out of "cpu", "cuda", "rocm" and "tpu".

    Raises:
      ImportError: if flatbuffers is not installed: `pip install 'fnn[stablehlo]'`.
      ValueError: if an argument is invalid, or if the network needs to know the number of examples; then give it.
      OSError: if the file cannot be written.

    Example:

        network = fnn.mlp([784, 30, 10])
        fnn.interchange.to_stablehlo(network, params, (None, 784), "digits.stablehlo")
        fnn.interchange.from_stablehlo("digits.stablehlo")(x)
    """
    checks.layer("to_stablehlo", "network", network)
    path = checks.path("to_stablehlo", "path", path)
    _need_flatbuffers("to_stablehlo")
    if isinstance(platforms, str) or not platforms or not {*platforms} <= {*_PLATFORMS, "rocm"}:
        raise checks.fail("to_stablehlo", "platforms", "names out of cpu, cuda, rocm and tpu", platforms)
    dtype = jnp.dtype(dtype or (jnp.float32 if network.vocabulary is None else jnp.int32))
    x = jax.ShapeDtypeStruct(symbolic_input("to_stablehlo", input_shape), dtype)
    precision = jax.config.values["jax_default_matmul_precision"] or _FULL
    forward = jax.jit(lambda x: network.forward(params, x)[0])
    try:
        with jax.default_matmul_precision(precision):
            exported = jax.export.export(forward, platforms=[*platforms])(x)
    except (*_NEEDS_A_NUMBER, TypeError) as error:
        if isinstance(error, TypeError) and "_DimExpr" not in str(error):
            raise
        expected, got = "one that the network can be traced with", f"{tuple(input_shape)}: {error}"
        advice = "Give the number of examples."
        raise checks.fail("to_stablehlo", "input_shape", expected, came=got, advice=advice) from error
    atomic.write_file(path, bytes(exported.serialize()))


def from_stablehlo(path: str | Path) -> Callable[[jax.Array], jax.Array]:
    """Return the function x -> y in a file of `to_stablehlo`.

    Args:
      path: the file.

    Returns:
      A function of arrays of the shape and dtype that the program was written for, to jit or to call.

    Raises:
      ImportError: if flatbuffers is not installed.
      DamagedError: if the file holds no such program. It is a ValueError.
      FileNotFoundError: if there is no such file.
    """
    path = checks.path("from_stablehlo", "path", path)
    _need_flatbuffers("from_stablehlo")
    os.stat(path)  # raises FileNotFoundError
    real = path.resolve()
    data = read_regular(real.parent, real.name)
    try:
        return jax.export.deserialize(bytearray(data)).call
    except Exception as error:  # the reader of flatbuffers raises whatever the bytes lead it to
        raise DamagedError(f"from_stablehlo: {path} is not a program of to_stablehlo: {error}") from error


def _need_flatbuffers(function: str) -> None:
    """Raise ImportError if the package that `jax.export` writes and reads files with is missing."""
    if importlib.util.find_spec("flatbuffers") is None:
        message = f"{function}: needs flatbuffers, which is not installed; pip install 'fnn[stablehlo]'"
        raise ImportError(message, name="flatbuffers")


def symbolic_input(function: str, input_shape: Sequence[int | None]) -> tuple:
    """Return the shape with a symbol for None in the place of the batch."""
    if not isinstance(input_shape, Sequence) or isinstance(input_shape, str) or len(input_shape) < 1:
        expected = "a shape, batch first, such as (None, 784)"
        raise checks.fail(function, "input_shape", expected, input_shape, TypeError)
    batch, *rest = input_shape
    sizes = tuple(checks.positive_int(function, "input_shape", n) for n in rest)
    if batch is None:
        return *jax.export.symbolic_shape("batch"), *sizes
    return checks.positive_int(function, "input_shape", batch), *sizes
