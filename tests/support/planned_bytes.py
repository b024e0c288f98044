"""Plans, and the bytes that a real training step leaves on each of 8 virtual devices.

`measure_all` starts a process with 8 virtual devices, which prints them as JSON. Its argument says of which programs:
mlp or gpt. One process compiles all of them, since starting a process takes longer than a compilation.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.planning.analysis import Memory, Program, analyse_compiled, compile_step
from experiments.planning.collectives import Collective
from experiments.planning.hlo import product_flops
from experiments.planning.networks import Gpt, Mlp

MLP = Mlp((20, 32, 16, 32, 10))
GPT = Gpt(vocabulary=96, length=32, layers=2, heads=8, width=64)
LONG = GPT._replace(vocabulary=40, length=512)
VOCABULARY = GPT._replace(split_vocabulary=True)
PROGRAMS = {
    "data": Program(MLP, 8, 1, 64, "float32", "momentum", False),
    "split optimizer": Program(MLP, 8, 1, 64, "float32", "adam", True),
    "split parameters": Program(MLP, 8, 1, 64, "float32", "adam", False, True),
    "model": Program(MLP, 1, 8, 64, "float32", "momentum", False),
    "both": Program(MLP, 4, 2, 64, "float32", "sgd", False),
    "both, split optimizer": Program(MLP, 2, 4, 64, "float32", "adam", True),
    "bfloat16": Program(MLP, 4, 2, 64, "bfloat16", "momentum", False),
}

GPTS = {
    "data": Program(GPT, 8, 1, 16, "float32", "adam", False),
    "data, serial": Program(GPT._replace(repeat=False), 8, 1, 16, "float32", "momentum", False),
    "data, long, remat": Program(LONG._replace(remat=True), 8, 1, 8, "float32", "sgd", False),
    "ZeRO-1": Program(GPT._replace(vocabulary=97), 8, 1, 16, "float32", "adam", True),
    "ZeRO-3": Program(GPT, 8, 1, 16, "float32", "adam", False, True),
    "ZeRO-3, remat": Program(GPT._replace(remat=True), 8, 1, 16, "float32", "momentum", False, True),
    "model": Program(GPT, 1, 8, 16, "float32", "adam", False),
    "model, remat": Program(GPT._replace(remat=True), 1, 8, 16, "float32", "sgd", False),
    "model, vocabulary, ZeRO-1": Program(VOCABULARY, 2, 4, 16, "float32", "adam", True),
    "model, vocabulary, ZeRO-3": Program(VOCABULARY, 2, 4, 16, "float32", "adam", False, True),
}


class Measured(NamedTuple):
    """A plan, the FLOPs of its matrix products, and the bytes on each of 8 devices after a step."""

    memory: Memory
    collectives: list[Collective]
    held: dict[str, list[int]]
    products: int


def measure_all(kind: str) -> dict[str, Measured]:
    """Measure the programs of a kind in a process with 8 devices."""
    root = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONWARNINGS")} | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "8",
        "PYTHONPATH": str(root),
    }
    module = [sys.executable, "-W", "error", "-m", "tests.support.planned_bytes", kind]
    done = subprocess.run(module, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]

    def read(memory: dict, collectives: list[dict], held: dict, products: int) -> Measured:
        return Measured(Memory(**memory), [Collective(**found) for found in collectives], held, products)

    return {name: read(**values) for name, values in json.loads(done.stdout).items()}


def held(tree: Any) -> list[int]:
    """Return the bytes on each device."""
    shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
    return [sum(s.data.nbytes for s in shards if s.device == device) for device in jax.devices()]


def measure(program: Program) -> dict[str, Any]:
    """Return the analysis of the step, and the bytes on each device after a step on arrays of zeros."""
    compiled, *shapes = compile_step(program)
    facts = analyse_compiled(compiled, *shapes, 0.0)
    put = lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)
    state, batch = jax.tree.map(put, shapes)
    state, cost = compiled(state, batch)
    assert np.isfinite(float(cost))
    trained = {"parameters": held(state.params), "optimizer": held(state.opt_state), "batch": held(batch)}
    found = [collective._asdict() for collective in facts.collectives]
    products = product_flops(compiled.as_text())
    return {"memory": facts.memory._asdict(), "collectives": found, "held": trained, "products": products}


if __name__ == "__main__":
    chosen = {"mlp": PROGRAMS, "gpt": GPTS}[sys.argv[1]]
    json.dump({name: measure(program) for name, program in chosen.items()}, sys.stdout)
