"""Compile the training step of a plan for virtual devices, and analyse it.

XLA can partition a program for any number of virtual CPU devices. `compile_plan` therefore starts a Python process
with data · model such devices, which compiles the step for shapes alone; no array is allocated. (An AbstractMesh
needs no devices but supports only lowering. XLA inserts collectives when it compiles, and has no CPU topology to
compile for.) The process is `python -m experiments.planning.analysis '{…}'`. It takes a Program as JSON and prints a
Comparison as JSON.

Total time for a data-parallel 784-512-512-10 network on two CPU cores: 8 devices 2.5 s, 64 devices 4 s, 512 devices
5 s, 2048 devices 8 s. The time to create devices grows with the square of their number, hence MAX_DEVICES.
"""

import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import fnn
from experiments.errors import ExperimentError
from experiments.planning.collectives import Collective, collectives
from fnn import sharding
from fnn.sharding import Layout
from fnn.types import GradientTransformation, Layer

OPTIMIZERS = ("sgd", "momentum", "heavy_ball", "nesterov", "adam")
ROOT = Path(__file__).parents[2]
MAX_DEVICES = 8192
"""Maximum number of virtual devices. They take a minute and 1.1 GB; twice as many take ten minutes."""
MAX_DEVICES_PER_PROCESS = 2048
"""Maximum number of CPU devices that XLA attributes to one process."""


class Program(NamedTuple):
    """A training step and the mesh, data · model devices, that it is compiled for."""

    sizes: tuple[int, ...]
    data: int
    model: int
    batch_size: int
    dtype: str
    optimizer: str
    split_optimizer: bool


class Memory(NamedTuple):
    """Bytes on one device.

    `arguments`, `outputs`, `in_place` and `temporaries` are reported by the compiler; the other fields follow from the
    layout. `in_place` counts outputs that reuse the memory of arguments.
    """

    parameters: int
    optimizer: int
    batch: int
    gradients: int
    arguments: int
    outputs: int
    in_place: int
    temporaries: int

    @property
    def peak(self) -> int:
        """Peak memory: arguments, temporaries, and outputs with memory of their own."""
        return self.arguments + self.temporaries + self.outputs - self.in_place


class StepAnalysis(NamedTuple):
    """Analysis of a compiled step: memory and FLOPs of one device, collectives.

    `seconds` is the time to compile it.
    """

    memory: Memory
    flops: float
    collectives: tuple[Collective, ...]
    seconds: float


class Comparison(NamedTuple):
    """The step over all devices, and with the same batch on one device."""

    many: StepAnalysis
    one: StepAnalysis


def compile_plan(program: Program, timeout: float) -> Comparison:
    """Compile and analyse the step in a process with enough virtual devices.

    Raises:
      ExperimentError: if compilation fails or takes longer than `timeout` seconds.
    """
    count = re.compile(r"--xla_force_host_platform_device_count=\d+")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(program.data * program.model),
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # a cached program may lack its analysis
        "XLA_FLAGS": count.sub("", os.environ.get("XLA_FLAGS", "")),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }
    command = [sys.executable, "-m", "experiments.planning.analysis", json.dumps(program._asdict())]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ExperimentError(f"compiling took longer than --timeout {timeout:g} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip(" -") and "JAX has removed" not in line]
        reason = errors[-1][:300] if errors else f"exit code {done.returncode}"
        raise ExperimentError(f"compiling for {program.data * program.model} devices failed: {reason}")
    return from_json(done.stdout.splitlines()[-1])


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Convert to dictionaries and lists."""

    def plain(step: StepAnalysis) -> dict[str, Any]:
        found = [collective._asdict() for collective in step.collectives]
        return step._asdict() | {"memory": step.memory._asdict(), "collectives": found}

    return {name: plain(step) for name, step in comparison._asdict().items()}


def from_json(text: str) -> Comparison:
    """Parse the JSON text of `to_json`."""

    def step(values: dict[str, Any]) -> StepAnalysis:
        found = tuple(Collective(**fields) for fields in values["collectives"])
        return StepAnalysis(Memory(**values["memory"]), values["flops"], found, values["seconds"])

    return Comparison(**{name: step(values) for name, values in json.loads(text).items()})


def build_network(program: Program) -> tuple[Layer, GradientTransformation]:
    """Build the network and the optimizer."""
    network = fnn.mlp(program.sizes)
    if program.dtype != "float32":
        network = fnn.mixed_precision(network, jnp.dtype(program.dtype))
    makers: dict[str, Callable[[float], Any]] = {
        "sgd": fnn.sgd,
        "momentum": fnn.momentum,
        "heavy_ball": fnn.heavy_ball,
        "nesterov": fnn.nesterov,
        "adam": fnn.adam,
    }
    return network, makers[program.optimizer](0.1)


def make_layout(program: Program) -> Layout:
    """Return the Layout over the first data · model devices."""
    devices = np.asarray(jax.devices()[: program.data * program.model])
    mesh = Mesh(devices.reshape(program.data, program.model), ("data", "model"))
    if program.model == 1:
        return sharding.data_parallel(mesh, program.split_optimizer)
    pairs = sharding.dense_pairs(fnn.mlp(program.sizes))
    return sharding.tensor_parallel(mesh, pairs, program.split_optimizer)


def step_and_shapes(program: Program) -> tuple[Any, Any, Any]:
    """Return the step, and the shapes and shardings of its state and batch."""
    network, optimizer = build_network(program)
    layout = make_layout(program)
    key = jax.random.PRNGKey(0)
    state = jax.eval_shape(lambda: fnn.init_state(network, optimizer, key))
    batch = (
        jax.ShapeDtypeStruct((program.batch_size, program.sizes[0]), jnp.float32),
        jax.ShapeDtypeStruct((program.batch_size,), jnp.int32),
    )
    shard = lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
    state = jax.tree.map(shard, state, sharding.shardings(layout, state, state.params))
    rows = NamedSharding(layout.mesh, PartitionSpec("data"))
    batch = jax.tree.map(lambda leaf: shard(leaf, rows), batch)
    step = sharding.constrained(layout, fnn.make_step(network, fnn.softmax_cross_entropy, optimizer))
    return step, state, batch


def local_bytes(tree: Any) -> int:
    """Return the bytes on one device of arrays, or of shapes with shardings."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def compile_step(program: Program) -> tuple[Any, Any, Any]:
    """Compile the step; return it with the shapes of its state and batch."""
    step, state, batch = step_and_shapes(program)
    return jax.jit(step, donate_argnums=0).lower(state, batch).compile(), state, batch


def compile_and_analyse(program: Program) -> StepAnalysis:
    """Compile the step and analyse it."""
    start = time.perf_counter()
    compiled, state, batch = compile_step(program)
    return analyse_compiled(compiled, state, batch, time.perf_counter() - start)


def analyse_compiled(compiled: Any, state: Any, batch: Any, seconds: float) -> StepAnalysis:
    """Read memory, FLOPs and collectives from a compiled step."""
    stats, costs = compiled.memory_analysis(), compiled.cost_analysis()
    memory = Memory(
        local_bytes(state.params),
        local_bytes(state.opt_state),
        local_bytes(batch),
        local_bytes(state.params),  # a gradient has the layout of its parameter
        stats.argument_size_in_bytes,
        stats.output_size_in_bytes,
        stats.alias_size_in_bytes,
        stats.temp_size_in_bytes,
    )
    return StepAnalysis(memory, float(costs["flops"]), collectives(compiled.as_text()), seconds)


def allow_more_devices() -> None:
    """Let XLA compile for more devices than those of one process.

    This requires a way to reach other processes.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=1, process_id=0)


def main(argument: str) -> None:
    """Print the Comparison of a Program, both as JSON."""
    values = json.loads(argument)
    program = Program(**values | {"sizes": tuple(values["sizes"])})
    if program.data * program.model > MAX_DEVICES_PER_PROCESS:
        allow_more_devices()
    one = program._replace(data=1, model=1, split_optimizer=False)
    print(json.dumps(to_json(Comparison(compile_and_analyse(program), compile_and_analyse(one)))), flush=True)
    os._exit(0)  # shutting down thousands of devices would take longer than everything before


if __name__ == "__main__":
    main(sys.argv[1])
