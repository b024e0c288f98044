"""The pages of the API: which names they have, what they warn of, and that they can be made."""

import importlib
import warnings

import pytest

import fnn
from experiments import api_pages

pdoc = pytest.importorskip("pdoc")


def test_a_page_has_the_public_names_of_its_module():
    modules = {module.__name__: module for module in api_pages._modules()}
    assert {"fnn", "fnn.gradcheck", "fnn.callbacks", "fnn.layers.dense", "fnn.losses", "fnn.types"} <= modules.keys()
    assert {"fit", "relu", "Layer", "mlp"} <= {*api_pages._members(fnn)}
    assert {*api_pages._members(modules["fnn.callbacks"])} == {
        "best_model",
        "csv",
        "target",
        "tensorboard",
        "time_limit",
    }
    assert {"dense", "Dense", "flatten"} == {*api_pages._members(modules["fnn.layers.dense"])}


def test_variables_have_the_text_that_stands_under_them_where_they_are_defined():
    described = api_pages._described([importlib.import_module("fnn.layers.activations")])
    assert "rectified linear unit" in described[id(fnn.relu)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One sentence that ends with the number\n0. Another sentence.", 1),
        ("A list:\n\n1. one\n   more\n2. two", 0),
        ("No list, but 3. June\nand more.", 0),
    ],
)
def test_sentences_that_markdown_takes_for_a_list(text, count):
    module = type(fnn)("made_up", text)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        api_pages._warn_of_lists(pdoc.doc.Module(module))
    assert len(found) == count


@pytest.mark.slow
def test_all_pages_without_a_warning(tmp_path, capsys):
    assert api_pages.main(tmp_path) == 0, capsys.readouterr().err
    page = (tmp_path / "fnn.html").read_text("utf-8")
    for name in ("fit", "relu", "Layer", "mlp", "torch_names"):
        assert f'<section id="{name}">' in page
    assert "Alias for field number" not in page
    assert "rectified linear unit" in page
    assert (tmp_path / "fnn" / "layers" / "recurrent" / "lstm.html").exists()
    assert "fit" in (tmp_path / "search.js").read_text("utf-8")
