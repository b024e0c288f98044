"""Print plans, and the bytes that a real training step leaves on each of 8 virtual devices, as JSON.

Run in a process with 8 virtual devices.
"""

import json
import sys

import jax
import numpy as np

from experiments.planning.analysis import Program, analyse_compiled, compile_step
from experiments.planning.networks import Mlp

MLP = Mlp((20, 32, 16, 32, 10))
PROGRAMS = {
    "data": Program(MLP, 8, 1, 64, "float32", "momentum", False),
    "split optimizer": Program(MLP, 8, 1, 64, "float32", "adam", True),
    "model": Program(MLP, 1, 8, 64, "float32", "momentum", False),
    "both": Program(MLP, 4, 2, 64, "float32", "sgd", False),
    "both, split optimizer": Program(MLP, 2, 4, 64, "float32", "adam", True),
    "bfloat16": Program(MLP, 4, 2, 64, "bfloat16", "momentum", False),
}


def held(tree) -> list[int]:
    """Return the bytes on each device."""
    shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
    return [sum(s.data.nbytes for s in shards if s.device == device) for device in jax.devices()]


def measure(program: Program) -> dict:
    """Return the analysis of the step, and the bytes on each device after a step on arrays of zeros."""
    compiled, *shapes = compile_step(program)
    facts = analyse_compiled(compiled, *shapes, 0.0)
    put = lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)
    state, batch = jax.tree.map(put, shapes)
    state, cost = compiled(state, batch)
    assert np.isfinite(float(cost))
    trained = {"parameters": held(state.params), "optimizer": held(state.opt_state), "batch": held(batch)}
    found = [collective._asdict() for collective in facts.collectives]
    return {"memory": facts.memory._asdict(), "collectives": found, "held": trained}


if __name__ == "__main__":
    json.dump({name: measure(program) for name, program in PROGRAMS.items()}, sys.stdout)
