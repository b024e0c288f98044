"""The exact function of a call that works entry by entry: which entries belong together, and what is known of them."""

import time
from typing import Any, NamedTuple

import numpy as np

from experiments.audit.call import Call, arguments, leaf_of
from experiments.audit.exact import Exact, exact


class Pairing(NamedTuple):
    """How the entries of a function that works entry by entry belong together."""

    positions: list[np.ndarray]
    """For each argument, the position in it that output i uses."""
    shape: tuple[int, ...]


def pairing(call: Call, outputs: int) -> Pairing | None:
    """Return which entries of the arguments an output uses; None if the shapes are not those of such a function."""
    try:
        shapes = [np.shape(np.asarray(arg, dtype=None)) for arg in call.args]
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        return None
    if int(np.prod(shape)) != outputs:
        return None
    index = [np.broadcast_to(np.arange(int(np.prod(s))).reshape(s), shape).ravel() for s in shapes]
    return Pairing(index, shape)


class Exacts:
    """The exact function of a call: values and slopes, remembered, until `seconds` have been spent."""

    def __init__(self, call: Call, outputs: int, seconds: float) -> None:
        self.call, self.left, self.known = call, seconds, {}
        self.function = call.target.exact
        self.pairing = pairing(call, outputs) if self.function else None

    def at(self, x: np.ndarray, output: int, position: int, moved: tuple[int, int] = (0, 0)) -> Exact | None:
        """Return the exact derivative of an output by an entry of the vector; None if it is not known or 0 by form.

        Args:
          x: the vector.
          output: the position of the output's entry.
          position: the position in the vector.
          moved: (argument, sign) moves this argument by less than its last bit.
        """
        leaf = leaf_of(self.call, position)
        if self.function is None or self.pairing is None or leaf.path or leaf.complex or self.left <= 0:
            return None
        if self.pairing.positions[leaf.argument][output] != position - leaf.start:
            return None
        args = arguments(self.call, x)
        numbers = [_number(np.ravel(a)[k[output]]) for a, k in zip(args, self.pairing.positions, strict=True)]
        key = (*map(repr, numbers), leaf.argument, moved)
        if key not in self.known:
            start = time.perf_counter()
            self.known[key] = exact(self.function, numbers, leaf.argument, moved)
            self.left -= time.perf_counter() - start
        return self.known[key]

    def spread(self, x: np.ndarray, output: int, position: int) -> tuple[float, float]:
        """Return how much slope and value change at most when an argument changes by less than its last bit."""
        here, slopes, values = self.at(x, output, position), [0.0], [0.0]
        for argument in self.call.numbers:
            for sign in (-1, 1):
                there = self.at(x, output, position, (argument, sign))
                if here and there and here.slope is not None and there.slope is not None:
                    slopes.append(abs(there.slope - here.slope))
                    values.append(abs(there.value - here.value))
        return max(slopes), max(values)


def _number(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value)
    return int(value) if isinstance(value, int | np.integer) else value
