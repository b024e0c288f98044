"""Saved results of the studies: read them, and check that they are up to date."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.errors import DataError
from experiments.studies.shared import sources
from experiments.studies.shared.study import Study

HOLDS, BROKEN, FAILED, SKIPPED, ABSENT = "holds", "does not hold", "failed", "skipped", "not run"


def json_path(results: Path, name: str) -> Path:
    """Return the path of the study's JSON file."""
    return results / name / f"{name}.json"


def error_path(results: Path, name: str) -> Path:
    """Return the path of the file that holds the traceback of a failed study."""
    return results / name / f"{name}.error.txt"


def read(results: Path, name: str) -> dict[str, Any] | None:
    """Return the content of the study's JSON file, or None if it is missing or incomplete."""
    try:
        values = json.loads(json_path(results, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and "criteria" in values else None


def read_error(results: Path, name: str) -> str | None:
    """Return the traceback of the study's last run, or None if that run did not fail."""
    try:
        return error_path(results, name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def state(values: dict[str, Any]) -> str:
    """Return HOLDS if all criteria hold, else BROKEN."""
    return HOLDS if values["holds"] else BROKEN


def make_config(study: Study, quick: bool, results: Path) -> Any:
    """Return the study's quick or full config, with this results folder."""
    return replace(study.quick if quick else type(study.quick)(), results=results)


def settings(config: Any) -> dict[str, Any]:
    """Return a config as its JSON stores it, without the results folder."""
    values = json.loads(json.dumps(asdict(config), default=str))
    return {name: value for name, value in values.items() if name != "results"}


def same_settings(config: Any, values: dict[str, Any]) -> bool:
    """Return True if the saved values were measured with this config."""
    kept = {name: value for name, value in values.get("config", {}).items() if name != "results"}
    return kept == settings(config)


def is_up_to_date(study: Study, config: Any, values: dict[str, Any]) -> bool:
    """Return True if the saved values were measured with this config and with the current code."""
    return same_settings(config, values) and values.get("source") == sources.fingerprint(study.path)


def command(study: Study, values: dict[str, Any] | None) -> str:
    """Return the command that repeats the study.

    Only flags that differ from the full config are included.
    """
    words = ["python -m experiments", study.name]
    usual = settings(type(study.quick)())
    for name, value in (values or {}).get("config", {}).items():
        if name in usual and value != usual[name]:
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


def last_line(text: str) -> str:
    """Return the last line of a traceback, which names the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no error message"


def check_results(results: Path) -> None:
    """Raise DataError unless the results folder exists."""
    if not results.is_dir():
        raise DataError(f"--results: no folder {results}; `python -m experiments all` creates it")
