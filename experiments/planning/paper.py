"""The plan of a GPT on paper: parameters, floating-point operations and collectives, without a compiler.

For n tokens on a device, L blocks of width d, a vocabulary of v ids, g = --model devices that split a block, and a
device's share of the parameters of N bytes (float32), of which S are split over the data axis if the plan splits them:

    FLOPs            of a block        3 · 2 n 12 d² / g + 14 n K d / g, with K = keys that a token is compared with:
                                       its length, and 12 for 14, up to 127 tokens; from 128 on, P is computed again,
                                       and of a quarter of the positions no keys past its end
                     with remat        once more 2 n 8 d² / g + 4 n K d / g (all but W_2)
                     of the head       3 · 2 n v d, not divided by g unless the vocabulary is split

    data-parallel    one all-reduce of N and the cost
    ZeRO-1           reduce-scatter of S, all-gather of S; the other N - S, and the cost, in an all-reduce
                     (Rajbhandari et al. 2020: as much as an all-reduce of N)
    ZeRO-3           all-gather of S forward, and again backward but for what no backward pass reads (positions, b, β;
                     with remat positions, the last β, b_2), reduce-scatter of S; the rest as above
    heads, hidden    two all-reduces of n d entries forward and two backward in each block (Shoeybi et al. 2019); with
                     remat a third forward, to normalize again what the attention returned
    vocabulary       if it is split: two all-reduces of n d entries, of the embedded rows and of dH, and three of n
                     numbers, for the largest logit, their sum and that of the label

What XLA's compiler for CPUs sends besides, and why, is in the docstring of `experiments.planning.gpt`.
"""

import math
import re
from typing import NamedTuple

import jax

from experiments.planning import networks
from experiments.planning.activations import LONG, activations, entry_bytes
from experiments.planning.analysis import Program
from experiments.planning.collectives import Collective
from experiments.planning.networks import Gpt

MOMENTS = {"sgd": 0, "momentum": 1, "heavy_ball": 1, "nesterov": 1, "adam": 2}
"""Numbers that an optimizer keeps for each parameter."""

_UNREAD = r"layer\.0\.w|.*\.(beta|b|b_qkv|b_o)"
"""The parameters that no backward pass reads: the positions, and what is added to a product or a norm."""
_UNREAD_WITH_REMAT = r"layer\.0\.w|layer\.\d+\.beta|.*\.3\.b"
"""Those of them that are not read to compute a block again: the positions, the last β, and b_2."""


class Sizes(NamedTuple):
    """Bytes of float32 parameters on a device.

    local      those of its share over "model"
    divisible  the part of `local` that the data axis divides
    backward   the part of `divisible` that the backward pass reads
    """

    local: int
    divisible: int
    backward: int

    def split(self, data: int) -> int:
        """Return what a device holds of them if the data axis splits them."""
        return self.local - self.divisible + self.divisible // data


class Paper(NamedTuple):
    """Bytes and floating-point operations of one device, and the collectives that the mathematics requires.

    `gathered` is the largest layer, W or a block, whose parameters a device has whole for a moment with ZeRO-3.
    """

    parameters: int
    optimizer: int
    batch: int
    gradients: int
    activations: int
    gathered: int
    flops: float
    flops_of_one: float
    collectives: tuple[Collective, ...]

    @property
    def memory(self) -> int:
        """Bytes of all together."""
        kept = self.parameters + self.optimizer + self.batch
        return kept + self.gradients + self.activations + self.gathered


def parameter_sizes(program: Program) -> Sizes:
    """Return the bytes of the parameters on one device."""
    rules = networks.rules(program.network) if program.model > 1 else ()
    params = jax.eval_shape(networks.build(program.network).init, jax.random.key(0))
    unread = _UNREAD_WITH_REMAT if isinstance(program.network, Gpt) and program.network.remat else _UNREAD
    local = divisible = backward = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        spec = next((tuple(spec) for rule, spec in rules if re.fullmatch(rule, name)), ())
        spec += (None,) * (leaf.ndim - len(spec))
        shards = [program.model if entry else 1 for entry in spec]
        size = 4 * leaf.size // math.prod(shards)
        local += size
        if any(n % (k * program.data) == 0 for n, k in zip(leaf.shape, shards, strict=True)):
            divisible += size
            backward += 0 if re.fullmatch(unread, name) else size
    return Sizes(local, divisible, backward)


def keys_per_token(length: int) -> float:
    """Return with how many keys `fnn.attention` compares a token, on average.

    From 128 tokens on, they are cut into up to four segments of whole blocks of 64 (256 on accelerators, with more keys
    for some lengths), each with the keys up to its end.

    >>> keys_per_token(100), keys_per_token(1024)
    (100, 640.0)
    """
    if length < LONG:
        return length
    segment = -(-length // 256) * 64
    ends = [min(start + segment, length) for start in range(0, length, segment)]
    return sum((end - start) * end for start, end in zip([0, *ends], ends, strict=False)) / length


def flops(gpt: Gpt, tokens: int, model: int = 1) -> float:
    """Return the floating-point operations of the matrix products of a step, for so many tokens on a device."""
    d, keys = gpt.width, keys_per_token(gpt.length)
    block = 3 * 2 * 12 * d**2 + (12 if gpt.length < LONG else 14) * keys * d
    block += (2 * 8 * d**2 + 4 * keys * d) if gpt.remat else 0
    head = 3 * 2 * gpt.vocabulary * d / (model if gpt.split_vocabulary else 1)
    return tokens * (gpt.layers * block / model + head)


def largest_layer(gpt: Gpt, model: int = 1) -> int:
    """Return the bytes of the parameters of W or of a block, whichever are more, on one device.

    >>> largest_layer(Gpt(96, 32, 2, 8, 64)) == 4 * (12 * 64**2 + 13 * 64)
    True
    """
    d, rows = gpt.width, gpt.vocabulary // (model if gpt.split_vocabulary else 1)
    return 4 * max(rows * d, (12 * d**2 + 7 * d) // model + 6 * d)


def required_collectives(program: Program, gpt: Gpt) -> tuple[Collective, ...]:
    """Return the collectives that the mathematics requires, with bytes of the whole arrays of a group."""
    found, sizes = [], parameter_sizes(program)
    over_data = lambda kind, size, times=1: found.append(Collective(kind, size, times, program.data))
    over_model = lambda size, times: found.append(Collective("all-reduce", size, times, program.model))
    tokens = program.batch_size // program.data * gpt.length
    if program.model > 1:
        over_model(tokens * gpt.width * entry_bytes(program.dtype), (5 if gpt.remat else 4) * gpt.layers)
    if program.model > 1 and gpt.split_vocabulary:
        over_model(tokens * gpt.width * entry_bytes(program.dtype), 2)
        over_model(4 * tokens, 3)
    if program.data > 1 and (program.split_optimizer or program.split_parameters):
        over_data("all-gather", sizes.divisible)
        if program.split_parameters:
            over_data("all-gather", sizes.backward)
        over_data("reduce-scatter", sizes.divisible)
        over_data("all-reduce", sizes.local - sizes.divisible + 4)
    elif program.data > 1:
        over_data("all-reduce", sizes.local + 4)
    return tuple(found)


def on_paper(program: Program, gpt: Gpt) -> Paper:
    """Apply the formulas of this module and of `activations`."""
    sizes, sequences = parameter_sizes(program), program.batch_size // program.data
    shard = sizes.split(program.data)
    parameters = shard if program.split_parameters else sizes.local
    moments = shard if program.split_optimizer or program.split_parameters else sizes.local
    return Paper(
        parameters,
        MOMENTS[program.optimizer] * moments,
        2 * 4 * sequences * gpt.length,  # ids and labels
        parameters,
        activations(gpt, sequences, program.model, program.dtype).peak,
        largest_layer(gpt, program.model) if program.split_parameters else 0,
        flops(gpt, sequences * gpt.length, program.model),
        flops(gpt, program.batch_size * gpt.length),
        required_collectives(program, gpt),
    )
