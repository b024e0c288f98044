"""Progress in a notebook, with a real kernel: a cell has one small output, whatever the number of epochs."""

import re

import pytest

from fnn.training import notebook

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
notebooks = pytest.importorskip("experiments.tutorials.notebooks")

SETUP = """
import time
import jax, jax.numpy as jnp, numpy as np, fnn

first = lambda prediction, target: prediction[:, 0]
x, y = jnp.arange(8.0).reshape(4, 2) / 8, jnp.array([0, 1, 2, 1])

def fit(network=fnn.dense(2, 3), **options):
    options = {"epochs": 100, "batch_size": 4, "key": jax.random.key(0), "metrics": {"<b>": first}} | options
    return fnn.fit(network, fnn.softmax_cross_entropy, fnn.sgd(0.1), (x, y), **options)
"""
CELLS = {
    "setup": SETUP,
    "default": "result = fit()",
    "silent": "result = fit(progress=False)",
    "last line": "fit()",
    "note": "result = fit(validation=(x, (y + 1) % 3), patience=2)",
    "error": "fit(callback=lambda epoch, *_: 1 / 0 if epoch == 7 else None)",
    "figure": "result.plot();",
    "network": "fnn.mlp([784, 30, 10])",
    "names": "import sys; print('matplotlib' in sys.modules, fnn.plot.__name__, 'IPython' in sys.modules)",
}


@pytest.fixture(scope="module")
def outputs():
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    cells[[*CELLS].index("error")].metadata["tags"] = ["raises-exception"]
    executed = notebooks.execute(nbformat.v4.new_notebook(cells=cells), "progress")
    return {name: cell.outputs for name, cell in zip(CELLS, executed.cells, strict=True)}


def test_one_small_output_for_a_hundred_epochs(outputs):
    (output,) = outputs["default"]
    assert output.output_type == "display_data"
    assert re.fullmatch(r"epoch 100/100  cost \d\.\d{4}  <b> -?\d\.\d{4}  \d+\.\d+ s", output.data["text/plain"])
    assert "<progress" not in output.data["text/html"], "the bar goes"
    assert "&lt;b&gt;" in output.data["text/html"]
    assert len(output.data["text/html"]) < 250
    assert outputs["setup"] == outputs["silent"] == []


def test_a_last_line_with_fit_shows_the_line_and_the_history(outputs):
    line, result = outputs["last line"]
    assert line.data["text/plain"].startswith("epoch 100/100  cost")
    assert re.fullmatch(r"FitResult\(100 epochs, cost [\d.]+, <b> [-\d.]+, 9 parameters\)", result.data["text/plain"])
    assert result.data["text/html"].startswith("<table>")


def test_notes_follow_the_line(outputs):
    (output,) = outputs["note"]
    line, note = output.data["text/plain"].splitlines()
    assert line.startswith("epoch ")
    assert note.startswith("stopped early after epoch ")


def test_after_an_error_the_last_line_stays(outputs):
    line, error = outputs["error"]
    assert re.match(r"epoch +7/100  cost", line.data["text/plain"])
    assert "<progress" not in line.data["text/html"]
    assert error.ename == "ZeroDivisionError"


def test_other_values_in_a_notebook(outputs):
    (figure,) = outputs["figure"]
    assert "image/png" in figure.data
    (network,) = outputs["network"]
    assert network.data == {"text/plain": "serial(dense(784, 30), relu, dense(30, 10))"}
    assert outputs["names"][0].text.endswith("fnn.plot True\n")


def test_the_bar_moves_while_training_and_waits_between_messages(monkeypatch):
    display = pytest.importorskip("IPython.display")
    sent = []

    class Handle:
        def update(self, bundle, raw):
            sent.append(bundle["text/html"])

    monkeypatch.setattr(display, "display", lambda bundle, **options: sent.append(bundle["text/html"]) or Handle())
    clock = iter([0.0, 1.0, 1.1, 1.15, 1.2, 1.21, 1.3])
    monkeypatch.setattr(notebook, "time", type("Clock", (), {"perf_counter": staticmethod(lambda: next(clock))}))
    with notebook.updating_line(2) as reporter:
        assert "compiling" in sent[-1]
        reporter.line(1, {"cost": 1.0})  # at 1.0
        reporter.advance(1)  # at 1.1
        assert 'value="0.5000"' in sent[-1]
        reporter.line(2, {"cost": 0.5})  # at 1.2, 0.05 after the last message
        reporter.advance(2)
        assert len(sent) == 2
    assert len(sent) == 3
    assert "epoch 2/2  cost 0.5000  1.2 s" in sent[-1]


def test_a_kernel_is_recognised(monkeypatch):
    assert not notebook.is_running()
    ipython = pytest.importorskip("IPython")
    monkeypatch.setattr(ipython, "get_ipython", lambda: type("Shell", (), {"kernel": 1})())
    assert notebook.is_running()
    monkeypatch.setattr(ipython, "get_ipython", lambda: type("TerminalShell", (), {})())
    assert not notebook.is_running()
