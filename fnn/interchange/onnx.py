"""Networks as ONNX models, through jax2onnx."""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.checkpoint import atomic
from fnn.interchange.plain_jaxpr import plain
from fnn.interchange.stablehlo import symbolic_input
from fnn.types import Layer, Params


def to_onnx(network: Layer, params: Params, input_shape: Sequence[int | None], path: str | Path) -> None:
    """Write the forward pass of a network, with its parameters, as an ONNX model.

    It needs jax2onnx: `pip install 'fnn[onnx]'`. The model has one input and one output, and runs without JAX:

        import onnxruntime

        session = onnxruntime.InferenceSession("digits.onnx")
        (y,) = session.run(None, {session.get_inputs()[0].name: x})  # x: a NumPy array (batch, 784) of float32

    The model is that of evaluation: no dropout, and the population statistics of `batch_norm`. jax2onnx 0.17 cannot
    convert `conv2d_transpose`, nor, for any number of examples, a pooling whose stride exceeds its window.

    Args:
      network: the layer.
      params: its parameters.
      input_shape: the shape of the input, batch first. None in the place of the batch makes a model for any number of
        examples.
      path: the file to write, atomically.

    Raises:
      ImportError: if jax2onnx is not installed.
      ValueError: if an argument is invalid, or jax2onnx cannot convert the network; the message has its reason.
      OSError: if the file cannot be written.
    """
    checks.layer("to_onnx", "network", network)
    path = checks.path("to_onnx", "path", path)
    dtype = jnp.float32 if network.vocabulary is None else jnp.int32
    x = jax.ShapeDtypeStruct(symbolic_input("to_onnx", input_shape), dtype)
    jax.eval_shape(lambda x: network.forward(params, x)[0], x)  # raises the errors of the network itself
    if importlib.util.find_spec("jax2onnx") is None:
        message = "to_onnx: needs jax2onnx, which is not installed; pip install 'fnn[onnx]'"
        raise ImportError(message, name="jax2onnx")
    forward = plain(lambda x: network.forward(params, x)[0])
    try:
        # the code of jax2onnx needs the standard promotion, and warns of its own float64
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import jax2onnx  # pyright: ignore[reportMissingImports]

            model = jax2onnx.to_onnx(forward, [x], return_mode="proto")
    except Exception as error:  # jax2onnx raises whatever its converters come upon
        needs_number = isinstance(error, jax.errors.InconclusiveDimensionOperation)
        advice = "Give the number of examples in input_shape." if needs_number else None
        got = f"one of which it says {type(error).__name__}: {str(error).splitlines()[0].rstrip('.')}"
        raise checks.fail("to_onnx", "network", "one that jax2onnx converts", came=got, advice=advice) from error
    atomic.write_file(path, model.SerializeToString())
