"""Grouped convolutions on a mesh of 2 x 2 devices, in a process of their own.

    python -m tests.support.over_two_axes Auto|Explicit NAME ...

The relative error of the gradients of each case is printed as JSON.
"""

import json
import sys

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fnn
from fnn.layers.correlation import xla_correlate_backward
from tests.support.convolutions import CASES, Case
from tests.support.oracles import by_hand, cotangent, normal, spread_params

WIDE = Case((4, 4, 4, 256), (2, 1), (1, 1), 128, groups=8)  # in four convolutions of two groups each


def main(kind: str, names: list[str]) -> None:
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_enable_x64", True)
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType[kind],) * 2)
    print(json.dumps({name: error(WIDE if name == "wide" else CASES[name], mesh) for name in names}))


def error(case: Case, mesh: jax.sharding.Mesh) -> float:
    """Return the largest error of a gradient, relative to its largest entry.

    Arrays over Auto axes get the form for accelerators from its module: the layer would choose the CPU's.
    """
    layer = case.layer()
    params, x = spread_params(layer, 0, "float64"), normal(1, (4, *case.shape[1:]), "float64")
    dy, is_auto = cotangent(layer, params, x), AxisType.Auto in mesh.axis_types

    @jax.jit
    def run(params: fnn.Conv2d, x: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        if is_auto:
            return xla_correlate_backward(x, params.w, dy, case.window())
        dparams, dx = by_hand(layer, params, x, dy)
        return dparams.w, dx

    expected = jax.vjp(case.reference, params, x)[1](dy)
    expected = expected[0].w, expected[1]
    replicated = jax.device_put(params, NamedSharding(mesh, P()))
    got = run(replicated, *jax.device_put((x, dy), NamedSharding(mesh, P("data"))))  # no jax.set_mesh
    if not is_auto:
        assert got[0].is_fully_replicated
        assert got[1].sharding.spec[0] == "data"
    return max(
        float(jnp.abs(jax.device_get(a) - b).max() / jnp.abs(b).max()) for a, b in zip(got, expected, strict=True)
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
