"""Compile the training step of a plan, and analyse it: memory, floating-point operations, collectives.

The step is compiled for shapes alone; no array is allocated. `experiments.planning.virtual` does so in a process with
as many virtual devices as the plan has.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import fnn
from experiments.planning import networks
from experiments.planning.collectives import Collective, collectives
from experiments.planning.hlo import repeated_flops
from experiments.planning.networks import Network
from fnn import sharding
from fnn.sharding import Layout
from fnn.types import GradientTransformation

OPTIMIZERS: dict[str, Callable[[float], Any]] = {
    "sgd": fnn.sgd,
    "momentum": fnn.momentum,
    "heavy_ball": fnn.heavy_ball,
    "nesterov": fnn.nesterov,
    "adam": fnn.adam,
}


class Program(NamedTuple):
    """A training step and the mesh, data · model devices, that it is compiled for."""

    network: Network
    data: int
    model: int
    batch_size: int
    dtype: str
    optimizer: str
    split_optimizer: bool
    split_parameters: bool = False


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


def on_one_device(program: Program) -> Program:
    """Return the program with the same batch on one device."""
    return program._replace(data=1, model=1, split_optimizer=False, split_parameters=False)


def make_optimizer(program: Program) -> GradientTransformation:
    """Return the optimizer."""
    return OPTIMIZERS[program.optimizer](0.1)


def make_layout(program: Program) -> Layout:
    """Return the Layout over the first data · model devices."""
    devices = np.asarray(jax.devices()[: program.data * program.model])
    mesh = Mesh(devices.reshape(program.data, program.model), ("data", "model"))
    rules = networks.rules(program.network) if program.model > 1 else ()
    if program.split_parameters:
        return sharding.fully_sharded(mesh, rules)
    return sharding.tensor_parallel(mesh, rules, program.split_optimizer)


def step_and_shapes(program: Program) -> tuple[Any, Any, Any]:
    """Return the step, and the shapes and shardings of its state and batch."""
    network, optimizer = networks.build(program.network, program.dtype), make_optimizer(program)
    layout = make_layout(program)
    key = jax.random.PRNGKey(0)
    state = jax.eval_shape(lambda: fnn.init_state(network, optimizer, key))
    shard = lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
    state = jax.tree.map(shard, state, sharding.shardings(layout, state, state.params))
    rows = NamedSharding(layout.mesh, PartitionSpec("data"))
    batch = tuple(shard(leaf, rows) for leaf in networks.batch_shapes(program.network, program.batch_size))
    step = sharding.constrained(layout, fnn.make_step(network, networks.loss(program.network), optimizer))
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
    """Read memory, FLOPs and collectives from a compiled step.

    The FLOPs are those of XLA's cost analysis, which counts a loop once, and of the matrix products that loops repeat.
    """
    stats, costs, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
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
    return StepAnalysis(memory, float(costs["flops"]) + repeated_flops(text), collectives(text), seconds)
