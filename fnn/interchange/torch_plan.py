"""The modules of the `nn.Sequential` that a network is in PyTorch: their places, and what they do to its parameters."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fnn import checks
from fnn.interchange import torch_modules as modules
from fnn.interchange.torch_modules import Module
from fnn.layers.activations import relu, tanh
from fnn.layers.combinators import serial
from fnn.layers.recurrent import bidirectional
from fnn.layers.repeat import repeat
from fnn.types import Layer

# the functions of fnn that make layers without parameters which PyTorch has, too
_POINTWISE = {"_relu", "leaky_relu", "_sigmoid", "_tanh", "_softmax", "_softplus", "_silu", "_gelu", "_gelu_tanh"}
_POOLS = {"max_pool2d", "avg_pool2d"}
_UNKNOWN = 0  # a number of channels


class _Features(NamedTuple):
    """What is known of the input of a layer.

    Attributes:
      channels: the number of channels of images, which PyTorch has in another axis. None for everything else.
      flattened: the same, if the input flattens such images.
    """

    channels: int | None = None
    flattened: int | None = None


class Node(NamedTuple):
    """A layer and its place: a module with the prefix of its names, or several nodes."""

    prefix: str
    module: Module | None = None
    nodes: tuple["Node", ...] = ()
    copies: bool = False  # whether the nodes are those of `repeat`, whose parameters are stacked


def plan(function: str, network: Layer) -> Node:
    """Return the node of a network, or raise ValueError if a layer has no twin in PyTorch."""
    return _walk(function, checks.layer(function, "network", network), "", _Features())[0]


def _walk(function: str, layer: Layer, prefix: str, features: _Features) -> tuple[Node, _Features]:
    """Return the node of a layer and what is known of its output."""
    if layer.combinator in (serial, repeat):
        nodes = []
        for i, inner in enumerate(layer.layers):
            node, features = _walk(function, inner, f"{prefix}{i}.", features)
            nodes.append(node)
        return Node(prefix, nodes=tuple(nodes), copies=layer.combinator is repeat), features
    module, features = _module(function, layer, prefix, features)
    return Node(prefix, module), features


def _module(function: str, layer: Layer, prefix: str, features: _Features) -> tuple[Module, _Features]:
    maker, channels = _maker(layer), features.flattened
    if maker in ("conv2d", "conv1d", "conv2d_transpose"):
        c_out = jax.eval_shape(layer.init, jax.random.key(0)).b.size
        module = modules.conv_transpose(_held(layer.forward, "groups")) if "transpose" in maker else modules.conv()
        return module, _Features(channels=c_out)
    if maker == "batch_norm":
        return modules.batch_norm(channels), features
    if maker in _POINTWISE or maker in ("_identity", "dropout"):
        return _none(), features
    if maker in _POOLS:
        return _none(), features if features.channels else _Features(channels=_UNKNOWN)
    if maker == "_flatten":
        if features.channels == _UNKNOWN:
            advice = "Put it after a convolution, or pass features that are flat."
            raise _fail(function, layer, prefix, "flattens images whose number of channels is not known", advice)
        return _none(), _Features(flattened=features.channels or features.flattened)
    along_features = {"layer_norm": modules.layer_norm, "rms_norm": modules.rms_norm, "dense": modules.linear}
    if (
        maker in along_features
        or maker in modules.RECURRENT
        or maker == "embedding"
        or layer.combinator is bidirectional
    ):
        if features.channels is not None:
            advice = "Put fnn.flatten before it."
            raise _fail(function, layer, prefix, "acts on the channels of images, PyTorch's on their width", advice)
        if maker in along_features:
            after = _Features() if maker == "dense" else features
            return along_features[maker](channels), after
        return (modules.embedding() if maker == "embedding" else _recurrent(function, layer, prefix)), _Features()
    raise _fail(function, layer, prefix, "has no twin among the modules of an nn.Sequential")


def _none() -> Module:
    """A module without parameters."""
    return Module(lambda p: {}, lambda s: ())


def _recurrent(function: str, layer: Layer, prefix: str) -> Module:
    if layer.combinator is bidirectional:
        kinds = [_maker(inner) for inner in layer.layers]
        if kinds[0] not in modules.RECURRENT or kinds[0] != kinds[1] or len({_n(inner) for inner in layer.layers}) > 1:
            raise _fail(function, layer, prefix, "must be of two lstm, gru or rnn of one size")
        return modules.both_directions(*(_recurrent(function, inner, prefix) for inner in layer.layers))
    kind = _maker(layer)
    if kind == "gru" and not _held(layer.init, "reset_after"):
        raise _fail(function, layer, prefix, "applies its reset gate before the product, PyTorch's after it")
    if kind == "rnn" and layer.stream is not None:
        name = _maker(_held(layer.stream.advance, "activation"))
        if name not in (_maker(tanh), _maker(relu)):
            raise _fail(function, layer, prefix, "has an activation that nn.RNN does not have; it has tanh and relu")
    return modules.recurrent(modules.RECURRENT[kind])


def _n(layer: Layer) -> int:
    return jax.eval_shape(layer.init, jax.random.key(0)).u.shape[0]


def _maker(layer: Layer) -> str:
    """Return the name of the function of fnn that made a layer; for one without parameters, of what it computes.

    Empty for the layers of others. A wrapper has made its result.
    """
    function: Any = layer.forward
    if function.__qualname__.startswith("parameterless.<locals>"):
        function = _held(function, "forward")
    library = (getattr(function, "__module__", None) or "").startswith("fnn.layers.")
    return function.__qualname__.partition(".<locals>")[0] if library else ""


def _held(function: Callable, name: str) -> Any:
    """Return the value of a variable that a function holds."""
    return inspect.getclosurevars(function).nonlocals[name]


def _fail(function: str, layer: Layer, prefix: str, problem: str, advice: str | None = None) -> Exception:
    place = "network" + "".join(f".layers[{i}]" for i in prefix.split(".") if i)
    if layer.layers and layer.combinator is None:
        advice = "Pass the network without the wrapper; its parameters are the same."
    expected = "made of layers that are modules of an nn.Sequential"
    return checks.fail(
        function, "network", expected, came=f"{place}, {layer.name or 'a layer'}, which {problem}", advice=advice
    )
