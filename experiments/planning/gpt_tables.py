"""The tables that the plan of a GPT prints, at most 80 columns wide."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from experiments.planning.activations import Activations, kept_by_block
from experiments.planning.analysis import Comparison, Memory, Program, StepAnalysis
from experiments.planning.networks import Gpt
from experiments.planning.paper import Paper, parameter_sizes
from experiments.planning.pipeline import Pipeline
from experiments.planning.tables import make_table, megabytes, milliseconds
from experiments.wording import counted

if TYPE_CHECKING:
    from rich.table import Table


class Length(NamedTuple):
    """Activations of sequences of one length: on paper, and the compiled step of one device's share of the batch.

    The fields that end with `remat` are those of blocks that keep their inputs alone.
    """

    length: int
    paper: Activations
    paper_remat: Activations
    compiled: StepAnalysis | None = None
    compiled_remat: StepAnalysis | None = None


def headline(program: Program, gpt: Gpt) -> str:
    """Describe the network and the step in two lines."""
    count = parameter_sizes(program._replace(model=1)).local // 4
    step = f"{counted(program.batch_size, 'sequence')} of {counted(gpt.length, 'token')} per step"
    return (
        f"plan: a GPT of {counted(count, 'parameter')}: {counted(gpt.layers, 'block')}, {counted(gpt.heads, 'head')}, "
        f"width {gpt.width:,}\n{step} over {program.data:,} x {counted(program.model, 'device')} (data x model)"
    )


def temporaries(memory: Memory) -> int:
    """Return the temporaries without the gradients: activations, and the workspace of the operation under way."""
    return memory.temporaries - min(memory.gradients, memory.temporaries)


def memory_table(compiled: Comparison | None, paper: Paper, devices: int) -> "Table":
    """Make a table with a row per kind of array, in MB on one device: as compiled, and on paper."""
    if compiled is None:
        table = make_table("memory per device, MB: on paper", "", counted(devices, "device"))
    else:
        columns = ("", counted(devices, "device"), "on paper", "1 device")
        table = make_table("memory per device, MB: compiled, and on paper", *columns)

    def row(name: str, key: str, size: int) -> None:
        cells = [megabytes(size)]
        if compiled is not None:
            many, one = (megabytes(sizes(step.memory)[key]) for step in (compiled.many, compiled.one))
            cells = [many, *cells, one]
        table.add_row(name, *cells)

    row("parameters", "parameters", paper.parameters)
    row("optimizer state", "optimizer", paper.optimizer)
    row("batch", "batch", paper.batch)
    row("gradients", "gradients", paper.gradients)
    row("activations, workspace", "temporaries", paper.activations + paper.gathered)
    table.add_section()
    row("peak", "peak", paper.memory)
    return table


def sizes(memory: Memory) -> dict[str, int]:
    """Return the rows of the table of memory."""
    named = {name: getattr(memory, name) for name in ("parameters", "optimizer", "batch", "peak")}
    rest = temporaries(memory)
    return named | {"gradients": memory.temporaries - rest, "temporaries": rest}


def block_line(gpt: Gpt, sequences: int, model: int, dtype: str) -> str:
    """Say what one block keeps for the backward pass, on paper."""
    attention, others = (size / 1e6 for size in kept_by_block(gpt, sequences, model, dtype))
    return f"on paper a block keeps {attention + others:,.1f} MB to go backward, {attention:,.1f} MB of it in attention"


def lengths_table(lengths: Sequence[Length]) -> "Table":
    """Make a table of what the blocks and the head keep, by the length of the sequences."""
    if all(row.compiled is None for row in lengths):
        table = make_table(
            "activations per device, MB: on paper", "tokens", "attention", "share", "kept", "remat, kept"
        )
    else:
        columns = ("tokens", "attention", "share", "kept", "compiled", "remat, kept", "compiled")
        table = make_table("activations per device, MB: on paper, and compiled temporaries", *columns)

    def with_compiled(paper: Activations, step: StepAnalysis | None) -> list[str]:
        found = [f"{paper.peak / 1e6:,.1f}"]
        return found if step is None else [*found, f"{temporaries(step.memory) / 1e6:,.1f}"]

    for row in lengths:
        table.add_row(
            f"{row.length:,}",
            f"{row.paper.attention / 1e6:,.1f}",
            f"{100 * row.paper.attention / row.paper.peak:.0f} %",
            *with_compiled(row.paper, row.compiled),
            *with_compiled(row.paper_remat, row.compiled_remat),
        )
    return table


def pipeline_table(pipelines: Sequence[Pipeline]) -> "Table":
    """Make a table with a row per number of stages."""
    columns = ("p x data", "m", "bubble", "weights", "GPipe", "1F1B", "sent", "step, ms")
    table = make_table("pipeline of p stages, m micro-batches, MB per device: on paper", *columns)
    for row in pipelines:
        megabytes = (f"{size / 1e6:,.0f}" for size in (row.parameters, row.gpipe, row.one_f_one_b, row.sent))
        table.add_row(
            f"{row.stages} x {row.data:,}",
            f"{row.micro_batches:,}",
            f"{100 * row.bubble:.1f} %",
            *megabytes,
            milliseconds(row.seconds),
        )
    return table
