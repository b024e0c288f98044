"""The tutorials: each notebook runs in a fresh kernel and shows what is stored in it."""

import re
from pathlib import Path

import pytest

from experiments.tutorials import comparison, notebooks

pytest.importorskip("nbclient")
LIMIT = 300_000  # bytes of a notebook
PATHS = notebooks.find()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_outputs_are_stored_and_normalised(path: Path):
    notebook = notebooks.read(path)
    assert notebooks.normalise(notebook, path.name) == notebook
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)], "run: python -m experiments tutorials"
    assert sum(bool(cell.outputs) for cell in code) > len(code) / 3
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs), "a picture"
    assert path.stat().st_size < LIMIT


def test_tutorials_are_numbered_and_begin_with_a_title():
    assert [path.name[:2] for path in PATHS] == [f"{i:02d}" for i in range(1, len(PATHS) + 1)]
    for path in PATHS:
        first = notebooks.read(path).cells[0]
        assert first.cell_type == "markdown"
        assert re.match(r"# \w", first.source)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_tutorial_runs_and_shows_what_is_stored(path: Path):
    stored = notebooks.read(path)
    assert comparison.differences(stored, notebooks.execute(stored, path.name)) == []
