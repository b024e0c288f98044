"""Findings that were looked at by hand: experiments/audit/baseline.toml.

    [[finding]]
    target = "jax.numpy.ldexp"
    argument = "[0]"
    kind = "wrong derivative"
    status = "wrong"
    why = "at 0 the function returns x itself, whose derivative is 1; it is 2 to the power n"
    report = "https://github.com/jax-ml/jax/issues/37992"
    versions = ["jax 0.10.2"]

`point` restricts an entry to points whose name begins so. Status is "wrong", "convention" or "accuracy". `report` is
the address of a public report, or "none known", which an address of something related may follow. `versions` are those
in which the finding was seen.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("baseline.toml")
STATUSES = ("wrong", "convention", "accuracy")


class Entry(NamedTuple):
    """What is known of a finding."""

    target: str
    argument: str
    kind: str
    status: str
    why: str
    report: str
    versions: tuple[str, ...] = ()
    point: str = ""


Baseline = tuple[Entry, ...]


def read(path: Path = FILE) -> Baseline:
    """Read the entries. Raises ValueError that names an entry with a missing, unknown or wrong field."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("finding", []) if path.exists() else []
    return tuple(_entry(path, number, fields) for number, fields in enumerate(entries, start=1))


def _entry(path: Path, number: int, fields: Mapping[str, Any]) -> Entry:
    where = f"{path.name}: finding {number} ({fields.get('target', 'no target')})"
    required = set(Entry._fields) - {"versions", "point"}
    if required - set(fields) or set(fields) - set(Entry._fields):
        wanted = f"{', '.join(sorted(required))}, and may have versions and point"
        raise ValueError(f"{where} must have the fields {wanted}, got {', '.join(fields)}")
    if fields["status"] not in STATUSES:
        raise ValueError(f"{where}: status must be one of {', '.join(STATUSES)}, got {fields['status']!r}")
    return Entry(**{**fields, "versions": tuple(fields.get("versions", ()))})


def match(known: Baseline, target: str, finding: Mapping[str, Any]) -> Entry | None:
    """Return the entry about a finding, the one with the longest point; None for a new finding."""
    found = [
        entry
        for entry in known
        if (entry.target, entry.argument, entry.kind) == (target, finding["argument"], finding["kind"])
        and finding["point"].startswith(entry.point)
    ]
    return max(found, key=lambda entry: len(entry.point), default=None)


def gone(known: Baseline, rows: Sequence[Any], audited: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Return the entries about audited targets that match no finding: what this version no longer has."""
    names = {record["name"] for record in audited}
    used = {row.entry for row in rows}
    return [entry for entry in known if entry.target in names and entry not in used]
