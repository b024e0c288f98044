"""Checks of flags that all experiments share: numbers within sensible limits, choices in any spelling.

The lower limits, and those that depend on the data, are checked by the experiments.
"""

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.errors import usage

# The largest value of a flag, by its name. A larger one would only run out of memory, or never end.
PASSES, ITEMS, EXAMPLES, UNITS = 10**7, 10**3, 10**5, 10**4
MOST: dict[str, float] = {
    "epochs": PASSES,
    "iterations": PASSES,
    "deep_iterations": PASSES,
    "small_iterations": PASSES,
    "steps": PASSES,
    "probe_steps": PASSES,
    "patience": PASSES,
    "seeds": ITEMS,
    "starts": 10**4,
    "rates": ITEMS,
    "penalties": ITEMS,
    "draws": ITEMS,
    "deviations": ITEMS,
    "places": 10**4,
    "repeats": ITEMS,
    "rounds": ITEMS,
    "workers": 256,
    "shallow": 100,
    "images": EXAMPLES,
    "test": EXAMPLES,
    "examples": EXAMPLES,
    "houses": EXAMPLES,
    "points": EXAMPLES,
    "entries": 10**8,
    "batch_size": 10**8,
    "hidden": UNITS,
    "filters": UNITS,
    "sizes": 10**6,
    "block": 10**4,
    "layers": 10**3,
    "heads": 10**3,
    "width": 10**5,
    "characters": 10**6,
    "top_k": 10**6,
    "seed": 2**32 - 1,
    "timeout": 1e6,
    "bandwidth": 1e9,
    "latency": 1e9,
    "rate": 1e9,
    "house": 1e9,
}
OTHER_INTEGER, OTHER_FLOAT = 10**7, 1e6
WEIGHTS = 10**8  # of a network: 0.4 GB of parameters, and several times as much to train them


def numbers(config: Any) -> Iterator[tuple[str, str, float]]:
    """Yield name, flag and value of each number of a config; those of nested configs too."""
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from ((name, f"--{flag}.{inner.removeprefix('--')}", v) for name, inner, v in numbers(value))
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not isinstance(number, bool):
                yield field.name, f"--{flag}", number


def check_numbers(config: Any) -> None:
    """Raise UsageError for a number that is not finite or larger than any sensible value.

    >>> from experiments.examples.planar import Config
    >>> check_numbers(Config(learning_rate=1e308))
    Traceback (most recent call last):
        ...
    experiments.errors.UsageError: --learning-rate must be at most 1e+06, got 1e+308
    """
    for name, flag, value in numbers(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise usage(flag, "finite", value)
        most = MOST.get(name, OTHER_FLOAT if isinstance(value, float) else OTHER_INTEGER)
        if value > most:
            text = f"{most:,}" if isinstance(most, int) else f"{most:g}"
            raise usage(flag, f"at most {text}", f"{value:g}" if isinstance(value, float) else shorten(value))


def shorten(value: int) -> str:
    """Format an integer; one of many digits by its length."""
    return str(value) if abs(value) < 10**20 else f"an integer of {int(math.log10(abs(value))) + 1} digits"


def check_weights(flag: str, sizes: Sequence[int]) -> None:
    """Raise UsageError if dense layers of these sizes have more weights than this machine could train.

    >>> check_weights("--hidden", (64, 10_000, 10_000, 10))
    Traceback (most recent call last):
        ...
    experiments.errors.UsageError: --hidden must be layers of at most 100,000,000 weights in all, got 100,740,000
    """
    weights = sum(n * m for n, m in itertools.pairwise(sizes))
    if weights > WEIGHTS:
        raise usage(flag, f"layers of at most {WEIGHTS:,} weights in all", f"{weights:,}")


def choices(config: type) -> dict[str, tuple[str, ...]]:
    """Return the choices of each flag that has a fixed set of them.

    >>> from experiments.claims.claims import Config
    >>> choices(Config)["--verdict"][:2]
    ('RIGHT', 'CONVENTION')
    """
    found = {}
    for name, hint in typing.get_type_hints(config).items():
        parts = [hint, *typing.get_args(hint)]
        literals = [part for part in parts if typing.get_origin(part) is typing.Literal]
        if literals:
            found[f"--{name.replace('_', '-')}"] = tuple(map(str, typing.get_args(literals[0])))
    return found


def spell_choices(config: type, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with each choice spelled as its flag has it: upper or lower case, `-` or `_`.

    >>> from experiments.claims.claims import Config
    >>> spell_choices(Config, ["--verdict", "wrong"]), spell_choices(Config, ["--verdict=Typo"])
    (['--verdict', 'WRONG'], ['--verdict=TYPO'])
    """
    plain = lambda text: text.casefold().replace("_", "-")
    known = {plain(flag): {plain(choice): choice for choice in values} for flag, values in choices(config).items()}
    spelled: list[str] = []
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if equals and plain(flag) in known:
            argument = f"{flag}={known[plain(flag)].get(plain(value), value)}"
        elif i and plain(arguments[i - 1]) in known:
            argument = known[plain(arguments[i - 1])].get(plain(argument), argument)
        spelled.append(argument)
    return spelled
