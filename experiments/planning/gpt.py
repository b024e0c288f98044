"""Predict memory, communication and efficiency of training a GPT on many devices.

    python -m experiments plan gpt --devices 8
    python -m experiments plan gpt --width 1536 --devices 64 --split-parameters
    python -m experiments plan gpt --devices 512 --model 4 --batch-size 512 --remat

The defaults are GPT-2 with 124 million parameters. The network is that of `fnn.gpt`, its
blocks in one loop (`fnn.repeat`). Two plans are printed side by side.

Compiled: as in `python -m experiments plan --help`, which has the formulas of the
prediction, too. The training step is compiled for that many virtual CPU devices. Nothing
is computed. FLOPs are those of XLA's cost analysis, plus the matrix products that loops
repeat.

On paper: what the mathematics requires, without a compiler. The formulas are in the
docstrings of experiments/planning: activations.py (what attention and the rest of a block
keep, with and without --remat), paper.py (FLOPs; collectives of data-parallel,
tensor-parallel, ZeRO-1, ZeRO-3), pipeline.py (GPipe and 1F1B). If compiling takes longer
than --timeout, or with --no-compile, this plan is all.

--data splits the batch. --model splits the heads and the hidden units of each block
(Shoeybi et al. 2019), --split-vocabulary also the rows of the embedding. --split-optimizer
splits the optimizer's state over the data axis (ZeRO-1), --split-parameters parameters and
gradients, too (ZeRO-3; Rajbhandari et al. 2020).

The table of activations has rows for --lengths. Its compiled columns are the temporaries,
less the gradients, of the sequences of one device. They include the workspace of the
operation under way, and are below the paper where not all gradients exist yet when the
activations need the most memory.

What XLA's compiler for CPUs sends differs from the paper:
  - It sums a gradient of which each device keeps a shard by an all-reduce, which sends
    twice as much as the reduce-scatter of its compilers for GPUs and TPUs.
  - The embedding has two gradients, one from the embedded rows and one from the logits.
    They are summed over the devices before they are added: vocabulary · width numbers more.
    Not if a device keeps some of its columns (--split-optimizer or --split-parameters, and
    --data does not divide the vocabulary): then an all-gather sends the ids, and an
    all-to-all the gradients of the embedded rows.
  - With --model, Q, K and V stand side by side in W_qkv, so a device's share of its columns
    is not whole heads of each. XLA sends them on by permutations and all-to-alls. A matrix
    with the columns of each device's heads side by side would need none.

Tests compare with what 8 virtual devices hold and send. Prints tables, and saves plan.json
under results/plan-gpt/.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from experiments import reports
from experiments.errors import at_least, usage
from experiments.planning import gpt_tables, tables
from experiments.planning.activations import activations
from experiments.planning.analysis import Program, StepAnalysis
from experiments.planning.arguments import check_mesh, check_rates, check_split, program_of
from experiments.planning.gpt_tables import Length
from experiments.planning.networks import Gpt
from experiments.planning.paper import on_paper
from experiments.planning.pipeline import pipeline, possible_stages
from experiments.planning.predictions import predict
from experiments.planning.virtual import TooSlow, compile_all, compile_plan, plain


@dataclass(frozen=True)
class Config:
    layers: int = 12
    """Number of blocks."""
    heads: int = 12
    """Heads of attention in each block; they divide --width."""
    width: int = 768
    """Features between the blocks. A block has 4 times as many hidden units."""
    vocabulary: int = 50257
    """Number of ids."""
    length: int = 1024
    """Tokens of a sequence."""
    lengths: tuple[int, ...] | None = None
    """Lengths to compare the activations of; two programs are compiled for each. None: --length, and twice as many."""
    repeat: bool = True
    """Make the blocks one loop. It compiles faster; --no-repeat gives the program of `fnn.gpt`."""
    remat: bool = False
    """Keep only the input of each block, and compute the rest again in the backward pass. XLA on a CPU saves no memory
    so with --no-repeat."""
    devices: int = 8
    """Total number of devices: --data times --model."""
    data: int | None = None
    """Shards of the batch. None: --devices / --model."""
    model: int = 1
    """Shards of the heads and the hidden units of each block."""
    split_vocabulary: bool = False
    """Split the rows of the embedding over --model, too."""
    split_optimizer: bool = False
    """Split the optimizer's state over the data axis (ZeRO-1)."""
    split_parameters: bool = False
    """Split parameters, gradients and the optimizer's state over the data axis (ZeRO-3)."""
    batch_size: int = 64
    """Sequences per step, over all devices."""
    micro_batches: int | None = None
    """Micro-batches of a pipeline. None: about four for each of its stages."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the computation; parameters are float32. A CPU computes bfloat16 in float32, so that the compiled
    plan overstates it."""
    optimizer: Literal["sgd", "momentum", "heavy_ball", "nesterov", "adam"] = "adam"
    """Optimizer."""
    bandwidth: float = 100.0
    """Bandwidth in GB/s (10⁹ bytes) of a device that sends and receives at the same time."""
    latency: float = 1.0
    """Latency of a message between neighbouring devices, in microseconds."""
    rate: float = 100.0
    """TFLOP/s (10¹²) that a device reaches on such layers; less than in its data sheet."""
    compile: bool = True
    """Compile the step. Otherwise the plan is on paper alone."""
    timeout: float = 600.0
    """Maximum time to compile, in seconds."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder plan-gpt."""


def make_program(config: Config) -> Program:
    """Return the program to compile; raise UsageError for an invalid flag."""
    for flag in ("layers", "heads", "width", "vocabulary", "length", "batch_size"):
        at_least(f"--{flag.replace('_', '-')}", getattr(config, flag), 1)
    if config.width % config.heads:
        raise usage("--heads", f"a divisor of --width, {config.width}", config.heads)
    data = check_mesh(config.devices, config.data, config.model)
    if config.heads % config.model:
        raise usage("--model", f"a divisor of --heads, {config.heads}", config.model)
    if config.batch_size % data:
        raise usage("--batch-size", f"a multiple of --data, {data}, for shards of equal size", config.batch_size)
    if config.split_vocabulary and (config.model == 1 or config.vocabulary % config.model):
        expected = f"a multiple of --model, {config.model}, which is above 1, to split it"
        raise usage("--vocabulary", expected, config.vocabulary)
    check_split(config.split_optimizer, config.split_parameters)
    at_least("--timeout", config.timeout, 1.0)
    if config.lengths is not None and min(config.lengths, default=1) < 1:
        raise usage("--lengths", "positive numbers", " ".join(map(str, config.lengths)))
    sequences = 2 * config.batch_size // data  # of a replica of the shortest pipeline
    if config.micro_batches is not None and (config.micro_batches < 1 or sequences % config.micro_batches):
        expected = f"a divisor of the sequences of a pipeline of two stages, {sequences}"
        raise usage("--micro-batches", expected, config.micro_batches)
    gpt = Gpt(
        config.vocabulary,
        config.length,
        config.layers,
        config.heads,
        config.width,
        config.repeat,
        config.remat,
        config.split_vocabulary,
    )
    return program_of(gpt, data, config)


def compare_lengths(config: Config, program: Program, gpt: Gpt, seconds: float) -> list[Length]:
    """Return the activations of the lengths to compare, compiled too if `seconds` allow for it."""
    chosen = (gpt.length, 2 * gpt.length) if config.lengths is None else config.lengths
    share = program._replace(data=1, batch_size=program.batch_size // program.data)
    share = share._replace(split_optimizer=False, split_parameters=False)
    networks = [gpt._replace(length=length, remat=remat) for length in sorted(set(chosen)) for remat in (False, True)]
    paper = [activations(network, share.batch_size, share.model, share.dtype) for network in networks]
    compiled: Sequence[StepAnalysis | None] = [None] * len(networks)
    if networks and seconds > 0:
        with contextlib.suppress(TooSlow):
            compiled = compile_all([share._replace(network=network) for network in networks], seconds)
    return [
        Length(networks[i].length, paper[i], paper[i + 1], compiled[i], compiled[i + 1])
        for i in range(0, len(networks), 2)
    ]


def main(config: Config) -> None:
    """Compile the step, print the tables, and save plan.json."""
    program, rates = make_program(config), check_rates(config.rate, config.bandwidth, config.latency)
    gpt: Any = program.network
    folder = reports.make_folder(config.results, "plan-gpt", "plan.json")
    print(gpt_tables.headline(program, gpt), flush=True)

    start, compiled, why = time.monotonic(), None, "--no-compile"
    if config.compile:
        try:
            compiled = compile_plan(program, config.timeout)
        except TooSlow as error:
            why = str(error)
    left = config.timeout - (time.monotonic() - start) if compiled else 0.0
    lengths = compare_lengths(config, program, gpt, left)
    paper = on_paper(program, gpt)
    stages = possible_stages(program, gpt)
    pipelines = [pipeline(program, gpt, p, rates.compute, config.micro_batches) for p in stages]
    predicted = {"paper": predict(paper.flops, paper.flops_of_one, paper.collectives, rates)}

    shown = [gpt_tables.memory_table(compiled, paper, config.devices)]
    shown += [gpt_tables.lengths_table(lengths)] if lengths else []
    if compiled is None:
        print(f"all of this plan is on paper: {why}")
    else:
        many = compiled.many
        print(f"compiled for virtual CPU devices in {many.seconds:.1f} s")
        predicted["compiled"] = predict(many.flops, compiled.one.flops, many.collectives, rates)
        if many.collectives:
            shown.append(tables.communication_table(many.collectives, rates, "communication per step, compiled"))
        if any(found.compiled is None for found in lengths):
            print(f"compiling other lengths too took longer than --timeout {config.timeout:g} s")
    print(gpt_tables.block_line(gpt, program.batch_size // program.data, program.model, program.dtype))
    if paper.collectives:
        shown.append(tables.communication_table(paper.collectives, rates, "communication per step, on paper"))
    if compiled is not None:
        title = "prediction with the compiled collectives"
        shown.append(tables.prediction_table(predicted["compiled"], config.devices, title))
    shown.append(tables.prediction_table(predicted["paper"], config.devices, "prediction on paper"))
    shown += [gpt_tables.pipeline_table(pipelines)] if pipelines else []
    tables.show(shown)
    print(f"assumed, not measured: {config.rate:g} TFLOP/s, {config.bandwidth:g} GB/s, {config.latency:g} µs")
    path = folder / "plan.json"
    values = {"experiment": "plan gpt", "config": asdict(config), "versions": reports.versions()}
    found = {"compiled": compiled, "paper": paper, "lengths": lengths, "pipelines": pipelines, "prediction": predicted}
    reports.save_json(path, values | plain(found))
    print(f"saved: {path}")
