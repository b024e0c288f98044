"""The claims of the course notes, each with its verdict, and the tests and studies that show it.

    python -m experiments claims --run

The notes make 266 statements; experiments/claims/ledger has them by subject, with a verdict each: RIGHT,
CONVENTION (a choice of layout or name), QUALIFIED (under a condition), WRONG and TYPO (with the
correction), DESCRIPTIVE. A test shows a claim by its mark, `@pytest.mark.claim("C188")`, a study by
its `claims`. `--run` runs the marked tests; without it their states are those of the last time.
Studies are not run here: their states are those of their files in the results folder.

Prints a table per section; saves results/claims/claims.json. Ends with 1 if a claim of those
printed fails, or could be tested and is not. To expect: all 266 shown, or nothing to test.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from experiments import reports
from experiments.claims import evidence
from experiments.errors import ExperimentError, usage

if TYPE_CHECKING:
    from rich.table import Table

LEDGER = Path(__file__).parent / "ledger"
VERDICTS = ("RIGHT", "CONVENTION", "QUALIFIED", "WRONG", "TYPO", "DESCRIPTIVE")
KINDS = ("equation", "empirical", "definition", "algorithm", "system")
COLOURS = {"shown": "green", "shown in part": "yellow", "fails": "bold red", "not shown": "bold red"}


@dataclass(frozen=True)
class Config:
    section: int | None = None
    """Only this section, by its number."""
    verdict: Literal["RIGHT", "CONVENTION", "QUALIFIED", "WRONG", "TYPO", "DESCRIPTIVE"] | None = None
    """Only claims with this verdict."""
    run: bool = False
    """Run the marked tests."""
    results: Path = Path("results")
    """Folder of the studies' files; this command makes its own folder, claims, in it."""


class Claim(NamedTuple):
    """A statement of the notes. where: document and section; correction: also the condition under which it holds;
    untestable: why there is nothing to test.
    """

    id: str
    number: int
    section: str
    where: str
    claim: str
    kind: str
    verdict: str
    correction: str = ""
    untestable: str = ""


def load(folder: Path = LEDGER) -> list[Claim]:
    """All claims, by section.

    >>> claims = load()
    >>> len(claims), claims[0].id, claims[0].section
    (266, 'C001', 'Logistic regression')
    """
    claims = []
    for path in sorted(folder.glob("*.toml")):
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        number, section = values.pop("number"), values.pop("section")
        claims += [Claim(id, number, section, **fields) for id, fields in values.items()]
    return claims


def as_json(claim: Claim, shown_by: Sequence[evidence.Evidence]) -> dict[str, Any]:
    """A row of claims.json."""
    state = evidence.verdict(by.state for by in shown_by)
    if claim.untestable and not shown_by:
        state = "nothing to test"
    return claim._asdict() | {"shown_by": [by._asdict() for by in shown_by], "state": state}


def record(results: Path, *, run: bool = False) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Writes claims.json: -> its path, its rows, and what is named by tests or studies and is no claim."""
    claims = load()
    path = reports.make_folder(results, "claims") / "claims.json"
    tests = evidence.marked_tests()
    named = [name for names in tests.values() for name in names]
    found = evidence.gather(results, tests, evidence.run_tests(named) if run else evidence.remembered(path))
    rows = [as_json(claim, found.get(claim.id, [])) for claim in claims]
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, rows, strangers(claims, found)


def strangers(claims: Iterable[Claim], named: Iterable[str]) -> list[str]:
    """What is named by a test or a study and is no claim of the ledger."""
    return sorted(set(named) - {claim.id for claim in claims})


def problems(rows: Iterable[dict[str, Any]]) -> list[str]:
    """A line for the claims that fail, and one for those that nothing shows."""
    lines = []
    for state in ("fails", "not shown"):
        ids = [row["id"] for row in rows if row["state"] == state]
        if ids:
            lines.append(f"{state}: {', '.join(ids)}")
    return lines


def table(section: str, rows: Sequence[dict[str, Any]]) -> "Table":
    """A row per claim."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=section, title_justify="left", show_lines=True, expand=True)
    for column, width in (("", 4), ("verdict", 11), ("claim", None), ("shown by", None), ("state", 15)):
        shown.add_column(column, width=width, ratio=None if width else 1, overflow="fold")
    for row in rows:
        claim = Text(row["claim"])
        if row["correction"]:
            claim.append(f"\n→ {row['correction']}", style="cyan")
        by = [f"{by['state']}: {by['name'].rpartition('/')[2]}" for by in row["shown_by"]] or [row["untestable"]]
        state = Text(row["state"], style=COLOURS.get(row["state"], "dim"))
        shown.add_row(row["id"], row["verdict"], claim, Text("\n".join(by)), state)
    return shown


def main(config: Config) -> None:
    """Prints and saves; ExperimentError if a claim fails or is not shown."""
    from rich.console import Console

    sections = {claim.number: f"{claim.number}. {claim.section}" for claim in load()}
    if config.section is not None and config.section not in sections:
        raise usage("--section", f"1 to {len(sections)}", config.section)
    path, rows, unknown = record(config.results, run=config.run)
    if unknown:
        raise ExperimentError(f"no such claims, but tests or studies name them: {', '.join(unknown)}")

    console = Console(highlight=False, width=max(Console().width, 120))
    wanted = [
        row for row in rows if config.section in (None, row["number"]) and config.verdict in (None, row["verdict"])
    ]
    for number, section in sections.items():
        of_section = [row for row in wanted if row["number"] == number]
        if of_section:
            console.print(table(section, of_section))
    for what in ("verdict", "state"):
        counts = Counter(row[what] for row in wanted)
        console.print(f"{len(wanted)} claims by {what}: {', '.join(f'{n} {name}' for name, n in counts.most_common())}")
    console.print(f"saved: {path}", markup=False, soft_wrap=True)
    lines = problems(wanted)
    if lines:
        raise ExperimentError("; ".join(lines))
