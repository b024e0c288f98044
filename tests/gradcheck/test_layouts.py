"""Functions on a mesh of devices, and arrays in a layout that belongs to their type."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fnn.gradcheck import check_vjp

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_shard_map_on_one_device(kind):
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType[kind],))
    f = lambda x: lax.psum(jnp.sum(jnp.sin(x)), "d")
    fun = jax.shard_map(f, mesh=mesh, in_specs=jax.P("d"), out_specs=jax.P())
    x = jax.device_put(X, jax.NamedSharding(mesh, jax.P("d")))
    backward = lambda args, ct: jax.vjp(fun, *args)[1](ct)
    report = check_vjp(fun, backward, (x,), key=1)
    assert report.ok, report.summary()
    assert report.checks["sharding"].startswith("SKIPPED: ")  # the other devices are not in its mesh
    report = check_vjp(fun, lambda args, ct: (1.25 * backward(args, ct)[0],), (x,), checks=("reference",), key=1)
    assert report.leaves[0].hint == "1.25 × expected", report.summary()


@pytest.mark.slow
def test_explicit_axes_over_two_devices():
    code = """
import jax, jax.numpy as jnp, numpy as np
from fnn.gradcheck import check_vjp
mesh = jax.make_mesh((2,), ("d",))  # its axes are explicit
fun = jax.shard_map(jnp.sin, mesh=mesh, in_specs=jax.P("d"), out_specs=jax.P("d"))
x = jax.device_put(np.linspace(-2, 2, 12, dtype="f").reshape(4, 3), jax.NamedSharding(mesh, jax.P("d")))
backward = lambda args, ct: jax.vjp(fun, *args)[1](ct)
report = check_vjp(fun, backward, (x,), key=1)
assert report.ok, report.summary()
report = check_vjp(fun, lambda args, ct: (1.25 * backward(args, ct)[0],), (x,), checks=("reference",), key=1)
assert report.leaves[0].hint == "1.25 × expected", report.summary()
"""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    result = subprocess.run([sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
