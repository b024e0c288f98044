"""The form of a study: measurements, criteria and figure, and how it is reported."""

import importlib
import inspect
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments import figures, reports
from experiments.data import cats, downloads, mnist
from experiments.errors import DataError, ExperimentError, at_least, needs, positive
from experiments.studies.shared import sources
from experiments.wording import GET_DATA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = {"mnist": mnist.source, "cats": cats.source}  # data sets that scikit-learn does not include


class Criterion(NamedTuple):
    """A condition on every measured number: least <= number <= most. There is one number, or one per seed.

    >>> Criterion("accuracy gained, every seed", (0.3, 0.41), least=0.2).holds
    True
    >>> Criterion("deviation", (float("nan"),), most=1e-10).holds
    False
    """

    text: str
    measured: Sequence[float]
    least: float = -math.inf
    most: float = math.inf

    @property
    def holds(self) -> bool:
        return len(self.measured) > 0 and all(self.least <= value <= self.most for value in self.measured)


class Outcome(NamedTuple):
    """The results of a study.

    criteria    the conditions that must hold
    figure      the figure that shows the result
    numbers     other measured quantities, by name: a number, or one per seed
    remarks     sentences: a condition of the claim, a further observation, or what did not reproduce and why
    """

    criteria: Sequence[Criterion]
    figure: "Figure"
    numbers: Mapping[str, float | Sequence[float]]
    remarks: Sequence[str] = ()


class Study(NamedTuple):
    """An experiment on claims of the notes.

    id        its number, X01 to X37; `name` is the module's name
    claims    the ids of the claims that it shows
    run       config -> Outcome
    quick     a config that takes about ten seconds and still checks all criteria
    needs     names of the data sets in DATA that it needs
    """

    id: str
    claims: tuple[str, ...]
    run: Callable[[Any], Outcome]
    quick: Any
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.run.__module__.rpartition(".")[2]

    @property
    def path(self) -> Path:
        return Path(inspect.getfile(self.run)).absolute()


def load(name: str) -> Study:
    """Return the study defined by a module of experiments/studies."""
    return importlib.import_module(f"experiments.studies.{name}").STUDY


def missing_data(study: Study) -> list[str]:
    """Return the names of the needed data sets whose files are missing.

    The content of the files is checked when the study runs.
    """
    return [name for name in study.needs if downloads.find(DATA[name]()) is None]


def check(config: Any) -> None:
    """Raise UsageError for an integer below 1, or for a number that is negative or not finite.

    >>> from experiments.studies.planar_demo import Config
    >>> check(Config(seeds=0))
    Traceback (most recent call last):
        ...
    experiments.errors.UsageError: --seeds must be at least 1, got 0
    """
    for field in fields(config):
        value, flag = getattr(config, field.name), f"--{field.name.replace('_', '-')}"
        for number in value if isinstance(value, tuple) else (value,):
            if field.name == "learning_rate":
                positive(flag, number)
            elif isinstance(number, float):
                at_least(flag, number, 0.0)
            elif isinstance(number, int) and not isinstance(number, bool):
                at_least(flag, number, 1)


def as_json(study: Study, config: Any, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Return everything except the figure. Numbers that are not finite become null."""
    finite = lambda value: float(value) if math.isfinite(value) else None
    finite_values = lambda value: [finite(v) for v in value] if isinstance(value, Sequence) else finite(value)
    criteria = [
        {
            "text": criterion.text,
            "measured": finite_values(criterion.measured),
            "least": finite(criterion.least),
            "most": finite(criterion.most),
            "holds": criterion.holds,
        }
        for criterion in outcome.criteria
    ]
    return {
        "experiment": study.name,
        "id": study.id,
        "claims": study.claims,
        "config": asdict(config),
        "versions": reports.versions(),
        "source": sources.fingerprint(study.path),
        "seconds": round(seconds, 2),
        "holds": all(criterion.holds for criterion in outcome.criteria),
        "criteria": criteria,
        "numbers": {name: finite_values(value) for name, value in outcome.numbers.items()},
        "remarks": list(outcome.remarks),
    }


def conduct(study: Study, config: Any, results: Path) -> dict[str, Any]:
    """Run the study and save its files under results/NAME/.

    The files are NAME.json, NAME.png and NAME.svg. Returns the content of the JSON file.
    """
    check(config)
    needs("matplotlib", "sklearn")
    absent = missing_data(study)
    if absent:
        raise DataError(f"{study.name} needs {', '.join(absent)}, which was not found: {GET_DATA}")
    folder = reports.make_folder(results, study.name, f"{study.name}.json")
    (folder / f"{study.name}.error.txt").unlink(missing_ok=True)  # left by an earlier `all`
    start = time.perf_counter()
    with figures.style():
        outcome = study.run(config)
        values = as_json(study, config, outcome, time.perf_counter() - start)
        figures.save(outcome.figure, folder / f"{study.name}.png")
        figures.save(outcome.figure, folder / f"{study.name}.svg")
    reports.save_json(folder / f"{study.name}.json", json.loads(json.dumps(values, default=str)))
    return values


def format_limits(least: float | None, most: float | None) -> str:
    """Describe the limits of a criterion.

    >>> format_limits(0.2, None), format_limits(0.2, 5.0), format_limits(0.0, 0.0)
    ('at least 0.2', '0.2 to 5', 'exactly 0')
    """
    if least is not None and most is not None:
        return f"exactly {least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
    return f"at least {least:.4g}" if least is not None else f"at most {most:.4g}"


def format_values(values: float | Sequence[float | None] | None) -> str:
    """Describe one number, or the smallest and the largest of several.

    >>> format_values(0.5), format_values([0.25, 1e-12, 3.0]), format_values([1.0, 1.0]), format_values([None])
    ('0.5', '1e-12 .. 3 (of 3)', '1 (all 2)', 'not finite')
    """
    if not isinstance(values, Sequence):
        values = [values]
    finite = [value for value in values if value is not None]
    if len(finite) < len(values):
        return "not finite" if len(values) == 1 else f"{len(values) - len(finite)} of {len(values)} not finite"
    lowest, highest = f"{min(finite):.4g}", f"{max(finite):.4g}"
    if lowest == highest:
        return lowest if len(finite) == 1 else f"{lowest} (all {len(finite)})"
    return f"{lowest} .. {highest} (of {len(finite)})"


def main(study: Study, config: Any) -> None:
    """Run the study and print its criteria and numbers.

    Raises ExperimentError if a criterion does not hold.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    values = conduct(study, config, config.results)
    console = Console(highlight=False, width=max(Console().width, 100))
    criteria = Table(title=f"{study.id}: claims {', '.join(study.claims)}", title_justify="left")
    for column in ("criterion", "must be", "measured", "holds"):
        criteria.add_column(column, justify="left" if column == "criterion" else "right")
    for row in values["criteria"]:
        wanted, holds = format_limits(row["least"], row["most"]), "[green]yes" if row["holds"] else "[red]no"
        criteria.add_row(escape(row["text"]), wanted, format_values(row["measured"]), holds)
    numbers = Table(title="other measurements", title_justify="left", show_header=False)
    for name, value in values["numbers"].items():
        numbers.add_row(escape(name), format_values(value))
    console.print(criteria, *([numbers] if values["numbers"] else []), *map(escape, values["remarks"]), sep="\n")
    folder = config.results / study.name
    console.print(f"{values['seconds']:.1f} s; saved: {folder / study.name}.png, .svg, .json", markup=False)
    broken = [row["text"] for row in values["criteria"] if not row["holds"]]
    if broken:
        raise ExperimentError(f"does not hold: {'; '.join(broken)}")
