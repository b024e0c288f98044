"""A pipeline of the blocks of a GPT, on paper: each stage of devices has consecutive blocks.

Nothing of this page is compiled. A batch goes through p stages in m micro-batches, each forward and backward:

    bubble        (p - 1) / (m + p - 1) of the step a stage waits (GPipe, Huang et al. 2019). With one forward, one
                  backward in turn (1F1B, Narayanan et al. 2021) the bubble is the same, the memory less.
    step          (m + p - 1) T, where T is a micro-batch's time in the slowest stage, forward and backward. That is
                  the last one, with the head: T = (3 · 2 n 12 d² L / p + … + 3 · 2 n v d) / R for n tokens.
    memory        parameters: those of L / p blocks. The first stage and the last one have W of the tied embedding,
                  the first the positions too, the last the final norm. The largest stage is given: the first.
                  activations (`experiments.planning.activations`): what the blocks of a stage keep, of all m
                  micro-batches with GPipe, of p - i with 1F1B in stage i = 0, 1, …, which lets the first go backward
                  before the next goes forward; and once, what the head or a block with remat adds as it goes backward.
                  The largest stage is given: with GPipe the last one, with 1F1B the first or the last
    sent          between neighbouring stages, for each micro-batch n d entries forward and as many backward;
                  between the first and the last stage, the gradient of W, 4 v d bytes, in an all-reduce of two

A stage has the other axes of the mesh to itself: `model` devices split its blocks, and the `data` replicas of the
pipeline each take a part of the batch and sum the gradients of a stage, as without a pipeline.
"""

from typing import NamedTuple

from experiments.planning.activations import activations, entry_bytes
from experiments.planning.analysis import Program
from experiments.planning.networks import Gpt
from experiments.planning.paper import MOMENTS, flops, parameter_sizes


class Pipeline(NamedTuple):
    """A pipeline; bytes are those of one device of the largest stage.

    stages         p
    data           replicas of the pipeline
    micro_batches  m
    bubble         (p - 1) / (m + p - 1)
    parameters     parameters, gradients and optimizer state
    gpipe          activations with GPipe's schedule
    one_f_one_b    activations with 1F1B
    sent           bytes that a stage in the middle sends in a step, forward and backward
    seconds        of a step without communication
    """

    stages: int
    data: int
    micro_batches: int
    bubble: float
    parameters: int
    gpipe: int
    one_f_one_b: int
    sent: int
    seconds: float


def possible_stages(program: Program, gpt: Gpt) -> list[int]:
    """Return the numbers of stages, powers of two, that divide the blocks and the devices over "data".

    >>> gpt = Gpt(65, 16, layers=12, heads=2, width=8)
    >>> possible_stages(Program(gpt, 8, 1, 16, "float32", "adam", False), gpt)
    [2, 4]
    """
    powers = (2**i for i in range(1, gpt.layers.bit_length()))
    return [p for p in powers if gpt.layers % p == 0 and program.data % p == 0]


def default_micro_batches(sequences: int, stages: int) -> int:
    """Return the largest number that divides the sequences, up to four for each stage (Huang et al. 2019).

    >>> default_micro_batches(64, 4), default_micro_batches(6, 4)
    (16, 6)
    """
    return max(m for m in range(1, min(4 * stages, sequences) + 1) if sequences % m == 0)


def pipeline(program: Program, gpt: Gpt, stages: int, rate: float, micro_batches: int | None = None) -> Pipeline:
    """Apply the formulas of this module's docstring.

    Args:
      program: the step without a pipeline, over data · model devices; `stages` divides `data`.
      gpt: its network; `stages` divides its layers.
      stages: p.
      rate: FLOP/s of a device.
      micro_batches: m, which divides the sequences of a replica. None: about four for each stage.
    """
    data = program.data // stages
    sequences = program.batch_size // data
    m = default_micro_batches(sequences, stages) if micro_batches is None else micro_batches
    stage = gpt._replace(layers=gpt.layers // stages)
    sizes = parameter_sizes(program._replace(network=stage, data=data))
    shard = sizes.split(data)
    moments = MOMENTS[program.optimizer] * (
        shard if program.split_optimizer or program.split_parameters else sizes.local
    )
    held = 2 * (shard if program.split_parameters else sizes.local)
    kept = activations(stage, sequences // m, program.model, program.dtype)
    tokens = sequences // m * gpt.length
    slot = flops(stage, tokens, program.model) / rate
    return Pipeline(
        stages,
        data,
        m,
        (stages - 1) / (m + stages - 1),
        held + moments,
        m * kept.blocks + max(kept.head, kept.recomputed),
        max(min(stages, m) * kept.blocks + kept.recomputed, kept.peak),
        2 * m * tokens * gpt.width * entry_bytes(program.dtype),
        (m + stages - 1) * slot,
    )
