"""Collective operations of a compiled program, with the bytes they send.

    collectives(jax.jit(step).lower(state, batch).compile().as_text())

The shapes in a partitioned program are those of shards. Let g be the number of devices in a group, and n the bytes of
the whole array. With ring algorithms each device sends the minimum (Patarasuk and Yuan 2009; Thakur et al. 2005):

    all-reduce            2 (g - 1) / g · n     in 2 (g - 1) steps: reduce-scatter, then all-gather
    all-gather              (g - 1) / g · n     in g - 1 steps
    reduce-scatter          (g - 1) / g · n     in g - 1 steps
    all-to-all              (g - 1) / g · n     in g - 1 steps
    collective-broadcast              1 · n     in g - 1 steps, in many small pieces
    collective-permute                1 · n     in 1 step
"""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from experiments.planning.hlo import Operation, executions, num_bytes, num_devices

_RINGS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all")
KINDS = (*_RINGS, "collective-broadcast", "collective-permute")


class Collective(NamedTuple):
    """Operations of one kind and size in one execution of the program.

    kind        one of `KINDS`
    bytes       size of the whole array: the operand of a sum or a scatter, the result of a gather
    times       number of executions; an operation on several arrays counts as one
    group_size  devices in a group: 2 for a permutation, 1 if nothing is sent
    unbounded   True in a loop with an unknown number of iterations; `times` then counts one iteration
    """

    kind: str
    bytes: int
    times: int
    group_size: int
    unbounded: bool = False


def collectives(text: str) -> tuple[Collective, ...]:
    """Find the collectives in the text of a compiled program.

    They are in the order of their first execution.

    A pair of -start and -done counts once. An operation in a loop counts once per iteration, and every branch of a
    conditional counts as taken.

    Raises:
      ValueError: if the text is not that of an HLO module of XLA.

    >>> text = '''HloModule step, num_partitions=8
    ... ENTRY %main (p: f32[100]) -> f32[100] {
    ...   %p = f32[100]{0} parameter(0)
    ...   ROOT %sum = f32[100]{0} all-reduce(%p), replica_groups=[2,4]<=[8], to_apply=%add
    ... }'''
    >>> collectives(text)
    (Collective(kind='all-reduce', bytes=400, times=1, group_size=4, unbounded=False),)
    """
    devices = num_devices(text)
    counts: dict[Collective, int] = {}
    for execution in executions(text):
        operation, kind = execution.operation, _kind(execution.operation.name)
        if kind is not None:
            size = _group_size(operation.line, kind, devices)
            found = Collective(kind, _bytes(operation, kind, size), 0, size, execution.unbounded)
            counts[found] = counts.get(found, 0) + execution.times
    return tuple(found._replace(times=times) for found, times in counts.items() if times)


def total_bytes(found: Iterable[Collective], kind: str | None = None) -> int:
    """Sum bytes times executions over collectives with more than one device.

    `kind` selects one kind of collective.

    >>> total_bytes([Collective("all-reduce", 400, 2, 8), Collective("all-gather", 100, 1, 8)], "all-reduce")
    800
    """
    return sum(c.bytes * c.times for c in found if c.group_size > 1 and kind in (None, c.kind))


def ring_factor(collective: Collective) -> float:
    """Return the bytes that a device sends per byte of the array.

    See the table in the docstring of this module.

    >>> ring_factor(Collective("all-reduce", 400, 1, 4))
    1.5
    """
    g = collective.group_size
    if collective.kind in ("collective-permute", "collective-broadcast"):
        return float(g > 1)
    return (2 if collective.kind == "all-reduce" else 1) * (g - 1) / g


def ring_steps(collective: Collective) -> int:
    """Return the number of consecutive messages.

    Each of them costs the latency once.
    """
    return (2 if collective.kind == "all-reduce" else 1) * (collective.group_size - 1)


def _kind(name: str) -> str | None:
    """Return the kind of a collective, without -start; None for other operations.

    A -done operation is not counted, since its -start is.
    """
    name = name.removesuffix("-start")
    return name if name in KINDS else None


def _bytes(operation: Operation, kind: str, group_size: int) -> int:
    """Return the bytes of the whole array.

    A -start operation returns (operands, results, …), except that of an all-reduce, which returns only results.
    """
    result = operation.type
    if operation.name.endswith("-start") and kind != "all-reduce":
        result = _second(result)
    return num_bytes(result) * (group_size if kind == "reduce-scatter" else 1)


def _second(type_: str) -> str:
    """Return the second type of a tuple (…, …), or a type that is not a tuple."""
    parts, depth = [""], 0
    for character in re.sub(r"/\*.*?\*/|\{[^}]*\}", "", type_)[1:-1]:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts[1] if len(parts) > 1 else type_


def _group_size(line: str, kind: str, devices: int) -> int:
    """Parse a group size; {} means all devices.

    The notations are {{0,1},{2,3}}, [2,2]<=[4] and mesh['a'=2,'b'=2] {'b'}.
    """
    if kind == "collective-permute":
        pairs = re.findall(r"\{(\d+),(\d+)\}", line.partition("source_target_pairs=")[2])
        return 2 if any(source != target for source, target in pairs) else 1
    groups = line.partition("replica_groups=")[2]
    if iota := re.match(r"\[\d+,(\d+)\]<=", groups):
        return int(iota[1])
    if listed := re.match(r"\{\{([\d,]+)\}", groups):
        return len(listed[1].split(","))
    if axes := re.match(r"mesh\[([^\]]*)\][^{]*\{([^}]*)\}", groups):
        sizes = dict(re.findall(r"'([\w.\-]+)'=(\d+)", axes[1]))
        parts = re.findall(r"'([\w.\-]+)'?(?::\(\d+\)(\d+))?", axes[2])  # 'a', or part of an axis: 'a':(1)2
        return math.prod(int(part or sizes[name]) for name, part in parts)
    if not groups or groups.startswith("{}"):
        return devices
    raise ValueError(f"collectives: replica_groups must have a known form, got {groups[:60]!r}")
