"""Run the experiments' commands in this process, and write tables for them."""

import typing
from pathlib import Path

import numpy as np

from experiments.__main__ import main


def write_table(path: Path, classes: typing.Sequence[str] = ("a", "b"), rows: int = 60) -> Path:
    rng = np.random.default_rng(3)
    lines = ["x,y,kind"] + [
        f"{a:.3f},{b:.3f},{classes[i % len(classes)]}" for i, (a, b) in enumerate(rng.normal(size=(rows, 2)))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(arguments: typing.Sequence[object]) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:  # tyro's, for what is not a number
        return typing.cast(int, error.code)
