"""Checks of the flags that all plans share, and the program that they describe."""

from typing import Any

from experiments.errors import at_least, positive, usage
from experiments.planning.analysis import Program
from experiments.planning.networks import Network
from experiments.planning.predictions import Rates
from experiments.planning.virtual import MAX_DEVICES


def check_mesh(devices: int, data: int | None, model: int) -> int:
    """Return --data; raise UsageError unless --devices is --data times --model.

    >>> check_mesh(8, None, 2)
    4
    """
    at_least("--devices", devices, 1)
    at_least("--model", model, 1)
    if devices > MAX_DEVICES:
        raise usage("--devices", f"at most {MAX_DEVICES}, which XLA compiles for in a minute", devices)
    data = devices // model if data is None else data
    at_least("--data", data, 1)
    if data * model != devices:
        raise usage("--devices", f"--data times --model, {data} times {model}", devices)
    return data


def check_rates(rate: float, bandwidth: float, latency: float) -> Rates:
    """Return the rates of flags in TFLOP/s, GB/s and microseconds; raise UsageError for an impossible one."""
    positive("--bandwidth", bandwidth)
    positive("--rate", rate)
    at_least("--latency", latency, 0.0)
    return Rates(1e12 * rate, 1e9 * bandwidth, 1e-6 * latency)


def check_split(optimizer: bool, parameters: bool) -> None:
    """Raise UsageError if both --split-optimizer and --split-parameters are given."""
    if optimizer and parameters:
        raise usage("--split-optimizer", "left out with --split-parameters, which splits its state, too", "both")


def program_of(network: Network, data: int, config: Any) -> Program:
    """Return the program of a network over `data` shards of the batch, with the flags of a plan."""
    return Program(
        network,
        data,
        config.model,
        config.batch_size,
        config.dtype,
        config.optimizer,
        config.split_optimizer,
        config.split_parameters,
    )
