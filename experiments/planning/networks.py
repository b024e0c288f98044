"""The networks of plans: how to build them, the shapes of a batch, and the rules that split their parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

import fnn
from fnn import sharding
from fnn.types import Layer, Loss


class Mlp(NamedTuple):
    """A multi-layer perceptron.

    sizes  units of the layers, starting with the input
    """

    sizes: tuple[int, ...]


class Gpt(NamedTuple):
    """A transformer of the kind of GPT-2; see `fnn.gpt`.

    vocabulary        number of ids
    length            tokens of a sequence
    layers            number of blocks
    heads             heads of attention of each block
    width             features between the blocks
    repeat            whether the blocks are one `fnn.repeat`, a loop, rather than a `fnn.serial`
    remat             whether each block keeps its input alone (`fnn.remat`)
    split_vocabulary  whether the rows of the embedding are split over the axis "model", too
    """

    vocabulary: int
    length: int
    layers: int
    heads: int
    width: int
    repeat: bool = True
    remat: bool = False
    split_vocabulary: bool = False


Network = Mlp | Gpt


def build(network: Network, dtype: str = "float32") -> Layer:
    """Build the network; its parameters are float32, its computation is of this dtype.

    >>> build(Mlp((3, 4, 2))).name
    'serial'
    >>> build(Gpt(65, 16, 2, 2, 8), "bfloat16").name
    'mixed_precision(tied_embedding(65, 8), bfloat16)'
    """
    layer = fnn.mlp(network.sizes) if isinstance(network, Mlp) else _gpt(network)
    return layer if dtype == "float32" else fnn.mixed_precision(layer, jnp.dtype(dtype))


def _gpt(network: Gpt) -> Layer:
    """The layers of `fnn.gpt`; its blocks in a loop or rematerialized, if the plan says so."""
    width, block = network.width, fnn.transformer_block(network.width, network.heads)
    block = fnn.remat(block) if network.remat else block
    blocks = [fnn.repeat(block, network.layers)] if network.repeat else [block] * network.layers
    inner = fnn.serial(fnn.learned_positions(network.length, width), *blocks, fnn.layer_norm(width))
    return fnn.tied_embedding(network.vocabulary, width, inner)


def loss(network: Network) -> Loss:
    """Return the loss of the network."""
    return fnn.softmax_cross_entropy if isinstance(network, Mlp) else fnn.token_cross_entropy()


def batch_shapes(network: Network, examples: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Return the shapes of the inputs and the labels of so many examples."""
    if isinstance(network, Mlp):
        x = jax.ShapeDtypeStruct((examples, network.sizes[0]), jnp.float32)
        return x, jax.ShapeDtypeStruct((examples,), jnp.int32)
    ids = jax.ShapeDtypeStruct((examples, network.length), jnp.int32)
    return ids, ids


def rules(network: Network) -> tuple[tuple[str, PartitionSpec], ...]:
    """Return rules for `fnn.sharding.tensor_parallel` that split the network over the axis "model".

    Dense layers of an MLP are split in pairs (`fnn.sharding.dense_pairs`). In each block of a GPT the heads and the
    hidden units are split: W_qkv and W_1 by columns with their biases, W_o and W_2 by rows (Shoeybi et al. 2019).

    >>> [tuple(spec) for _, spec in rules(Gpt(65, 16, 2, 2, 8, repeat=False))[:3]]
    [(None, 'model'), ('model',), ('model', None)]
    """
    if isinstance(network, Mlp):
        return sharding.dense_pairs(fnn.mlp(network.sizes))
    copies = (None,) if network.repeat else ()  # the axis of `repeat`
    columns, rows = PartitionSpec(*copies, None, "model"), PartitionSpec(*copies, "model", None)
    attention, feed_forward = (rf"layer\.\d+\.{branch}\.layer" for branch in (0, 1))
    split = [
        (rf"{attention}\.1\.w_qkv", columns),
        (rf"{attention}\.1\.b_qkv", PartitionSpec(*copies, "model")),
        (rf"{attention}\.1\.w_o", rows),
        (rf"{feed_forward}\.1\.w", columns),
        (rf"{feed_forward}\.1\.b", PartitionSpec(*copies, "model")),
        (rf"{feed_forward}\.3\.w", rows),
    ]
    return (*split, ("w", PartitionSpec("model", None))) if network.split_vocabulary else tuple(split)
