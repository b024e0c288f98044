"""Run the tutorials, Jupyter notebooks from the first neuron to a text generator, and save their outputs.

    python -m experiments tutorials
    python -m experiments tutorials --only 1 3
    python -m experiments tutorials --check

Each notebook of experiments/tutorials runs in a fresh kernel on the CPU, and is saved with what it shows. Outputs that
agree with the saved ones up to rounding and durations stay as they are. To read or change a tutorial, open it in
Jupyter, VS Code or another editor of notebooks. Needs `pip install -e '.[notebooks]'`.
"""

import time
from dataclasses import dataclass

from experiments.errors import ExperimentError, among, needs
from experiments.tutorials import comparison, notebooks


@dataclass(frozen=True)
class Config:
    only: tuple[str, ...] = ()
    """Numbers of the tutorials to run, such as 1 3; all if none is given."""
    check: bool = False
    """Save nothing; fail if an output differs from the saved one."""


def main(config: Config) -> None:
    """Run each notebook, compare its outputs with the saved ones, and save it."""
    needs("nbclient", "ipykernel", "matplotlib", "sklearn")
    paths = {str(int(path.name[:2])): path for path in notebooks.find()}
    among("--only", config.only or tuple(paths), paths)
    changed = []
    for path in [paths[number] for number in config.only or paths]:
        started = time.perf_counter()
        stored = notebooks.read(path)
        new = notebooks.execute(stored, path.name)
        found = comparison.differences(stored, new)
        seconds = time.perf_counter() - started
        print(f"{path.name}: {len(found)} outputs differ from the saved ones, {seconds:.1f} s", flush=True)
        if config.check:
            changed += [f"{path.name}, {text}" for text in found]
            continue
        comparison.keep_equal(stored, new)
        notebooks.write(path, new)
    if changed:
        raise ExperimentError("outputs differ:\n" + "\n".join(changed))
