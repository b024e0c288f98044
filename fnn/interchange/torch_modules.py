"""The parameters of single layers as those of PyTorch's modules, and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fnn.layers.conv import Conv2d
from fnn.layers.conv1d import Conv1d
from fnn.layers.dense import Dense
from fnn.layers.embedding import Embedding
from fnn.layers.normalization import BatchNorm, LayerNorm
from fnn.layers.recurrent import GRU, LSTM, RNN, Bidirectional
from fnn.layers.rms_norm import RMSNorm
from fnn.types import Params

Arrays = dict[str, Any]
"""Names and NumPy arrays."""


class Module(NamedTuple):
    """What a layer is in PyTorch.

    Attributes:
      to_torch: params -> the entries of the module's state_dict.
      from_torch: these entries -> params.
    """

    to_torch: Callable[[Params], Arrays]
    from_torch: Callable[[Arrays], Params]


def channels_first(w: Any, channels: int | None) -> Any:
    """Return features (…, pixels, channels) in the order (channels, pixels), along axis 0.

    That is the order in which PyTorch flattens images. Without channels, the features stay as they are.
    """
    return w if channels is None else w.reshape(-1, channels, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)


def channels_last(w: Any, channels: int | None) -> Any:
    """The inverse of `channels_first`."""
    return w if channels is None else w.reshape(channels, -1, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)


def linear(channels: int | None) -> Module:
    """`nn.Linear`: W is transposed. `channels` is the number of channels of the images that its input flattens."""
    return Module(
        lambda p: {"weight": channels_first(p.w, channels).T, "bias": p.b},
        lambda s: Dense(channels_last(s["weight"].T, channels), s["bias"]),
    )


def conv() -> Module:
    """`nn.Conv1d` and `nn.Conv2d`: (*kernel, in, out) -> (out, in, *kernel)"""

    def from_torch(s: Arrays) -> Params:
        w = np.moveaxis(s["weight"], (0, 1), (-1, -2))
        return (Conv2d if w.ndim == 4 else Conv1d)(w, s["bias"])

    return Module(lambda p: {"weight": np.moveaxis(p.w, (-1, -2), (0, 1)), "bias": p.b}, from_torch)


def conv_transpose(groups: int) -> Module:
    """`nn.ConvTranspose2d`: (kh, kw, c_in / groups, c_out) -> (c_in, c_out / groups, kh, kw)"""

    def to_torch(p: Conv2d) -> Arrays:
        kh, kw, n, c_out = p.w.shape
        split = np.asarray(p.w).reshape(kh, kw, n, groups, c_out // groups)
        return {"weight": split.transpose(3, 2, 4, 0, 1).reshape(groups * n, c_out // groups, kh, kw), "bias": p.b}

    def from_torch(s: Arrays) -> Conv2d:
        c_in, n, kh, kw = s["weight"].shape
        split = s["weight"].reshape(groups, c_in // groups, n, kh, kw)
        return Conv2d(split.transpose(3, 4, 1, 0, 2).reshape(kh, kw, c_in // groups, groups * n), s["bias"])

    return Module(to_torch, from_torch)


def batch_norm(channels: int | None) -> Module:
    """`nn.BatchNorm1d` and `nn.BatchNorm2d`, with the population statistics as running ones."""
    names = dict(zip(BatchNorm._fields, ("weight", "bias", "running_mean", "running_var"), strict=True))

    def to_torch(p: BatchNorm) -> Arrays:
        entries = {name: channels_first(getattr(p, field), channels) for field, name in names.items()}
        return entries | {"num_batches_tracked": np.zeros((), np.int64)}

    return Module(
        to_torch,
        lambda s: BatchNorm(**{field: channels_last(s[name], channels) for field, name in names.items()}),
    )


def layer_norm(channels: int | None) -> Module:
    """`nn.LayerNorm`"""
    return Module(
        lambda p: {"weight": channels_first(p.gamma, channels), "bias": channels_first(p.beta, channels)},
        lambda s: LayerNorm(channels_last(s["weight"], channels), channels_last(s["bias"], channels)),
    )


def rms_norm(channels: int | None) -> Module:
    """`nn.RMSNorm`"""
    return Module(
        lambda p: {"weight": channels_first(p.gamma, channels)},
        lambda s: RMSNorm(channels_last(s["weight"], channels)),
    )


def embedding() -> Module:
    """`nn.Embedding`"""
    return Module(lambda p: {"weight": p.w}, lambda s: Embedding(s["weight"]))


def recurrent(kind: type) -> Module:
    """`nn.LSTM`, `nn.GRU` and `nn.RNN` of one layer, with the gates in PyTorch's order and its two biases.

    The first has fnn's biases. The second is 0, but for the one of the candidate of `gru`, which is fnn's c.
    """

    def to_torch(p: Any) -> Arrays:
        second = np.zeros_like(p.b)
        if kind is GRU:
            second[2 * len(p.c) :] = p.c
        return {"weight_ih_l0": p.w.T, "weight_hh_l0": p.u.T, "bias_ih_l0": p.b, "bias_hh_l0": second}

    def from_torch(s: Arrays) -> Any:
        w, u = s["weight_ih_l0"].T, s["weight_hh_l0"].T
        first, second = s["bias_ih_l0"], s["bias_hh_l0"]
        if kind is not GRU:
            return kind(w, u, first + second)
        n = len(second) // 3
        both = np.concatenate([second[: 2 * n], np.zeros_like(second[2 * n :])])
        return GRU(w, u, first + both, second[2 * n :])

    return Module(to_torch, from_torch)


def both_directions(forward: Module, backward: Module) -> Module:
    """The same with `bidirectional=True`."""
    suffix = "_reverse"

    def to_torch(p: Bidirectional) -> Arrays:
        reverse = backward.to_torch(p.backward)
        return forward.to_torch(p.forward) | {f"{name}{suffix}": value for name, value in reverse.items()}

    def from_torch(s: Arrays) -> Bidirectional:
        reverse = {name.removesuffix(suffix): value for name, value in s.items() if name.endswith(suffix)}
        return Bidirectional(forward.from_torch(s), backward.from_torch(reverse))

    return Module(to_torch, from_torch)


RECURRENT = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
