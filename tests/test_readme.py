"""The Python code in the README runs, and prints what the README shows."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

import fnn

README = (Path(fnn.__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_code_blocks(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 5
    names = {"jax": jax, "jnp": jnp, "fnn": fnn}
    printed = []
    for block in blocks:
        exec(block, names)
        printed.append(capsys.readouterr().out)
    accuracy = re.findall(r"'accuracy': ([0-9.]+)", printed[0])
    assert float(accuracy[0]) > 0.95
    assert float(printed[1]) > 0.93
    assert printed[3].splitlines() == [line[2:] for line in blocks[3].splitlines() if line.startswith("# [[")]
    [(report, last)] = re.findall(
        r"```\n(1 of 1 leaves wrong.*?)  differences.*?\n(Reproduce.*?)\n```", README, re.DOTALL
    )
    assert printed[4].startswith(report)
    assert printed[4].rstrip().endswith(last)


def test_the_first_two_commands():
    commands = re.findall(r"^pip install .*$", README, re.MULTILINE)
    assert commands == [
        "pip install -e '.[experiments]' && python -m experiments digits",
        "pip install -e '.[test]' && python -m pytest",
    ]


def test_lines_of_the_lstm():
    source = (Path(fnn.__file__).parent / "layers" / "recurrent" / "lstm.py").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```py\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 8
    for line in lines:
        assert line.rstrip("…)") in source
