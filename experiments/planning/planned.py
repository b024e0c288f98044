"""The training step of a plan, compiled for devices that are not there: a process of its own, which computes nothing.

XLA partitions a program for as many CPU devices as it is told there are, so `compile_plan` starts Python anew with
data · model of them; the step is compiled for shapes alone, no array is made. (An AbstractMesh would need no devices,
but only lowers: what is sent is decided when the program is compiled, and a CPU has no topology to compile for.)
`python -m experiments.planning.planned '{…}'` is that process: a Program as JSON in, a Comparison as JSON out.

Measured on two CPU cores, 784-512-512-10 data-parallel, in all: 8 devices 2.5 s, 64 4 s, 512 5 s, 2048 8 s. Making
more devices takes time that grows with their square: MOST.
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
from jax.sharding import Mesh

import fnn
from experiments.errors import ExperimentError
from experiments.planning.collectives import Collective, collectives
from fnn.sharding import layout as layouts
from fnn.sharding.layout import Layout
from fnn.sharding.placement import constrained
from fnn.types import GradientTransformation, Layer

OPTIMIZERS = ("sgd", "momentum", "heavy_ball", "nesterov", "adam")
ROOT = Path(__file__).parents[2]
MOST = 8192
"""Virtual devices, which take a minute and 1.1 GB; twice as many take ten minutes."""
IN_A_PROCESS = 2048
"""CPU devices that XLA takes for those of one process."""


class Program(NamedTuple):
    """What is trained, and over how many devices: data · model of them."""

    sizes: tuple[int, ...]
    data: int
    model: int
    batch_size: int
    dtype: str
    optimizer: str
    split_optimizer: bool


class Memory(NamedTuple):
    """Bytes on one device. `arguments`, `outputs`, `in_place` and `temporaries` are the compiler's, the rest follows
    from the layout; `in_place` counts outputs that take the place of arguments."""

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
        """Arguments, temporaries, and the outputs that need room of their own."""
        return self.arguments + self.temporaries + self.outputs - self.in_place


class Facts(NamedTuple):
    """Of a compiled step: memory and FLOPs of one device, and what it sends; seconds that compiling took."""

    memory: Memory
    flops: float
    collectives: tuple[Collective, ...]
    seconds: float


class Comparison(NamedTuple):
    """The step over all devices, and the same batch on one."""

    many: Facts
    one: Facts


def compile_plan(program: Program, timeout: float) -> Comparison:
    """Compiles in a process with enough devices; ExperimentError where that fails or takes longer than `timeout`."""
    count = re.compile(r"--xla_force_host_platform_device_count=\d+")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(program.data * program.model),
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # a program from a cache may come without its analysis
        "XLA_FLAGS": count.sub("", os.environ.get("XLA_FLAGS", "")),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }
    command = [sys.executable, "-m", "experiments.planning.planned", json.dumps(program._asdict())]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ExperimentError(f"compiling took longer than --timeout {timeout:g} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip(" -") and "JAX has removed" not in line]
        why = said[-1][:300] if said else f"exit code {done.returncode}"
        raise ExperimentError(f"compiling for {program.data * program.model} devices failed: {why}")
    return from_json(done.stdout.splitlines()[-1])


def to_json(facts: Comparison) -> dict[str, Any]:
    """As dictionaries and lists."""

    def plain(value: Facts) -> dict[str, Any]:
        found = [collective._asdict() for collective in value.collectives]
        return value._asdict() | {"memory": value.memory._asdict(), "collectives": found}

    return {name: plain(value) for name, value in facts._asdict().items()}


def from_json(text: str) -> Comparison:
    """What `to_json` made."""

    def facts(value: dict[str, Any]) -> Facts:
        found = tuple(Collective(**fields) for fields in value["collectives"])
        return Facts(Memory(**value["memory"]), value["flops"], found, value["seconds"])

    return Comparison(**{name: facts(value) for name, value in json.loads(text).items()})


def build(program: Program) -> tuple[Layer, GradientTransformation]:
    """The network and the optimizer."""
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


def lay_out(program: Program) -> Layout:
    """The Layout over the first data · model devices."""
    devices = np.asarray(jax.devices()[: program.data * program.model])
    mesh = Mesh(devices.reshape(program.data, program.model), ("data", "model"))
    if program.model == 1:
        return layouts.data_parallel(mesh, program.split_optimizer)
    pairs = layouts.dense_pairs(fnn.mlp(program.sizes))
    return layouts.tensor_parallel(mesh, pairs, program.split_optimizer)


def arguments(program: Program) -> tuple[Any, Any, Any]:
    """step, state and batch, the latter two as shapes with their places."""
    network, optimizer = build(program)
    layout = lay_out(program)
    key = jax.random.PRNGKey(0)
    state = jax.eval_shape(lambda: fnn.init_state(network, optimizer, key))
    batch = (
        jax.ShapeDtypeStruct((program.batch_size, program.sizes[0]), jnp.float32),
        jax.ShapeDtypeStruct((program.batch_size,), jnp.int32),
    )
    put = lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
    state = jax.tree.map(put, state, layouts.shardings(layout, state, state.params))
    batch = jax.tree.map(lambda leaf: put(leaf, layouts.batch_sharding(layout)), batch)
    step = constrained(layout, fnn.make_step(network, fnn.softmax_cross_entropy, optimizer))
    return step, state, batch


def local_bytes(tree: Any) -> int:
    """Bytes on one device of arrays, or of shapes with their places."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def compile_step(program: Program) -> tuple[Any, Any, Any]:
    """The compiled step, and the shapes that it takes."""
    step, state, batch = arguments(program)
    return jax.jit(step, donate_argnums=0).lower(state, batch).compile(), state, batch


def analyse(program: Program) -> Facts:
    """Compiles the step and reads what the compiler says of it."""
    start = time.perf_counter()
    compiled, state, batch = compile_step(program)
    return facts_of(compiled, state, batch, time.perf_counter() - start)


def facts_of(compiled: Any, state: Any, batch: Any, seconds: float) -> Facts:
    """What the compiler says of a compiled step."""
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
    return Facts(memory, float(costs["flops"]), collectives(compiled.as_text()), seconds)


def allow_many() -> None:
    """Lets XLA compile for devices that it takes for other processes': it needs to be told of a way to reach them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=1, process_id=0)


def main(argument: str) -> None:
    """Prints the Comparison of a Program, both as JSON."""
    values = json.loads(argument)
    program = Program(**values | {"sizes": tuple(values["sizes"])})
    if program.data * program.model > IN_A_PROCESS:
        allow_many()
    one = program._replace(data=1, model=1, split_optimizer=False)
    print(json.dumps(to_json(Comparison(analyse(program), analyse(one)))), flush=True)
    os._exit(0)  # taking thousands of devices down would take longer than all else


if __name__ == "__main__":
    main(sys.argv[1])
