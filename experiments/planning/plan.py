"""Predict memory, communication and efficiency of training on many devices.

    python -m experiments plan --sizes 784 2048 2048 10 --devices 8 --batch-size 1024 --bandwidth 100 --rate 100
    python -m experiments plan --sizes 4096 16384 4096 10 --devices 64 --model 8 --optimizer adam --split-optimizer

The training step with its layout is compiled for that many virtual CPU devices; nothing is computed.
The compiled program of one device gives:

    memory       parameters, optimizer state and batch: the shards that the layout assigns to a device.
                 temporaries (gradients, activations, communication buffers): XLA's memory analysis.
                 peak = arguments + temporaries + outputs that do not reuse the memory of arguments
    F            its FLOPs, by XLA's cost analysis; F_1 are those of the same batch on one device
    collectives  each operation in its text: n bytes, summed or gathered in groups of g devices

With the flags R = --rate, B = --bandwidth and L = --latency, the prediction is:

    T_compute        F / R
    T_communication  Σ over collectives: factor · n / B + steps · L. For rings (Patarasuk and Yuan
                     2009) the factor of an all-reduce is 2 (g - 1) / g, in 2 (g - 1) steps; half as
                     much for an all-gather, a reduce-scatter, an all-to-all; 1 for a permutation.
    T_exposed        T_communication without overlap, max(0, T_communication - T_compute) with perfect
                     overlap. The true value is between these bounds.
    efficiency       T_compute / (T_compute + T_exposed)
    speed-up         (F_1 / R) / (T_compute + T_exposed). Work that every device repeats, such as the
                     update of replicated parameters, does not count as a gain.

--model splits pairs of dense layers, the first by columns and the second by rows (Shoeybi et al.
2019). --data splits the batch. --split-optimizer splits the optimizer's state over the data axis
(ZeRO-1; Rajbhandari et al. 2020). --split-rows assumes that the examples are sharded too, because
they exceed a GiB or belong to several processes. An all-reduce of its rows then assembles each
shuffled batch.

Limits: R, B and L are your assumptions, every link is assumed to be equal, and the time of memory
accesses is included only as far as R includes it. XLA compiles for CPUs here; its GPU and TPU
compilers use other temporaries, and turn an all-reduce of which a device keeps only its shard
into a reduce-scatter of half the bytes. A CPU computes bfloat16 in
float32, so a plan with --dtype bfloat16 overstates memory and bytes. The shards of parameters,
optimizer state and batch are the same on any platform. Tests compare them with what 8 virtual
devices hold after a step, and the collectives with what the mathematics requires.
Prints three tables, and saves plan.json under results/plan/.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from experiments import reports
from experiments.errors import at_least, positive, usage
from experiments.planning.analysis import MAX_DEVICES, Comparison, Memory, Program, StepAnalysis, compile_plan, to_json
from experiments.planning.collectives import Collective, ring_factor, ring_steps
from experiments.wording import counted

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Config:
    sizes: tuple[int, ...] = (784, 2048, 2048, 10)
    """Units of the layers of an MLP, starting with the input."""
    devices: int = 8
    """Total number of devices: --data times --model."""
    data: int | None = None
    """Shards of the batch. None: --devices / --model."""
    model: int = 1
    """Shards of each pair of dense layers."""
    batch_size: int = 1024
    """Examples per step, over all devices."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the computation; parameters are float32."""
    optimizer: Literal["sgd", "momentum", "heavy_ball", "nesterov", "adam"] = "momentum"
    """Optimizer."""
    split_optimizer: bool = False
    """Split the optimizer's state over the data axis."""
    split_rows: bool = False
    """Split the examples over the data axis, as in a run of several processes."""
    bandwidth: float = 100.0
    """Bandwidth in GB/s (10⁹ bytes) of a device that sends and receives at the same time."""
    latency: float = 1.0
    """Latency of a message between neighbouring devices, in microseconds."""
    rate: float = 100.0
    """TFLOP/s (10¹²) that a device reaches on such layers; less than in its data sheet."""
    timeout: float = 600.0
    """Maximum time to compile, in seconds."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder plan."""


class Prediction(NamedTuple):
    """Seconds per step, efficiency and speed-up.

    Pairs are (without overlap, with perfect overlap).

    compute, communication   seconds of a step on one of the devices
    one_device               seconds of the same batch on a single device
    """

    compute: float
    communication: float
    one_device: float
    step: tuple[float, float]
    efficiency: tuple[float, float]
    speed_up: tuple[float, float]


def make_program(config: Config) -> Program:
    """Return the program to compile; raise UsageError for an invalid flag."""
    if len(config.sizes) < 2 or min(config.sizes, default=0) < 1:
        raise usage("--sizes", "at least two positive numbers", " ".join(map(str, config.sizes)) or "none")
    for flag in ("devices", "model", "batch_size"):
        at_least(f"--{flag.replace('_', '-')}", getattr(config, flag), 1)
    for flag in ("bandwidth", "rate"):
        positive(f"--{flag}", getattr(config, flag))
    at_least("--latency", config.latency, 0.0)
    at_least("--timeout", config.timeout, 1.0)
    if config.devices > MAX_DEVICES:
        raise usage("--devices", f"at most {MAX_DEVICES}, which XLA compiles for in a minute", config.devices)
    data = config.devices // config.model if config.data is None else config.data
    at_least("--data", data, 1)
    if data * config.model != config.devices:
        raise usage("--devices", f"--data times --model, {data} times {config.model}", config.devices)
    if config.batch_size % data:
        raise usage("--batch-size", f"a multiple of --data, {data}, for shards of equal size", config.batch_size)
    split = config.sizes[1:-1:2]  # between the two layers of a pair
    if config.model > 1 and not split:
        raise usage("--model", "1 if there is only one dense layer", config.model)
    if any(size % config.model for size in split):
        expected = f"a divisor of the sizes between the layers of a pair, {', '.join(map(str, split))}"
        raise usage("--model", expected, config.model)
    return Program(
        config.sizes, data, config.model, config.batch_size, config.dtype, config.optimizer, config.split_optimizer
    )


def collective_seconds(collective: Collective, bandwidth: float, latency: float) -> float:
    """Return the time of a collective with ring algorithms, from bytes per second and seconds per message.

    >>> collective_seconds(Collective("all-reduce", 400, 1, 8), bandwidth=100.0, latency=0.5)
    14.0
    """
    each = ring_factor(collective) * collective.bytes / bandwidth + ring_steps(collective) * latency
    return collective.times * each


def predict(comparison: Comparison, bandwidth: float, latency: float, rate: float) -> Prediction:
    """Apply the formulas of this module's docstring; rates are per second, the latency is in seconds."""
    many, compute, one = comparison.many, comparison.many.flops / rate, comparison.one.flops / rate
    communication = sum(collective_seconds(collective, bandwidth, latency) for collective in many.collectives)
    step = compute + communication, max(compute, communication)
    pair = lambda seconds: (seconds / step[0], seconds / step[1])
    return Prediction(compute, communication, one, step, pair(compute), pair(one))


def add_row_exchange(comparison: Comparison, program: Program) -> Comparison:
    """Add the all-reduce that assembles a shuffled batch: all devices but the owner of a row add zeros to it."""
    many = comparison.many
    sent = (*many.collectives, Collective("all-reduce", comparison.one.memory.batch, 1, program.data))
    return comparison._replace(many=many._replace(collectives=sent))


def make_table(title: str, *columns: str) -> "Table":
    """Make a table with the first column left-aligned and the others right-aligned."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def memory_table(comparison: Comparison, devices: int) -> "Table":
    """Make a table with a row per kind of array, in MB on one device."""
    table = make_table("memory per device, MB", "", counted(devices, "device"), "1 device")

    def row(name: str, size: Callable[[Memory], int]) -> None:
        table.add_row(name, *(f"{size(step.memory) / 1e6:,.3f}" for step in (comparison.many, comparison.one)))

    gradients = lambda memory: min(memory.gradients, memory.temporaries)
    row("parameters", lambda memory: memory.parameters)
    row("optimizer state", lambda memory: memory.optimizer)
    row("batch", lambda memory: memory.batch)
    row("gradients", gradients)
    row("activations, other temporaries", lambda memory: memory.temporaries - gradients(memory))
    table.add_section()
    row("peak", lambda memory: memory.peak)
    return table


def communication_table(step: StepAnalysis, bandwidth: float, latency: float) -> "Table":
    """Make a table with a row per kind and size of collective."""
    columns = ("", "devices", "times", "MB each", "ring factor", "MB sent", "steps", "ms")
    table = make_table("communication per step", *columns)
    for found in step.collectives:
        factor, steps = ring_factor(found), found.times * ring_steps(found)
        table.add_row(
            found.kind + (", per iteration" if found.unbounded else ""),
            str(found.group_size),
            str(found.times),
            f"{found.bytes / 1e6:,.3f}",
            f"{factor:.3f}",
            f"{found.times * factor * found.bytes / 1e6:,.3f}",
            str(steps),
            f"{1e3 * collective_seconds(found, bandwidth, latency):.4g}",
        )
    return table


def prediction_table(prediction: Prediction, devices: int) -> "Table":
    """Make a table of the prediction without overlap and with perfect overlap."""
    table = make_table("prediction", "", "no overlap", "perfect overlap")
    for name, seconds in (("compute", prediction.compute), ("communication", prediction.communication)):
        table.add_row(f"{name}, ms", *[f"{1e3 * seconds:.4g}"] * 2)
    table.add_row("step, ms", *(f"{1e3 * seconds:.4g}" for seconds in prediction.step))
    table.add_row("efficiency", *(f"{100 * efficiency:.1f} %" for efficiency in prediction.efficiency))
    table.add_row(
        f"speed-up of {counted(devices, 'device')} over one", *(f"{ratio:.2f}" for ratio in prediction.speed_up)
    )
    return table


def main(config: Config) -> None:
    """Compile the step, print the tables, and save plan.json."""
    from rich.console import Console

    program = make_program(config)
    folder = reports.make_folder(config.results, "plan", "plan.json")
    comparison = compile_plan(program, config.timeout)
    comparison = add_row_exchange(comparison, program) if config.split_rows else comparison
    bandwidth, latency, rate = 1e9 * config.bandwidth, 1e-6 * config.latency, 1e12 * config.rate
    prediction = predict(comparison, bandwidth, latency, rate)
    print(
        f"plan: {'-'.join(map(str, config.sizes))}, {counted(config.batch_size, 'example')} per step over "
        f"{program.data} x {counted(program.model, 'device')} (data x model); compiled for virtual CPU devices in "
        f"{comparison.many.seconds:.1f} s"
    )
    console = Console(highlight=False, width=max(Console().width, 100))
    console.print(memory_table(comparison, config.devices))
    console.print(communication_table(comparison.many, bandwidth, latency))
    console.print(prediction_table(prediction, config.devices))
    assumed = f"{config.rate:g} TFLOP/s, {config.bandwidth:g} GB/s, {config.latency:g} µs"
    print(f"assumed, not measured: {assumed}")
    path = folder / "plan.json"
    values = {"experiment": "plan", "config": asdict(config), "versions": reports.versions()}
    reports.save_json(path, values | {"compiled": to_json(comparison), "prediction": prediction._asdict()})
    print(f"saved: {path}")
