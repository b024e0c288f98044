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
(ZeRO-1; Rajbhandari et al. 2020), --split-parameters parameters and gradients, too (ZeRO-3).
--split-rows assumes that the examples are sharded too, because they exceed a GiB or belong to several
processes. An all-reduce of its rows then assembles each shuffled batch.

Limits: R, B and L are your assumptions, every link is assumed to be equal, and the time of memory
accesses is included only as far as R includes it. XLA compiles for CPUs here; its GPU and TPU
compilers use other temporaries, and turn an all-reduce of which a device keeps only its shard
into a reduce-scatter of half the bytes. A CPU computes bfloat16 in float32, so a plan with --dtype
bfloat16 overstates memory and bytes. The shards of parameters, optimizer state and batch are the same
on any platform. Tests compare them with what 8 virtual devices hold after a step, and the collectives
with what the mathematics requires.

`python -m experiments plan gpt` plans a transformer. Prints three tables, and saves plan.json under
results/plan/.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from experiments import reports
from experiments.errors import at_least, usage
from experiments.planning import tables
from experiments.planning.analysis import Comparison, Program
from experiments.planning.arguments import check_mesh, check_rates, check_split, program_of
from experiments.planning.collectives import Collective
from experiments.planning.networks import Mlp
from experiments.planning.predictions import predict
from experiments.planning.virtual import compile_plan, plain
from experiments.wording import counted


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
    """Split the optimizer's state over the data axis (ZeRO-1)."""
    split_parameters: bool = False
    """Split parameters, gradients and the optimizer's state over the data axis (ZeRO-3)."""
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


def make_program(config: Config) -> Program:
    """Return the program to compile; raise UsageError for an invalid flag."""
    if len(config.sizes) < 2 or min(config.sizes, default=0) < 1:
        raise usage("--sizes", "at least two positive numbers", " ".join(map(str, config.sizes)) or "none")
    at_least("--batch-size", config.batch_size, 1)
    data = check_mesh(config.devices, config.data, config.model)
    if config.batch_size % data:
        raise usage("--batch-size", f"a multiple of --data, {data}, for shards of equal size", config.batch_size)
    check_split(config.split_optimizer, config.split_parameters)
    split = config.sizes[1:-1:2]  # between the two layers of a pair
    if config.model > 1 and not split:
        raise usage("--model", "1 if there is only one dense layer", config.model)
    if any(size % config.model for size in split):
        expected = f"a divisor of the sizes between the layers of a pair, {', '.join(map(str, split))}"
        raise usage("--model", expected, config.model)
    return program_of(Mlp(config.sizes), data, config)


def add_row_exchange(comparison: Comparison, program: Program) -> Comparison:
    """Add the all-reduce that assembles a shuffled batch: all devices but the owner of a row add zeros to it."""
    many = comparison.many
    sent = (*many.collectives, Collective("all-reduce", comparison.one.memory.batch, 1, program.data))
    return comparison._replace(many=many._replace(collectives=sent))


def main(config: Config) -> None:
    """Compile the step, print the tables, and save plan.json."""
    program, rates = make_program(config), check_rates(config.rate, config.bandwidth, config.latency)
    at_least("--timeout", config.timeout, 1.0)
    folder = reports.make_folder(config.results, "plan", "plan.json")
    comparison = compile_plan(program, config.timeout)
    comparison = add_row_exchange(comparison, program) if config.split_rows else comparison
    many, one = comparison.many, comparison.one
    prediction = predict(many.flops, one.flops, many.collectives, rates)
    print(
        f"plan: {'-'.join(map(str, config.sizes))}, {counted(config.batch_size, 'example')} per step over "
        f"{program.data} x {counted(program.model, 'device')} (data x model); compiled for virtual CPU devices in "
        f"{many.seconds:.1f} s"
    )
    tables.show(
        (
            tables.memory_table(many, one, config.devices),
            tables.communication_table(many.collectives, rates),
            tables.prediction_table(prediction, config.devices),
        )
    )
    print(f"assumed, not measured: {config.rate:g} TFLOP/s, {config.bandwidth:g} GB/s, {config.latency:g} µs")
    path = folder / "plan.json"
    values = {"experiment": "plan", "config": asdict(config), "versions": reports.versions()}
    reports.save_json(path, values | {"compiled": plain(comparison), "prediction": plain(prediction)})
    print(f"saved: {path}")
