"""The text of a compiled program: what it executes, how often, and the floating-point operations of its products.

    for execution in executions(jax.jit(step).lower(state, batch).compile().as_text()):
        print(execution.operation.name, execution.times)

XLA's own cost analysis counts what is inside a loop once. `repeated_flops` is what is missing.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_SHAPE = re.compile(r"\b(pred|token|opaque|[a-z]+\d+\w*)\[([\d,<=]*)\]")
_INSTRUCTION = re.compile(r"(?:ROOT )?%?([\w.\-]+) = (.*)")
_OPERATION = re.compile(r"\s*([\w\-]+)\(")
_CALLS = re.compile(r"\b(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_METADATA = re.compile(r'metadata=\{(?:"[^"]*"|[^}"])*\}')
_PARTS = re.compile(r"\b(num_partitions|replica_count)=(\d+)")
_FIRST_OPERAND = re.compile(r"dot\(\s*(?:(\w+\[[\d,]*\])\S*\s+)?%?([\w.\-]+)")
_CONTRACTING = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")


class Operation(NamedTuple):
    """An instruction: its type, its name such as "all-reduce-start", its line from the name on."""

    type: str
    name: str
    line: str


class Execution(NamedTuple):
    """An operation and how often the program executes it.

    operation  the operation
    types      the types of all instructions of its computation, by their names
    times      number of executions; in a loop with an unknown number of iterations, those of one iteration
    once       number of executions if each loop had one iteration
    unbounded  True in a loop with an unknown number of iterations
    """

    operation: Operation
    types: dict[str, str]
    times: int
    once: int
    unbounded: bool


def executions(text: str) -> Iterator[Execution]:
    """Yield the operations of a compiled program in the order of their first execution.

    A computation is entered where it is called, in a loop once with `times` multiplied. Every branch of a conditional
    counts as taken.

    Raises:
      ValueError: if the text is not that of an HLO module of XLA.
    """
    computations, entry = _computations(text)

    def visit(name: str, times: int, once: int, unbounded: bool) -> Iterator[Execution]:
        operations = computations.get(name, {})
        types = {result: operation.type for result, operation in operations.items()}
        for operation in operations.values():
            yield Execution(operation, types, times, once, unbounded)
            if operation.name not in ("async-update", "async-done"):
                for callee, repeats in _callees(operation):
                    known = 1 if repeats is None else repeats
                    yield from visit(callee, times * known, once, unbounded or repeats is None)

    yield from visit(entry, 1, 1, False)


def num_devices(text: str) -> int:
    """Return the number of devices that the program is compiled for."""
    header = dict(_PARTS.findall(text.lstrip().partition("\n")[0]))
    return math.prod(int(number) for number in header.values())


def num_bytes(type_: str) -> int:
    """Return the bytes of an array, or of all arrays of a tuple.

    >>> num_bytes("(f32[2,3]{1,0}, bf16[4], s4[3], pred[])")
    35
    """
    return math.ceil(sum(_bits(dtype) * _entries(shape) for dtype, shape in _SHAPE.findall(type_)) / 8)


def product_flops(text: str) -> int:
    """Return the floating-point operations of all matrix products, 2 for each product of two numbers.

    >>> product_flops('''HloModule product
    ... ENTRY %main (a: f32[4,3], b: f32[3,5]) -> f32[4,5] {
    ...   %a = f32[4,3]{1,0} parameter(0)
    ...   %b = f32[3,5]{1,0} parameter(1)
    ...   ROOT %c = f32[4,5]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
    ... }''')
    120
    """
    return sum(found.times * _flops(found) for found in executions(text))


def repeated_flops(text: str) -> int:
    """Return those of the matrix products that loops repeat, but for one iteration of each loop."""
    return sum((found.times - found.once) * _flops(found) for found in executions(text) if found.times > found.once)


def _flops(found: Execution) -> int:
    """Return the floating-point operations of one execution, 0 if it is not a matrix product."""
    line = found.operation.line
    if found.operation.name != "dot":
        return 0
    operand, axes = _FIRST_OPERAND.search(line), _CONTRACTING.search(line)
    if operand is None or axes is None:
        raise ValueError(f"product_flops: a product must have operands and contracted axes, got {line[:60]!r}")
    shape = _SHAPE.findall(operand[1] or found.types[operand[2]])[0][1].split(",")
    contracted = math.prod(int(shape[int(axis)]) for axis in axes[1].split(",") if axis)
    return 2 * contracted * sum(_entries(entries) for _, entries in _SHAPE.findall(found.operation.type))


def _bits(dtype: str) -> int:
    """Return the bits of one entry.

    >>> [_bits(dtype) for dtype in ("f32", "bf16", "pred", "s4", "f8e4m3fn", "c64", "token")]
    [32, 16, 8, 4, 8, 64, 0]
    """
    number = re.search(r"\d+", dtype)
    return int(number[0]) if number else 8 * (dtype == "pred")


def _entries(shape: str) -> int:
    return math.prod(int(size.lstrip("<=")) for size in shape.split(",") if size)


def _computations(text: str) -> tuple[dict[str, dict[str, Operation]], str]:
    """Parse the instructions of each computation by their names; find the entry computation."""
    computations: dict[str, dict[str, Operation]] = {}
    entry, current = None, None
    for line in map(str.strip, text.splitlines()):
        if line.endswith("{") and " = " not in line and not line.startswith("HloModule"):
            words = line.replace("(", " ").split()
            current = words[1 if words[0] == "ENTRY" else 0].lstrip("%")
            computations[current] = {}
            entry = current if words[0] == "ENTRY" else entry
        elif current is not None and (match := _INSTRUCTION.match(line)):
            kind, rest = _split_type(match[2])
            if name := _OPERATION.match(rest):
                computations[current][match[1]] = Operation(kind, name[1], _METADATA.sub("", rest))
    if not text.lstrip().startswith("HloModule") or entry is None:
        raise ValueError(f"collectives: text must be that of a compiled program, compiled.as_text(), got {text[:60]!r}")
    return computations, entry


def _split_type(text: str) -> tuple[str, str]:
    """Split an instruction into its type and the rest.

    The type is a tuple (…) for several arrays.
    """
    if not text.startswith("("):
        first, _, rest = text.partition(" ")
        return first, rest
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[: i + 1], text[i + 1 :]
    return text, ""


def _callees(operation: Operation) -> Iterator[tuple[str, int | None]]:
    """Yield the computations that an instruction executes, and how often.

    The number is None if the text does not say.
    """
    trips = _TRIPS.search(operation.line)
    for role, callee in _CALLS.findall(operation.line):
        if role in ("body", "condition"):
            yield callee, None if trips is None else int(trips[1]) + (role == "condition")
        else:
            yield callee, 1
    for branches in _BRANCHES.findall(operation.line):
        yield from ((branch.strip().lstrip("%"), 1) for branch in branches.split(","))
