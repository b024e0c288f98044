"""`flax.nnx`: layers as functions of their parameters and of the input."""

# pyright: reportMissingImports=false

import jax

from experiments.audit.domains import Domain, positive, real
from experiments.audit.target import Target


def _layer(name: str, x: Domain, *sizes, label: str = "", **options) -> Target:
    """Return the target of a layer: its parameters are those of a fixed key, scaled by one number; x is the input."""

    def call(f, scale, x):
        from flax import nnx

        graph, params, rest = nnx.split(f(*sizes, rngs=nnx.Rngs(0), **options), nnx.Param, ...)
        layer = nnx.merge(graph, jax.tree.map(lambda p: p * scale[0], params), rest)
        return layer(x)

    return Target(f"flax.nnx.{name}", (positive(1), x), call=call, label=label)


TARGETS = (
    _layer("BatchNorm", real(4, 2), 2),
    _layer("BatchNorm", real(4, 2), 2, label="running", use_running_average=True),
    _layer("Conv", real(1, 5, 2), 2, 3, (3,)),
    _layer("Conv", real(1, 4, 4, 1), 1, 2, (3, 3), label="strides", strides=2, padding="VALID"),
    _layer("Conv", real(1, 5, 2), 2, 2, (3,), label="circular", padding="CIRCULAR"),
    _layer("ConvTranspose", real(1, 4, 2), 2, 2, (3,), strides=2),
    _layer("GroupNorm", real(2, 4), 4, num_groups=2),
    _layer("InstanceNorm", real(2, 5, 2), 2),
    _layer("LayerNorm", real(2, 4), 4),
    _layer("LayerNorm", real(2, 4), 4, label="slow variance", use_fast_variance=False),
    _layer("Linear", real(2, 3), 3, 2),
    _layer("LinearGeneral", real(2, 3), 3, (2, 2)),
    _layer("LoRALinear", real(2, 3), 3, 2, lora_rank=1),
    _layer("MultiHeadAttention", real(1, 3, 4), num_heads=2, in_features=4, decode=False),
    _layer("RMSNorm", real(2, 4), 4),
    Target("flax.nnx.avg_pool", (real(1, 4, 2),), call=lambda f, x: f(x, (2,), (2,))),
    Target("flax.nnx.max_pool", (real(1, 4, 2),), call=lambda f, x: f(x, (2,), (1,))),
    Target("flax.nnx.min_pool", (real(1, 4, 2),), call=lambda f, x: f(x, (2,), (1,))),
    Target("flax.nnx.dot_product_attention", (real(1, 3, 2, 2), real(1, 3, 2, 2), real(1, 3, 2, 2))),
)
