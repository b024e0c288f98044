"""What a training step needs on devices that are not here: memory, communication, time and efficiency, predicted.

    python -m experiments plan --sizes 784 2048 2048 10 --devices 8 --batch-size 1024 --bandwidth 100 --rate 100
    python -m experiments plan --sizes 4096 16384 4096 10 --devices 64 --model 8 --optimizer adam --split-optimizer

The step of fnn, layout included, is compiled for that many virtual CPU devices; nothing is
computed and no array is made. From the compiled program, which is that of one device:

    memory       parameters, optimizer state and batch: the parts that the layout gives a device.
                 temporaries (gradients, activations, what is sent): XLA's memory analysis.
                 peak = arguments + temporaries + outputs that do not replace arguments
    F            its FLOPs, by XLA's cost analysis; F_1 those of the same batch on one device
    collectives  each operation in its text: n bytes, summed or gathered in groups of g devices

and from the flags, R = --rate, B = --bandwidth, L = --latency:

    T_compute        F / R
    T_communication  Σ over collectives: factor · n / B + steps · L; for rings (Patarasuk and Yuan
                     2009) the factor is 2 (g - 1) / g in 2 (g - 1) steps for an all-reduce, half of
                     both for an all-gather, a reduce-scatter, an all-to-all; 1 for a permutation
    T_exposed        T_communication if nothing overlaps; max(0, T_communication - T_compute) if
                     everything does: the truth lies between
    efficiency       T_compute / (T_compute + T_exposed)
    speed-up         (F_1 / R) / (T_compute + T_exposed): what every device does again, such as the
                     update of parameters that all of them hold, is no gain

--model splits pairs of dense layers, columns then rows (Shoeybi et al. 2019), --data the batch;
--split-optimizer splits the optimizer's state over the data axis (ZeRO-1; Rajbhandari et al. 2020).
--split-rows says that no device has all examples (more than a GiB, or several processes): then a
shuffled batch is put together by an all-reduce of its rows.

What is not known here: R, B and L are yours, every link is taken to be the same, and the time
that a device's own memory takes is in R or nowhere. The compiler is XLA's for CPUs. Those for
GPUs and TPUs keep other temporaries, and have passes that it lacks: an all-reduce of which a
device keeps only its part becomes a reduce-scatter, of half the bytes. A CPU computes bfloat16
in float32, so a plan with --dtype bfloat16 overstates memory and bytes. The parts of parameters,
optimizer state and batch are those of any platform: tests compare them with what 8 virtual
devices hold after a step, and what is summed with what the mathematics needs.

Prints three tables; saves plan.json under results/plan/.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from experiments import reports
from experiments.errors import at_least, positive, usage
from experiments.planning.collectives import Collective, ring_factor, ring_steps
from experiments.planning.planned import MOST, Comparison, Facts, Program, compile_plan, to_json

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Config:
    sizes: tuple[int, ...] = (784, 2048, 2048, 10)
    """Units of the layers of an MLP, input first."""
    devices: int = 8
    """Devices in all: --data times --model."""
    data: int | None = None
    """Parts of the batch; None: --devices / --model."""
    model: int = 1
    """Parts of each pair of dense layers."""
    batch_size: int = 1024
    """Examples per step, over all devices."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What is computed in; parameters are float32."""
    optimizer: Literal["sgd", "momentum", "heavy_ball", "nesterov", "adam"] = "momentum"
    """One of fnn's."""
    split_optimizer: bool = False
    """Split the optimizer's state over the data axis."""
    split_rows: bool = False
    """The examples are split over the data axis, as those of several processes are."""
    bandwidth: float = 100.0
    """GB/s (10⁹ bytes) that a device sends while it receives as much."""
    latency: float = 1.0
    """Microseconds from one device to the next."""
    rate: float = 100.0
    """TFLOP/s (10¹²) that a device reaches on such layers; its data sheet says more."""
    timeout: float = 600.0
    """Seconds after which compiling is given up."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, plan, in it."""


class Prediction(NamedTuple):
    """Seconds of a step, and what follows: with nothing overlapping, and with everything."""

    compute: float
    communication: float
    one_device: float
    step: tuple[float, float]
    efficiency: tuple[float, float]
    speed_up: tuple[float, float]


def program_of(config: Config) -> Program:
    """What to compile; UsageError, naming the flag, for a value that cannot be meant."""
    if len(config.sizes) < 2 or min(config.sizes, default=0) < 1:
        raise usage("--sizes", "at least two positive numbers", " ".join(map(str, config.sizes)) or "none")
    for flag in ("devices", "model", "batch_size"):
        at_least(f"--{flag.replace('_', '-')}", getattr(config, flag), 1)
    for flag in ("bandwidth", "rate"):
        positive(f"--{flag}", getattr(config, flag))
    at_least("--latency", config.latency, 0.0)
    at_least("--timeout", config.timeout, 1.0)
    if config.devices > MOST:
        raise usage("--devices", f"at most {MOST}, as many as XLA compiles for in a minute", config.devices)
    data = config.devices // config.model if config.data is None else config.data
    at_least("--data", data, 1)
    if data * config.model != config.devices:
        raise usage("--devices", f"--data times --model, {data} times {config.model}", config.devices)
    if config.batch_size % data:
        raise usage("--batch-size", f"a multiple of --data, {data}, for parts of one size", config.batch_size)
    split = config.sizes[1:-1:2]  # between the two layers of a pair
    if config.model > 1 and not split:
        raise usage("--model", "1 where there is only one dense layer", config.model)
    if any(size % config.model for size in split):
        expected = f"a divisor of the sizes between the layers of a pair, {', '.join(map(str, split))}"
        raise usage("--model", expected, config.model)
    return Program(
        config.sizes, data, config.model, config.batch_size, config.dtype, config.optimizer, config.split_optimizer
    )


def seconds_of(collective: Collective, bandwidth: float, latency: float) -> float:
    """By rings: bytes per second, seconds per message.

    >>> seconds_of(Collective("all-reduce", 400, 1, 8), bandwidth=100.0, latency=0.5)
    14.0
    """
    each = ring_factor(collective) * collective.bytes / bandwidth + ring_steps(collective) * latency
    return collective.times * each


def predict(facts: Comparison, bandwidth: float, latency: float, rate: float) -> Prediction:
    """The formulas of this module's docstring; bytes and FLOPs per second, seconds per message."""
    compute, one = facts.many.flops / rate, facts.one.flops / rate
    communication = sum(seconds_of(collective, bandwidth, latency) for collective in facts.many.collectives)
    step = compute + communication, max(compute, communication)
    pair = lambda seconds: (seconds / step[0], seconds / step[1])
    return Prediction(compute, communication, one, step, pair(compute), pair(one))


def with_rows(facts: Comparison, program: Program) -> Comparison:
    """With the rows of each batch sent, too: summed over the devices, of which all but one add zeros to each row."""
    rows = facts.one.memory.batch
    sent = (*facts.many.collectives, Collective("all-reduce", rows, 1, program.data))
    return facts._replace(many=facts.many._replace(collectives=sent))


def table(title: str, *columns: str) -> "Table":
    """With the first column left and the others right."""
    from rich.table import Table

    made = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left")
    return made


def memory_table(facts: Comparison, devices: int) -> "Table":
    """A row for each kind of array, in MB of one device."""
    made = table("memory, MB on a device", "", f"of {devices}", "alone")

    def row(name: str, value: Any) -> None:
        made.add_row(name, *(f"{value(side) / 1e6:,.3f}" for side in facts))

    gradients = lambda side: min(side.memory.gradients, side.memory.temporaries)
    row("parameters", lambda side: side.memory.parameters)
    row("optimizer state", lambda side: side.memory.optimizer)
    row("batch", lambda side: side.memory.batch)
    row("gradients", gradients)
    row("activations, other temporaries", lambda side: side.memory.temporaries - gradients(side))
    made.add_section()
    row("peak", lambda side: side.memory.peak)
    return made


def communication_table(facts: Facts, bandwidth: float, latency: float) -> "Table":
    """A row for each kind and size of collective."""
    made = table("communication in a step", "", "devices", "times", "MB each", "ring factor", "MB sent", "steps", "ms")
    for found in facts.collectives:
        factor, steps = ring_factor(found), found.times * ring_steps(found)
        made.add_row(
            found.kind + (", per iteration" if found.unbounded else ""),
            str(found.group_size),
            str(found.times),
            f"{found.bytes / 1e6:,.3f}",
            f"{factor:.3f}",
            f"{found.times * factor * found.bytes / 1e6:,.3f}",
            str(steps),
            f"{1e3 * seconds_of(found, bandwidth, latency):.4g}",
        )
    return made


def prediction_table(prediction: Prediction, devices: int) -> "Table":
    """The bounds side by side."""
    made = table("predicted", "", "no overlap", "perfect overlap")
    for name, seconds in (("compute", prediction.compute), ("communication", prediction.communication)):
        made.add_row(f"{name}, ms", *[f"{1e3 * seconds:.4g}"] * 2)
    made.add_row("step, ms", *(f"{1e3 * seconds:.4g}" for seconds in prediction.step))
    made.add_row("efficiency", *(f"{100 * share:.1f} %" for share in prediction.efficiency))
    made.add_row(f"speed-up over one device, of {devices}", *(f"{ratio:.2f}" for ratio in prediction.speed_up))
    return made


def main(config: Config) -> None:
    """Compiles, prints the tables, saves them."""
    from rich.console import Console

    program = program_of(config)
    folder = reports.make_folder(config.results, "plan")
    facts = compile_plan(program, config.timeout)
    facts = with_rows(facts, program) if config.split_rows else facts
    bandwidth, latency, rate = 1e9 * config.bandwidth, 1e-6 * config.latency, 1e12 * config.rate
    prediction = predict(facts, bandwidth, latency, rate)
    print(
        f"plan: {'-'.join(map(str, config.sizes))}, {config.batch_size:,} examples a step over {program.data} x "
        f"{program.model} devices (data x model); compiled for virtual CPU devices in {facts.many.seconds:.1f} s"
    )
    console = Console(highlight=False, width=max(Console().width, 100))
    console.print(memory_table(facts, config.devices))
    console.print(communication_table(facts.many, bandwidth, latency))
    console.print(prediction_table(prediction, config.devices))
    print(f"taken: {config.rate:g} TFLOP/s, {config.bandwidth:g} GB/s, {config.latency:g} µs; not measured here")
    path = folder / "plan.json"
    values = {"experiment": "plan", "config": asdict(config), "versions": reports.versions()}
    reports.save_json(path, values | {"compiled": to_json(facts), "prediction": prediction._asdict()})
    print(f"saved: {path}")
