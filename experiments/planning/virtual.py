"""Compile programs for virtual devices.

XLA can partition a program for any number of virtual CPU devices. `compile_plan` therefore starts a Python process
with as many as the plan has. (An AbstractMesh needs no devices but supports only lowering. XLA inserts collectives when
it compiles, and has no CPU topology to compile for.) The process is `python -m experiments.planning.virtual '[…]'`. It
takes Programs as JSON and prints a StepAnalysis of each as JSON.

Total time for a data-parallel 784-512-512-10 network on two CPU cores: 8 devices 2.5 s, 64 devices 4 s, 512 devices
5 s, 2048 devices 8 s. The time to create devices grows with the square of their number, hence MAX_DEVICES. A GPT of
1.3 billion parameters, 24 blocks in a loop, takes 13 s of CPU time for 64 devices and for 8192 with ZeRO-3, and 54 s
for 1024 x 8 devices with ZeRO-1.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.errors import ExperimentError
from experiments.planning.analysis import (
    Comparison,
    Memory,
    Program,
    StepAnalysis,
    compile_and_analyse,
    on_one_device,
)
from experiments.planning.collectives import Collective
from experiments.planning.networks import Gpt, Mlp
from experiments.wording import counted

ROOT = Path(__file__).parents[2]
MAX_DEVICES = 8192
"""Maximum number of virtual devices. They take a minute and 1.1 GB; twice as many take ten minutes."""
MAX_DEVICES_PER_PROCESS = 2048
"""Maximum number of CPU devices that XLA attributes to one process."""


class TooSlow(ExperimentError):
    """Compiling took longer than allowed."""


def compile_plan(program: Program, timeout: float) -> Comparison:
    """Compile and analyse the step over all devices, and on one.

    Raises:
      TooSlow: if it takes longer than `timeout` seconds.
      ExperimentError: if compilation fails.
    """
    return Comparison(*compile_all([program, on_one_device(program)], timeout))


def compile_all(programs: Sequence[Program], timeout: float) -> list[StepAnalysis]:
    """Compile and analyse steps in one process with enough virtual devices.

    Raises:
      TooSlow: if it takes longer than `timeout` seconds.
      ExperimentError: if compilation fails.
    """
    devices = max(program.data * program.model for program in programs)
    count = re.compile(r"--xla_force_host_platform_device_count=\d+")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # a cached program may lack its analysis
        "XLA_FLAGS": count.sub("", os.environ.get("XLA_FLAGS", "")),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }
    command = [sys.executable, "-m", "experiments.planning.virtual", json.dumps(plain(programs))]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise TooSlow(f"compiling took longer than --timeout {timeout:g} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip(" -") and "JAX has removed" not in line]
        reason = errors[-1][:300] if errors else f"exit code {done.returncode}"
        raise ExperimentError(f"compiling for {counted(devices, 'device')} failed: {reason}")
    return [step_from_json(values) for values in json.loads(done.stdout.splitlines()[-1])]


def plain(value: Any) -> Any:
    """Convert records to dictionaries by the names of their fields, for JSON.

    >>> plain({"found": (Collective("all-reduce", 400, 1, 8),)})["found"][0]["bytes"]
    400
    """
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def step_from_json(values: dict[str, Any]) -> StepAnalysis:
    """Return the StepAnalysis of these fields."""
    found = tuple(Collective(**fields) for fields in values["collectives"])
    return StepAnalysis(Memory(**values["memory"]), values["flops"], found, values["seconds"])


def from_json(text: str) -> Comparison:
    """Parse a Comparison, of which the text has `plain`."""
    return Comparison(**{name: step_from_json(values) for name, values in json.loads(text).items()})


def program_from_json(values: dict[str, Any]) -> Program:
    """Return the Program of these fields."""
    fields = values["network"]
    network: Any = Mlp(tuple(fields["sizes"])) if "sizes" in fields else Gpt(**fields)
    return Program(**{**values, "network": network})


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
    """Print the StepAnalysis of each Program, all as JSON."""
    programs = [program_from_json(values) for values in json.loads(argument)]
    if max(program.data * program.model for program in programs) > MAX_DEVICES_PER_PROCESS:
        allow_more_devices()
    print(json.dumps(plain([compile_and_analyse(program) for program in programs])), flush=True)
    os._exit(0)  # shutting down thousands of devices would take longer than everything before


if __name__ == "__main__":
    main(sys.argv[1])
