"""Predict the time of a step from its floating-point operations and collectives.

The formulas are in the docstring of `experiments.planning.plan`, which `python -m experiments plan --help` prints.
"""

from collections.abc import Iterable
from typing import NamedTuple

from experiments.planning.collectives import Collective, ring_factor, ring_steps


class Rates(NamedTuple):
    """What is assumed of a device.

    compute    FLOP/s
    bandwidth  bytes per second that it sends while it receives as many
    latency    seconds of a message between neighbouring devices
    """

    compute: float
    bandwidth: float
    latency: float


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


def collective_seconds(collective: Collective, rates: Rates) -> float:
    """Return the time of a collective with ring algorithms.

    >>> collective_seconds(Collective("all-reduce", 400, 1, 8), Rates(1.0, bandwidth=100.0, latency=0.5))
    14.0
    """
    each = ring_factor(collective) * collective.bytes / rates.bandwidth + ring_steps(collective) * rates.latency
    return collective.times * each


def predict(flops: float, flops_of_one: float, sent: Iterable[Collective], rates: Rates) -> Prediction:
    """Apply the formulas of `experiments.planning.plan`.

    Args:
      flops: F, of one of the devices.
      flops_of_one: F_1, of the same batch on a single device.
      sent: the collectives of a step.
      rates: what is assumed.
    """
    compute, one = flops / rates.compute, flops_of_one / rates.compute
    communication = sum(collective_seconds(collective, rates) for collective in sent)
    step = compute + communication, max(compute, communication)
    pair = lambda seconds: (seconds / step[0], seconds / step[1])
    return Prediction(compute, communication, one, step, pair(compute), pair(one))
