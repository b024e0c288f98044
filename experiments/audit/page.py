"""The page of an audit."""

from pathlib import Path

from experiments.audit.table import Summary


def write(path: Path, summary: Summary) -> None:
    """Write the page."""
    path.write_text(f"<pre>{summary.text()}</pre>", encoding="utf-8")
