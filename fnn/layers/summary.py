"""The table of a network's layers: output shapes, numbers of parameters, FLOPs."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layers.activations import identity
from fnn.layers.add import add
from fnn.layers.combinators import residual, serial
from fnn.layers.repeat import repeat
from fnn.layers.tied_embedding import tied_embedding
from fnn.types import Layer, Params


class Row(NamedTuple):
    """One layer of a summary. `flops` counts a multiply-add as two."""

    name: str
    output_shape: tuple[int, ...]
    num_params: int
    flops: float


class Summary(NamedTuple):
    """The rows, one per layer, and the totals. It shows itself as a table."""

    rows: tuple[Row, ...]
    num_params: int
    flops: float

    def __repr__(self) -> str:
        header = ("layer", "output shape", "parameters", "FLOPs")
        body = [(r.name, str(r.output_shape), f"{r.num_params:,}", f"{r.flops:,.0f}") for r in self.rows]
        total = ("total", "", f"{self.num_params:,}", f"{self.flops:,.0f}")
        widths = [max(len(row[i]) for row in (header, *body, total)) for i in range(4)]

        def line(row: Sequence[str]) -> str:
            name, shape, params, flops = (cell for cell in row)
            return f"{name:{widths[0]}}  {shape:{widths[1]}}  {params:>{widths[2]}}  {flops:>{widths[3]}}"

        rule = "-" * len(line(header))
        return "\n".join([line(header), rule, *map(line, body), rule, line(total)])

    def _repr_html_(self) -> str:
        """Show the table, in notebooks."""
        from fnn.display import html

        columns = {
            "layer": [row.name for row in self.rows],
            "output shape": [str(row.output_shape) for row in self.rows],
            "parameters": [row.num_params for row in self.rows],
            "FLOPs": [round(row.flops) for row in self.rows],
        }
        total = ("total", "", self.num_params, round(self.flops))
        return html.table(columns, total=total)


def count_params(params: Params) -> int:
    """Return the total number of entries of all parameters.

    Args:
      params: a pytree of arrays.

    >>> import fnn
    >>> n = 12288  # features; a network with layers of 3, 2 and 1 units has 3n + 14 parameters
    >>> count_params(fnn.mlp([n, 3, 2, 1]).init(jax.random.key(0))) == 3 * n + 14
    True
    """
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params))


def _leaves(layer: Layer) -> Iterator[Layer]:
    """Yield the layers of a `serial`, also of nested ones; any other layer as it is."""
    if layer.combinator is not serial:
        yield layer
        return
    for inner in layer.layers:
        yield from _leaves(inner)


def _output(layer: Layer, x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    params = jax.eval_shape(layer.init, jax.random.key(0))
    return jax.eval_shape(lambda p, x: layer.forward(p, x)[0], params, x)


def _flops(layer: Layer, x: jax.ShapeDtypeStruct) -> float:
    """Return XLA's count for the forward pass on x, layer by layer.

    XLA counts the body of a scan once (jax 0.10), so `repeat` multiplies by the number of its copies.
    """
    if layer.combinator is repeat:
        return len(layer.layers) * _flops(layer.layers[0], x)
    if layer.combinator is residual:
        return sum(_flops(branch, x) for branch in layer.layers) + math.prod(_output(layer, x).shape)
    if layer.combinator is add:
        sums = (len(layer.layers) - 1) * math.prod(_output(layer, x).shape)
        return sum(_flops(branch, x) for branch in layer.layers) + sums
    if layer.combinator is serial:
        total = 0.0
        for inner in layer.layers:
            total, x = total + _flops(inner, x), _output(inner, x)
        return total
    params = jax.eval_shape(layer.init, jax.random.key(0))
    traced = jax.jit(lambda p, x: layer.forward(p, x)[0]).trace(params, x)
    try:
        lowered = traced.lower(lowering_platforms=("tpu",))  # the CPU's convolutions also multiply with zeros
    except (ValueError, NotImplementedError):  # as for callbacks and `eig`, which not every platform has (jax 0.10)
        lowered = traced.lower()
    analysis = lowered.cost_analysis() or {}
    return max(0.0, float(analysis.get("flops", 0.0)))


def _rows(network: Layer, x: jax.ShapeDtypeStruct) -> Iterator[Row]:
    """Yield the rows of a network. That of a tied embedding is the embedding with its output, and comes first."""
    for layer in _leaves(network):
        params, y = jax.eval_shape(layer.init, jax.random.key(0)), _output(layer, x)
        shape = tuple(y.shape)
        if layer.combinator is tied_embedding:
            n, d = params.w.shape
            yield Row(layer.name, shape, n * d, _flops(tied_embedding(n, d, identity), x))
            yield from _rows(layer.layers[0], jax.ShapeDtypeStruct((*x.shape, d), params.w.dtype))
        else:
            yield Row(layer.name, shape, count_params(params), _flops(layer, x))
        x = y


def summary(network: Layer, input_shape: Sequence[int]) -> Summary:
    """Return the name, output shape, number of parameters and FLOPs of each layer.

    The layers of a `serial` have a row each, also those inside a `tied_embedding`; other combinators have one row.
    Nothing is computed: the shapes come from tracing. XLA counts the FLOPs of the forward pass before it optimises, a
    multiply-add as two; what a loop computes, as in `lstm` or in `attention` to many positions, it counts once.

    Args:
      network: the layer to describe.
      input_shape: the shape of the input, batch first.

    Returns:
      Summary(rows, num_params, flops). `print` shows it as a table.

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
    x = jax.ShapeDtypeStruct(shape, jnp.float32 if network.vocabulary is None else jnp.int32)
    rows = [*_rows(network, x)]
    return Summary(tuple(rows), sum(row.num_params for row in rows), sum(row.flops for row in rows))
