"""Write results/report.html: one self-contained page with all studies and claims.

    python -m experiments report

The page is made from the files that `all`, single studies and `claims` saved in the results folder; `all`
writes it as well. It shows which studies hold, with figure, criteria and numbers, the errors in the notes
with their corrections, and the table of claims. Missing results are listed as missing.
"""

import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from experiments import studies
from experiments.claims import evidence, report_figures, report_parts, report_text
from experiments.claims.claims import VERDICTS
from experiments.claims.report_parts import Part
from experiments.errors import ExperimentError
from experiments.studies.shared import outcomes, sources, study

BAD = (outcomes.BROKEN, outcomes.FAILED)
QUICK, EARLIER = "quick settings", "earlier version of the code"


@dataclass(frozen=True)
class Config:
    results: Path = Path("results")
    """Folder with the studies' results; the page is written to it."""


def read_figure(results: Path, name: str) -> report_figures.Inline | None:
    """Return the study's figure, or None if it is missing."""
    try:
        svg = (results / name / f"{name}.svg").read_text(encoding="utf-8")
        return report_figures.inline(svg, name)
    except (OSError, SyntaxError):  # xml's ParseError is a SyntaxError
        return None


def load_part(name: str, results: Path) -> Part:
    """Return everything that is known of a study."""
    try:
        loaded = study.load(name)
    except Exception:
        trace = traceback.format_exc()
        return Part(name, "?", (), f"{name} cannot be loaded.", "", outcomes.FAILED, error=trace)
    values, error = outcomes.read(results, name), outcomes.read_error(results, name)
    docstring = sources.docstring(loaded.path)
    base = Part(name, loaded.id, loaded.claims, docstring, outcomes.command(loaded, None), outcomes.ABSENT)
    if error is not None:
        return base._replace(state=outcomes.FAILED, error=error)
    if values is None:
        try:
            absent = study.missing_data(loaded)
        except ExperimentError as damaged:
            return base._replace(state=outcomes.FAILED, error=str(damaged))
        state = f"{outcomes.SKIPPED}: needs {', '.join(absent)}"
        return base._replace(state=state, needs=tuple(absent)) if absent else base
    notes = ()
    quick, full = (
        outcomes.same_settings(outcomes.make_config(loaded, is_quick, results), values) for is_quick in (True, False)
    )
    if quick and not full:
        notes += (QUICK,)
    if values.get("source") != sources.fingerprint(loaded.path):
        notes += (EARLIER,)
    command = outcomes.command(loaded, values)
    found = base._replace(state=outcomes.state(values), values=values, command=command, notes=notes)
    return found._replace(figure=read_figure(results, name))


def read_claims(results: Path, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the rows of claims.json with current states of the studies, or [] if the file is missing."""
    try:
        rows = json.loads((results / "claims" / "claims.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    states = {part.name: part.state for part in parts}
    for row in rows:
        for by in row["shown_by"]:
            by["state"] = states.get(by["name"], by["state"]) if by["kind"] == "study" else by["state"]
        if row["shown_by"]:
            row["state"] = evidence.combined_state(by["state"] for by in row["shown_by"])
    return rows


def run_remarks(parts: Sequence[Part]) -> str:
    """Return how many studies ran with quick settings, and how many with an earlier version of the code."""
    found = ""
    for note, words in (
        (QUICK, "ran with quick settings (fewer seeds, shorter trainings)"),
        (EARLIER, f"ran with an {EARLIER}"),
    ):
        count = sum(note in part.notes for part in parts)
        if count:
            found += f"; {'all' if count == len(parts) else count} of the studies {words}"
    return found


def environments(parts: Sequence[Part]) -> str:
    """Return the versions that the studies ran with.

    If they differ, say how many studies ran with which.
    """
    found: dict[str, int] = {}
    for part in parts:
        if part.values:
            versions = part.values["versions"]
            text = " · ".join(f"{name} {value}" for name, value in versions.items() if name not in ("device", "cpus"))
            text += f" · {str(versions.get('device')).removeprefix('cpu: ')}, {versions.get('cpus')} cores"
            found[text] = found.get(text, 0) + 1
    if len(found) > 1:
        return "; ".join(f"{count} of the studies: {text}" for text, count in found.items())
    return next(iter(found), "no study has run")


def tiles(parts: Sequence[Part], rows: Sequence[dict[str, Any]]) -> str:
    """Return the summary: numbers, each with what it counts."""
    count = lambda states: sum(part.state in states for part in parts)
    counts = [(f"{count([outcomes.HOLDS])} of {len(parts)}", "studies hold")]
    bad, other = count(BAD), len(parts) - count([*BAD, outcomes.HOLDS])
    counts += [(str(bad), "do not hold or failed")] if bad else []
    counts += [(str(other), "not run")] if other else []
    if rows:
        shown = sum(row["state"] == "shown" for row in rows)
        nothing = sum(row["state"] == "nothing to test" for row in rows)
        counts.append((f"{shown} of {len(rows) - nothing}", "testable claims shown"))
        waiting = sum(any(by["kind"] == "test" and by["state"] == "not run" for by in row["shown_by"]) for row in rows)
        if waiting:
            how = "<code>claims --run</code>, then <code>report</code>"
            counts.append((str(waiting), f"with tests that have not been run: {how}"))
        counts.append((str(sum(row["verdict"] in report_parts.KINDS for row in rows)), "errors found in the notes"))
    return "".join(f"<li><b>{number}</b> {words}</li>" for number, words in counts)


def build(results: Path) -> str:
    """Return the page as HTML."""
    parts = sorted((load_part(name, results) for name in studies.NAMES), key=lambda part: (part.id, part.name))
    rows = read_claims(results, parts)
    known, names = frozenset(row["id"] for row in rows), frozenset(part.name for part in parts)
    figures = [part.figure for part in parts if part.figure is not None]
    no_claims = "<p>No claims yet: <code>python -m experiments claims</code> writes the table.</p>"
    options = [verdict for verdict in VERDICTS if any(row["verdict"] == verdict for row in rows)]
    seconds = sum(part.values["seconds"] for part in parts if part.values)
    return Template(report_parts.read("report.html")).substitute(
        style=report_parts.read("report.css"),
        colours=report_figures.variables(colour for part in figures for colour in part.colours),
        script=report_parts.read("report.js"),
        tiles=tiles(parts, rows),
        environment=report_text.span(environments(parts) + run_remarks(parts)),
        seconds=f"{seconds:,.0f} s",
        contents=report_parts.contents(parts),
        errors=report_parts.errors(rows) or no_claims,
        studies="\n".join(report_parts.study_section(part, known) for part in parts),
        verdicts="".join(f"<option>{verdict}</option>" for verdict in options),
        total=len(rows),
        claims=report_parts.claims(rows, names) if rows else no_claims,
    )


def write(results: Path) -> Path:
    """Write the page to the results folder and return its path."""
    path = results / "report.html"
    path.write_text(build(results), encoding="utf-8")
    return path


def main(config: Config) -> None:
    """Write the page from the saved results."""
    outcomes.check_results(config.results)
    path = write(config.results)
    print(f"report: {path}, {path.stat().st_size / 1e6:.1f} MB")
