"""`equinox.nn`: layers as functions of their arrays and of the input."""

# pyright: reportMissingImports=false

import jax
import jax.numpy as jnp

from experiments.audit.domains import Domain, positive, real
from experiments.audit.target import Target


def _layer(name: str, x: Domain, *sizes, label: str = "", options=None, keyed: bool = True) -> Target:
    """Return the target of a layer: its arrays are those of a fixed key, scaled by one number; x is the input."""

    def call(f, scale, x):
        import equinox as eqx

        layer = f(*sizes, **(options or {}), **({"key": jax.random.key(0)} if keyed else {}))
        arrays, rest = eqx.partition(layer, eqx.is_inexact_array)
        return eqx.combine(jax.tree.map(lambda a: a * scale[0], arrays), rest)(x)

    return Target(f"equinox.nn.{name}", (positive(1), x), call=call, label=label)


TARGETS = (
    _layer("AdaptiveAvgPool1d", real(2, 5), 2, keyed=False),
    _layer("AdaptiveMaxPool1d", real(2, 5), 2, keyed=False),
    _layer("AvgPool1d", real(2, 5), 2, keyed=False),
    _layer("AvgPool2d", real(1, 4, 4), 2, options={"stride": 2, "padding": 1}, keyed=False),
    _layer("Conv1d", real(2, 5), 2, 3, 3),
    _layer("Conv2d", real(2, 4, 4), 2, 2, 3, options={"padding": 1, "stride": 2}),
    _layer("ConvTranspose1d", real(2, 4), 2, 2, 3, options={"stride": 2}),
    _layer("GroupNorm", real(4, 3), 2, 4, keyed=False),
    _layer("LayerNorm", real(4), 4, keyed=False),
    _layer("LayerNorm", real(4), 4, label="no scale", options={"use_weight": False, "use_bias": False}, keyed=False),
    _layer("Linear", real(3), 3, 2),
    _layer("MLP", real(3), 3, 2, 4, 1, options={"activation": jnp.tanh}),
    _layer("MaxPool1d", real(2, 5), 2, keyed=False),
    _layer("MaxPool2d", real(1, 4, 4), 2, options={"stride": 2}, keyed=False),
    _layer("PReLU", real(4), 0.3, keyed=False),
    _layer("RMSNorm", real(4), 4, keyed=False),
    _layer("RotaryPositionalEmbedding", real(3, 4), 4, keyed=False),
    Target("equinox.nn.GRUCell", (real(3), real(2)), call=lambda f, x, h: f(3, 2, key=jax.random.key(0))(x, h)),
    Target(
        "equinox.nn.LSTMCell",
        (real(3), real(2), real(2)),
        call=lambda f, x, h, c: f(3, 2, key=jax.random.key(0))(x, (h, c)),
    ),
    Target(
        "equinox.nn.MultiheadAttention",
        (real(3, 4), real(3, 4)),
        call=lambda f, q, k: f(2, 4, key=jax.random.key(0))(q, k, k),
    ),
)
