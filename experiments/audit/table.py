"""The findings as rows of a table, and how many there are."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.audit.baseline import Baseline, Entry, match
from experiments.audit.examine import VERDICTS
from experiments.wording import counted

NEW = "new"
STATUSES = (NEW, "wrong", "accuracy", "convention")
"""The status of a finding, in the order in which they are listed."""


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
    """Return the findings of finished targets: in the order of STATUSES."""
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
    return sorted(found, key=lambda row: STATUSES.index(row.status))


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


class Group(NamedTuple):
    """The findings of one kind about one argument of a call, at one or more points."""

    rows: tuple[Row, ...]

    @property
    def status(self) -> str:
        """That of all its rows."""
        return self.rows[0].status

    @property
    def report(self) -> str:
        """That of its first row."""
        return self.rows[0].report


def groups(found: Sequence[Row]) -> list[Group]:
    """Return the rows by call, argument, kind and status, those with code that runs first."""
    inner: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        inner.setdefault((row.function, row.argument, row.kind, row.status), []).append(row)
    return [Group(tuple(sorted(members, key=lambda row: not row.reproduced))) for members in inner.values()]


def distinct(findings: Iterable[Mapping[str, Any]]) -> int:
    """Return how many findings of one call differ in argument or kind, not only in the point."""
    return len({(f["argument"], f["kind"]) for f in findings})


class Summary(NamedTuple):
    """What an audit found."""

    selected: int
    """The number of calls that were asked for."""
    done: Mapping[str, Mapping[str, Any]]
    """The records by name."""
    groups: Sequence[Group]
    skipped: Mapping[str, str]
    gone: Sequence[Entry]

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The records of targets that could not be examined, or not by the checker."""
        return [record for record in self.done.values() if record["checker"] not in VERDICTS]

    @property
    def versions(self) -> list[str]:
        """The packages that were audited, with their versions."""
        return sorted({f"{name} {version}" for r in self.done.values() for name, version in _packages(r)})

    def text(self) -> str:
        """Return the summary as printed."""
        work = sum(record["cpu"] for record in self.done.values())
        lines = [f"{counted(len(self.done), 'call')} audited in {work:,.0f} s of work: {', '.join(self.versions)}"]
        for status in STATUSES:
            inner = [group.rows[0] for group in self.groups if group.status == status]
            if inner:
                calls = counted(len({row.function for row in inner}), "call")
                lines.append(f"{status}: {counted(len(inner), 'finding')} in {calls}")
                lines += [f"  {row.function} by {row.argument}: {row.kind}" for row in inner]
        lines += [f"no longer found: {e.target} by {e.argument}: {e.kind} ({e.why})" for e in self.gone]
        lines += [f"not audited: {record['name']}: {record['checker']}" for record in self.failed]
        lines += [f"skipped: {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)


def _packages(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, version) for name, version in record["key"].items() if name not in ("target", "audit") and version]
