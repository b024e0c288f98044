"""Records of finished targets: one line of JSON each, in results/audit/targets.jsonl.

A record is valid as long as the versions of the packages and the sources on which it depends are those of now.
Numbers are text, as JSON has neither NaN nor infinity.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.audit.collect import library, version
from experiments.audit.examine import Result
from experiments.audit.findings import Finding
from experiments.audit.reproduce import Code, reproduce
from experiments.audit.target import Target

FILE = "targets.jsonl"
DONE, FAILED = "done", "failed"
VANISHES = "not reproduced"
"""The kind of error that the code of a finding does not show."""


def make(target: Target, key: Mapping[str, str], result: Result) -> dict[str, Any]:
    """Return the record of a target that was examined."""
    found, others = [], dict(result.others)
    for finding, call in zip(result.findings, result.calls, strict=True):
        code = reproduce(call, finding)
        if code.ran and not code.reproduced:  # 0 times an infinite derivative of another output, for example
            others[VANISHES] = others.get(VANISHES, 0) + 1
        else:
            found.append(_finding(finding, code))
    return _record(target, key, DONE, result.checker, result.seconds) | {
        "points": result.points,
        "others": others,
        "notes": list(result.notes),
        "cpu": round(result.cpu, 3),
        "findings": found,
    }


def _finding(finding: Finding, code: Code) -> dict[str, Any]:
    return {
        "argument": finding.argument,
        "kind": finding.kind,
        "point": finding.point,
        "got": repr(finding.got),
        "expected": [repr(v) for v in finding.expected],
        "by": finding.by,
        "output": finding.output,
        "entry": finding.entry,
        "checker": finding.checker,
        "number": finding.number,
        "x": [repr(float(v)) for v in finding.x],
        "code": code.text,
        "shown": code.shown,
        "reproduced": code.reproduced,
    }


def failed(target: Target, key: Mapping[str, str], why: str, seconds: float) -> dict[str, Any]:
    """Return the record of a target that could not be examined: its call raises, its process died, or took too long."""
    return _record(target, key, FAILED, why, seconds)


def _record(target: Target, key: Mapping[str, str], state: str, checker: str, seconds: float) -> dict[str, Any]:
    """Return the record of a target without findings."""
    return {
        "name": target.name,
        "key": dict(key),
        "state": state,
        "library": library(target),
        "version": version(library(target)),
        "checker": checker,
        "points": 0,
        "others": {},
        "notes": [],
        "seconds": round(seconds, 3),
        "cpu": 0.0,
        "findings": [],
    }


def read(folder: Path, keys: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Return the newest record of each of these targets, by name, if it is valid for the target's key."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:  # the command was killed while it wrote
            continue
        if isinstance(record, dict) and record.get("name") in keys:
            found[record["name"]] = record
    return {name: record for name, record in found.items() if record.get("key") == keys[name]}


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Write one record at the end of the file, after the end of a line that a killed command left unfinished."""
    with (folder / FILE).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write((json.dumps(record, allow_nan=False) + "\n").encode())
