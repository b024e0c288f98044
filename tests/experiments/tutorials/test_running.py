"""How the tutorials run: fresh kernels, outputs without traces of the machine, comparison, and the command."""

import base64
import shutil
from pathlib import Path

import nbformat
import pytest

from experiments.__main__ import main
from experiments.errors import ExperimentError
from experiments.tutorials import comparison, notebooks
from experiments.tutorials.comparison import same_text

FIGURE = "import matplotlib.pyplot as plt\nplt.figure(figsize=(1, 1)).add_subplot().plot([1, 2]);"
PYTHON = "import sys; print(sys.version_info[:2], 'conftest' in sys.modules)"


def notebook(*sources: str):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


@pytest.fixture(scope="module")
def executed():
    fails = nbformat.v4.new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    sources = ["x = 2\nprint(x)\nprint('end')", "import fnn\nx * fnn.relu.forward((), 1.5)[0]", FIGURE, "", PYTHON]
    example = notebook(*sources)
    example.cells.append(fails)
    return notebooks.execute(example, "example")


def test_a_fresh_kernel_of_this_python_runs_the_cells(executed):
    import sys

    first, second, _, empty, python, fails = executed.cells
    assert first.outputs == [{"output_type": "stream", "name": "stdout", "text": "2\nend\n"}]
    assert second.outputs[0].data["text/plain"].startswith("Array(3.,")
    assert empty.outputs == []
    assert python.outputs[0].text == f"{sys.version_info[:2]} False\n"
    assert fails.outputs[0].traceback == ["ZeroDivisionError: division by zero"]
    assert [cell.id for cell in executed.cells] == [f"cell-0{i}" for i in range(1, 7)]
    assert executed.metadata.language_info == {"name": "python"}  # no version


def test_pictures_lose_all_but_their_pixels(executed):
    picture = base64.b64decode(executed.cells[2].outputs[0].data["image/png"])
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert b"IDAT" in picture
    assert b"IEND" in picture
    assert b"matplotlib" not in picture
    assert b"pHYs" not in picture


def test_writing_is_reproducible(executed, tmp_path: Path):
    notebooks.write(tmp_path / "a.ipynb", executed)
    again = notebooks.read(tmp_path / "a.ipynb")
    assert again == executed
    notebooks.write(tmp_path / "b.ipynb", notebooks.normalise(again, "b"))
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import warnings; warnings.warn('old')", "nothing may go to the standard error"),
        ("object()", "no address in memory, got '0x"),
        ("import sys; print(sys.prefix + '/lib')", "may show no path"),
    ],
)
@pytest.mark.slow
def test_errors_name_the_cell(source, message):
    with pytest.raises(ExperimentError, match=r"^example") as error:
        notebooks.execute(notebook("pass", source), "example")
    assert message in str(error.value)


def test_differences_are_found_per_cell(executed):
    def changed(i: int, **output):
        other = notebooks.normalise(executed, "other")
        other.cells[i].outputs = [nbformat.from_dict({**other.cells[i].outputs[0], **output})]
        return other

    assert comparison.differences(executed, executed) == []
    (text,) = comparison.differences(executed, changed(0, text="3\nend\n"))
    assert text.startswith("cell 1: stdout differs")
    assert comparison.differences(executed, changed(1, data={"text/plain": "Array(3.01, dtype=float32)"})) != []
    without_image = changed(2, data={"text/plain": executed.cells[2].outputs[0].data["text/plain"]})
    (text,) = comparison.differences(executed, without_image)
    assert text.startswith("cell 3: stored outputs are [['image/png', 'text/plain']], a run gives [['text/plain']]")
    missing = notebooks.normalise(executed, "missing")
    missing.cells[0].outputs = []
    assert len(comparison.differences(executed, missing)) == 1

    tagged = notebooks.normalise(executed, "tagged")
    tagged.cells[0].metadata["tags"] = [comparison.VARIES]
    assert comparison.differences(tagged, changed(0, text="3\nend\n")) == []
    assert len(comparison.differences(tagged, missing)) == 1, "the kind of its outputs counts"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("epoch 5/100  cost 0.1235  1.2 s", "epoch 5/100  cost 0.1236  0.812 s", True),
        ("epoch 5/100", "epoch 6/100", False),
        ("cost 0.12", "cost 0.14", False),
        ("cost 0.12", "cost nan", False),
        ("error 3.1e-16", "error 0.0", True),
        ("error 3.1e-7", "error 0.0", False),
        ("error 1e-07", "error 9e-08", True),
        ("error 1e-07", "error 9e-06", False),
        ("[1. 2.]", "[1.  2.]", True),
        ("12 s of 3 steps", "13 s of 3 steps", True),
        ("12 steps", "13 steps", False),
    ],
)
def test_same_text(a, b, same):
    assert same_text(a, b) == same


@pytest.mark.slow
def test_the_command_saves_and_checks(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    path = tmp_path / "01_small.ipynb"
    notebooks.write(path, notebooks.normalise(notebook("print(1)", FIGURE), "small"))
    shutil.copy(path, tmp_path / "02_other.ipynb")
    assert main(["tutorials", "--only", "1", "--check"]) == 1
    assert "01_small.ipynb, cell 1: stored outputs are []" in capsys.readouterr().err
    assert main(["tutorials", "--only", "1"]) == 0
    before = path.read_bytes()
    assert main(["tutorials", "--only", "1", "--check"]) == 0
    assert main(["tutorials", "--only", "1"]) == 0
    assert path.read_bytes() == before
    assert notebooks.read(tmp_path / "02_other.ipynb").cells[0].outputs == []
    assert main(["tutorials", "--only", "3"]) == 2
    assert "--only must be among 1, 2, got 3" in capsys.readouterr().err
