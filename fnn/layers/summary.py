"""summary: the table of a network's layers, with output shapes, parameter counts and arithmetic."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.types import Layer, Params


class Row(NamedTuple):
    name: str
    output_shape: tuple[int, ...]
    num_params: int
    flops: float


class Summary(NamedTuple):
    """rows, one per layer, and the totals. `print` shows the table."""

    rows: tuple[Row, ...]
    num_params: int
    flops: float

    def __str__(self) -> str:
        header = ("layer", "output shape", "parameters", "FLOPs")
        body = [(r.name, str(r.output_shape), f"{r.num_params:,}", f"{r.flops:,.0f}") for r in self.rows]
        total = ("total", "", f"{self.num_params:,}", f"{self.flops:,.0f}")
        widths = [max(len(row[i]) for row in (header, *body, total)) for i in range(4)]

        def line(row: Sequence[str]) -> str:
            name, shape, params, flops = (cell for cell in row)
            return f"{name:{widths[0]}}  {shape:{widths[1]}}  {params:>{widths[2]}}  {flops:>{widths[3]}}"

        rule = "-" * len(line(header))
        return "\n".join([line(header), rule, *map(line, body), rule, line(total)])


def count_params(params: Params) -> int:
    """The number of entries of all arrays.

    >>> import fnn
    >>> n = 12288  # the notes' network of 3, 2 and 1 units on n features: 3n + 14
    >>> count_params(fnn.mlp([n, 3, 2, 1]).init(jax.random.key(0))) == 3 * n + 14
    True
    """
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params))


def _leaves(layer: Layer) -> Iterator[Layer]:
    """The layers of a serial, and those of a serial inside it; other combinators are one row."""
    if layer.name != "serial":
        yield layer
        return
    for inner in layer.layers:
        yield from _leaves(inner)


def _output(layer: Layer, x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    params = jax.eval_shape(layer.init, jax.random.key(0))
    return jax.eval_shape(lambda p, x: layer.forward(p, x)[0], params, x)


def _flops(layer: Layer, x: jax.ShapeDtypeStruct) -> float:
    """XLA's count for the forward pass on x, layer by layer: of a scan, as in repeat, it would count the body once."""
    if layer.name.startswith("repeat"):
        return len(layer.layers) * _flops(layer.layers[0], x)
    if layer.name == "residual":
        return sum(_flops(way, x) for way in layer.layers) + math.prod(_output(layer, x).shape)
    if layer.name == "serial":
        total = 0.0
        for inner in layer.layers:
            total, x = total + _flops(inner, x), _output(inner, x)
        return total
    params = jax.eval_shape(layer.init, jax.random.key(0))
    analysis = jax.jit(lambda p, x: layer.forward(p, x)[0]).lower(params, x).cost_analysis() or {}
    return max(0.0, float(analysis.get("flops", 0.0)))


def summary(network: Layer, input_shape: Sequence[int]) -> Summary:
    """Name, output shape, number of parameters and FLOPs of each layer for an input of this shape, batch first.

    FLOPs are those of the forward pass as XLA counts them before it optimises, a multiply-add as two. Nothing is
    computed: shapes are traced.

    >>> import fnn
    >>> print(summary(fnn.mlp([784, 30, 10]), (1, 784)))
    layer           output shape  parameters   FLOPs
    ------------------------------------------------
    dense(784, 30)  (1, 30)           23,550  47,070
    relu            (1, 30)                0      30
    dense(30, 10)   (1, 10)              310     610
    ------------------------------------------------
    total                             23,860  47,710
    """
    checks.layer("summary", "network", network)
    if not isinstance(input_shape, Sequence) or len(input_shape) < 1:
        raise checks.fail("summary", "input_shape", "a shape, batch first", input_shape, TypeError)
    shape = tuple(checks.positive_int("summary", "input_shape", n) for n in input_shape)
    x, rows = jax.ShapeDtypeStruct(shape, jnp.float32), []
    for layer in _leaves(network):
        params, y = jax.eval_shape(layer.init, jax.random.key(0)), _output(layer, x)
        rows.append(Row(layer.name, tuple(y.shape), count_params(params), _flops(layer, x)))
        x = y
    return Summary(tuple(rows), sum(row.num_params for row in rows), sum(row.flops for row in rows))
