"""List the claims of the course notes, their verdicts, and what shows them.

    python -m experiments claims --run

The notes make 266 statements. experiments/claims/ledger lists them by subject, each with a verdict:
RIGHT, CONVENTION (a choice of layout or name), QUALIFIED (right under a condition), WRONG and TYPO
(with the correction), DESCRIPTIVE. A test shows a claim through its mark, `@pytest.mark.claim("C188")`,
a study through its `claims`. `--run` runs the marked tests; otherwise the states of their last run are
shown. Studies are not run: their states are read from the results folder.

Prints a table per section and saves results/claims/claims.json. The exit code is 1 if one of the
printed claims fails, or if nothing shows a claim that could be tested. Expected result: each of the
266 claims is shown or has nothing to test.
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
from experiments.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

LEDGER = Path(__file__).parent / "ledger"
VERDICTS = ("RIGHT", "CONVENTION", "QUALIFIED", "WRONG", "TYPO", "DESCRIPTIVE")
KINDS = ("equation", "empirical", "definition", "algorithm", "system")
COLOURS = {"shown": "green", "shown in part": "yellow", "fails": "bold red", "not shown": "bold red"}


@dataclass(frozen=True)
class Config:
    section: int | None = None
    """Print only the section with this number."""
    verdict: Literal["RIGHT", "CONVENTION", "QUALIFIED", "WRONG", "TYPO", "DESCRIPTIVE"] | None = None
    """Print only claims with this verdict."""
    run: bool = False
    """Run the marked tests."""
    results: Path = Path("results")
    """Folder with the studies' results; claims.json is saved in its subfolder claims."""


class Claim(NamedTuple):
    """A statement of the notes.

    where         the document and the section of the notes
    correction    what is right instead, or the condition under which the statement is right
    untestable    why there is nothing to test
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
    """Return all claims, by section.

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
    """Return a claim's row of claims.json."""
    state = evidence.combined_state(by.state for by in shown_by)
    if claim.untestable and not shown_by:
        state = "nothing to test"
    return claim._asdict() | {"shown_by": [by._asdict() for by in shown_by], "state": state}


def record(results: Path, *, run: bool = False) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Write claims.json.

    Returns: its path, its rows, and the ids that tests or studies name but the ledger lacks.
    """
    claims = load()
    path = reports.make_folder(results, "claims") / "claims.json"
    tests = evidence.marked_tests()
    named = [name for names in tests.values() for name in names]
    found = evidence.gather(results, tests, evidence.run_tests(named) if run else evidence.recorded_states(path))
    rows = [as_json(claim, found.get(claim.id, [])) for claim in claims]
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, rows, unknown_claims(claims, found)


def unknown_claims(claims: Iterable[Claim], named: Iterable[str]) -> list[str]:
    """Return the ids that a test or a study names but the ledger lacks."""
    return sorted(set(named) - {claim.id for claim in claims})


def problems(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return a line that lists the failing claims, and one that lists the claims that nothing shows."""
    lines = []
    for state in ("fails", "not shown"):
        ids = [row["id"] for row in rows if row["state"] == state]
        if ids:
            lines.append(f"{state}: {', '.join(ids)}")
    return lines


def table(section: str, rows: Sequence[dict[str, Any]]) -> "Table":
    """Return the table of a section, with one row per claim."""
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
    """Print the claims and save claims.json.

    Raises ExperimentError if a claim fails or is not shown.
    """
    from rich.console import Console

    sections = {claim.number: f"{claim.number}. {claim.section}" for claim in load()}
    if config.section is not None and config.section not in sections:
        raise usage("--section", f"1 to {len(sections)}", config.section)
    path, rows, unknown = record(config.results, run=config.run)
    if unknown:
        raise ExperimentError(f"tests or studies name claims that are not in the ledger: {', '.join(unknown)}")

    console = Console(highlight=False, width=max(Console().width, 120))
    wanted = [
        row for row in rows if config.section in (None, row["number"]) and config.verdict in (None, row["verdict"])
    ]
    for number, section in sections.items():
        of_section = [row for row in wanted if row["number"] == number]
        if of_section:
            console.print(table(section, of_section))
    for field in ("verdict", "state"):
        counts = Counter(row[field] for row in wanted)
        listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        console.print(f"{counted(len(wanted), 'claim')} by {field}: {listed}")
    console.print(f"saved: {path}", markup=False, soft_wrap=True)
    lines = problems(wanted)
    if lines:
        raise ExperimentError("; ".join(lines))
