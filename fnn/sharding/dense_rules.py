"""Rules that shard dense layers over a mesh axis."""

import jax
from jax.sharding import PartitionSpec

from fnn import checks
from fnn.layers.dense import Dense
from fnn.types import Layer


def dense_pairs(network: Layer, axis: str = "model") -> tuple[tuple[str, PartitionSpec], ...]:
    """Return rules that shard the dense layers of a `serial` in pairs.

    The first of a pair is sharded by columns, the second by rows.

    Z₁ = X W₁ then needs no communication, and Z₂ = A₁ W₂ is a sum over the devices. A dense layer without a partner
    and every other layer stay replicated.

    Args:
      network: a `serial` of at least two dense layers, such as `fnn.mlp([4, 8, 8, 3])`.
      axis: the mesh axis to shard over.

    Raises:
      ValueError: if the network has fewer than two dense layers.

    >>> import fnn
    >>> [(path, tuple(spec)) for path, spec in dense_pairs(fnn.mlp([4, 8, 8, 3]))]
    [('0\\\\.w', (None, 'model')), ('0\\\\.b', ('model',)), ('2\\\\.w', ('model', None))]
    """
    checks.layer("dense_pairs", "network", network)
    dense = [i for i, layer in enumerate(network.layers) if _is_dense(layer)]
    if len(dense) < 2:
        came = f"{len(dense)} of them among {[layer.name for layer in network.layers]}"
        raise checks.fail("dense_pairs", "network", "a `serial` of at least two dense layers", came=came)
    rules = []
    for first, second in zip(dense[::2], dense[1::2], strict=False):
        rules += [(rf"{first}\.w", PartitionSpec(None, axis)), (rf"{first}\.b", PartitionSpec(axis))]
        rules += [(rf"{second}\.w", PartitionSpec(axis, None))]
    return tuple(rules)


def _is_dense(layer: Layer) -> bool:
    """Return True if the parameters are those of one dense layer.

    Those of `repeat` are of several.
    """
    params = jax.eval_shape(layer.init, jax.random.key(0))
    return isinstance(params, Dense) and params.w.ndim == 2
