"""What the studies left under results/: read back, and whether it is what they would leave now."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.errors import UsageError
from experiments.studies.shared import sources
from experiments.studies.shared.study import Study

HOLDS, BROKEN, FAILED, SKIPPED, ABSENT = "holds", "does not hold", "failed", "skipped", "not run"


def json_path(results: Path, name: str) -> Path:
    return results / name / f"{name}.json"


def error_path(results: Path, name: str) -> Path:
    """Where the traceback of a study that failed is kept."""
    return results / name / f"{name}.error.txt"


def read(results: Path, name: str) -> dict[str, Any] | None:
    """What the study's JSON says; None if it is not there or was not written to its end."""
    try:
        values = json.loads(json_path(results, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and "criteria" in values else None


def read_error(results: Path, name: str) -> str | None:
    """What the study said when it failed; None if it did not."""
    try:
        return error_path(results, name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def state(values: dict[str, Any]) -> str:
    """What came out, in words."""
    return HOLDS if values["holds"] else BROKEN


def configured(study: Study, quick: bool, results: Path) -> Any:
    """The study's quick or its full config, for this folder."""
    return replace(study.quick if quick else type(study.quick)(), results=results)


def settings(config: Any) -> dict[str, Any]:
    """A config as its JSON has it, without where its files go."""
    values = json.loads(json.dumps(asdict(config), default=str))
    return {name: value for name, value in values.items() if name != "results"}


def same_settings(config: Any, values: dict[str, Any]) -> bool:
    """Whether the values were measured with this config."""
    kept = {name: value for name, value in values.get("config", {}).items() if name != "results"}
    return kept == settings(config)


def current(study: Study, config: Any, values: dict[str, Any]) -> bool:
    """Whether the values were measured with this config and with the code as it is."""
    return same_settings(config, values) and values.get("source") == sources.fingerprint(study.path)


def command(study: Study, values: dict[str, Any] | None) -> str:
    """What repeats the study with the settings of its values: the flags that differ from the full config's."""
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


def one_line(text: str) -> str:
    """The last line of what a study said when it failed, where Python puts the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def check_results(results: Path) -> None:
    """UsageError unless the folder is there."""
    if not results.is_dir():
        raise UsageError(f"--results: no folder {results}; `python -m experiments all` makes it")
