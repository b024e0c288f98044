"""A copy of the package experiments with small fake studies, to run as a command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "experiments"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "images", "ledger", "benchmarks", "[a-z]*_[a-z]*.npz")

STUDY = '''"""{title}

    python -m experiments {name}

With <b> a < b </b>,

    y = 2 <x>    and so on, far beyond the right edge of a narrow page: x_1 + x_2 + x_3 + x_4 + x_5 + x_6 + x_7

- one & `two`
- three
"""

import os, time
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    wait: float = 3600.0
    fast: bool = True
    results: Path = Path("results")


def run(config):
    with (config.results / "ran.txt").open("a") as file:
        print("{name}", file=file)
    print("on the screen")
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], color="#0072B2")
    axes.set(title="<i>title</i> & words", xlabel="steps")
    {work}
    return Outcome([Criterion("a < b & `c`", [1.0, 2.0], least={least})], figure, {{"more <u>": [1.5]}}, ["<s>remark"])


STUDY = Study("{id}", ("C001", "C002"), run, quick=Config(seeds=3, wait=0.0, fast=False), needs={needs})


def main(config):
    study.main(STUDY, config)
'''

# name: number, title, statement to execute, lower limit of the criterion, data
STUDIES = {
    "good": ("X01", "Titles may contain <script>alert(1)</script> & `code`.", "time.sleep(config.wait)", 0.0, ()),
    "short": ("X02", "A study that does not hold.", "pass", 1.5, ()),
    "broken": ("X03", "A study that fails.", 'raise ValueError("no <luck>")', 0.0, ()),
    "dying": ("X04", "A study that kills its process.", 'os.write(2, b"last words"), os._exit(3)', 0.0, ()),
    "images": ("X05", "A study that needs data.", "pass", 0.0, ("mnist",)),
}


def write(folder: Path, name: str, **changes: str) -> None:
    """Write the module of a study."""
    number, title, work, least, needs = STUDIES[name]
    fields = {"id": number, "title": title, "work": work, "least": least, "needs": needs} | changes
    path = folder / "experiments" / "studies" / f"{name}.py"
    path.write_text(STUDY.format(name=name, **fields), encoding="utf-8")


def make(folder: Path) -> None:
    """Write the package."""
    shutil.copytree(ROOT / "experiments", folder / "experiments", ignore=LEFT_OUT)
    studies = folder / "experiments" / "studies"
    for path in studies.glob("*.py"):
        path.unlink()
    (studies / "__init__.py").write_text(f"NAMES = {tuple(STUDIES)}\n", encoding="utf-8")
    for name in STUDIES:
        write(folder, name)


def environment(folder: Path) -> dict[str, str]:
    """The environment without the flags of the tests themselves and without data."""
    kept = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONWARNINGS", "FNN_DATA")}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "FNN_CACHE": ""}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this folder."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=600
    )
