"""The findings as rows of a table, and how many there are."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.audit.baseline import Baseline, Entry, match
from experiments.audit.examine import VERDICTS
from experiments.wording import counted

NEW = "new"


class Row(NamedTuple):
    """A finding with what is known of it."""

    library: str
    version: str
    function: str
    argument: str
    point: str
    kind: str
    got: str
    expected: str
    by: str
    checker: bool
    code: str
    reproduced: bool
    entry: Entry | None

    @property
    def status(self) -> str:
        """That of the baseline, or "new"."""
        return self.entry.status if self.entry else NEW

    @property
    def report(self) -> str:
        """The address of a public report, "none known", or "" for a new finding."""
        return self.entry.report if self.entry else ""


def rows(done: Iterable[Mapping[str, Any]], known: Baseline) -> list[Row]:
    """Return the findings of finished targets: new ones first, then wrong ones, conventions, and inexact ones."""
    found = [
        Row(
            record["library"],
            record["version"],
            record["name"],
            f["argument"],
            f["point"],
            f["kind"],
            f["got"],
            " or ".join(f["expected"]),
            f["by"],
            f["checker"],
            f["code"],
            f["reproduced"],
            match(known, record["name"], f),
        )
        for record in done
        for f in record["findings"]
    ]
    order = (NEW, "wrong", "accuracy", "convention")
    return sorted(found, key=lambda row: order.index(row.status))


def write(path: Path, found: Sequence[Row]) -> None:
    """Write the rows as CSV."""
    columns = ["library", "version", "function", "argument", "point", "kind", "got", "expected", "by", "checker"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "status", "why", "report", "reproduced", "code"])
        for row in found:
            values = [getattr(row, name) for name in columns]
            why = row.entry.why if row.entry else ""
            writer.writerow([*values, row.status, why, row.report, row.reproduced, row.code])


class Summary(NamedTuple):
    """What an audit found."""

    selected: int
    done: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Row]
    skipped: Mapping[str, str]
    gone: Sequence[Entry]

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The records of targets that could not be examined, or not by the checker."""
        return [record for record in self.done.values() if record["checker"] not in VERDICTS]

    def text(self) -> str:
        """Return the summary as printed."""
        examined = len(self.done) - len(self.failed)
        seconds = sum(record["seconds"] for record in self.done.values())
        lines = [f"{counted(examined, 'target')} audited in {seconds:,.0f} s of work"]
        groups = Counter((row.function, row.argument, row.kind, row.status) for row in self.rows)
        for status in (NEW, "wrong", "accuracy", "convention"):
            inner = [key for key in groups if key[-1] == status]
            if inner:
                lines.append(f"{status}: {counted(len(inner), 'finding')} in {len({key[0] for key in inner})} calls")
                lines += [f"  {name} by {argument}: {kind}" for name, argument, kind, _ in inner]
        lines += [f"no longer found: {e.target} by {e.argument}: {e.kind} ({e.why})" for e in self.gone]
        lines += [f"could not be audited: {record['name']}: {record['checker']}" for record in self.failed]
        lines += [f"skipped: {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)
