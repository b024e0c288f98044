"""The page: it parses, needs no network, escapes hostile names, holds no NaN, and says what was measured."""

import functools
import json
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments.tabular_report import Candidate, Contents, Measured, Part, measure, scores_table, sentences, write
from experiments.tabular_report.text import clean, escape, shown, terminal
from tests.experiments.tabular_report.predictions import HOSTILE, classes, classes_part, everything, labels, quantities

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Parses a page; raises if elements are not nested, and collects elements, attributes, texts and ids."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "every element must be closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@functools.cache
def measured(name: str) -> Measured:
    return measure(PAGES[name])


def read(folder, name: str) -> Page:
    return Page(write(folder, measured(name)).read_text(encoding="utf-8"))


FULL = everything(HOSTILE)
DIVERGED = [Candidate("a", np.inf, 10, 0.0, False, ((10, np.inf), (20, np.inf)))]
FELL = [Candidate("b", 0.5, 20, 1.0, False, ((10, 0.6), (20, 0.5), (40, np.inf))), *DIVERGED]
HISTORY = {"cost": np.array([1.0, np.inf, np.nan]), "validation_cost": np.array([1.0, 2, 3]), "rate": np.zeros(3)}
PAGES = {
    "classes": classes(names=HOSTILE, **FULL),
    "two classes, with a test part": classes(names=("no", "yes"))._replace(test=classes_part(40, 2, seed=5)),
    "31 classes": classes(n=400, names=tuple(f"{i} {HOSTILE[i % 7]}" for i in range(31))),
    "quantities": quantities(k=2, **FULL),
    "labels": labels(**FULL),
    "one label": labels(k=1, candidates=FELL),
    "every candidate diverged": quantities(candidates=DIVERGED),
    "a history that diverged": quantities(history=HISTORY, kept=1),
    "six rows": classes(n=6),
    "one row": Contents("", "", "quantities", ("y",), test=Part(np.ones((1, 1)), np.ones((1, 1)))),
    "a constant": Contents("", "", "quantities", ("y",), test=Part(np.full((9, 1), 7.0), np.full((9, 1), 7.0))),
    "perfect": Contents(
        "", "", "classes", ("y",), ("a", "b"), test=Part(np.arange(9) % 2, np.eye(2)[np.arange(9) % 2])
    ),
    "one fold": classes()._replace(folds=np.zeros(120, int)),
    "a missing class": classes()._replace(
        classes=("a", "b", "c"), out_of_fold=classes_part(60, 2), folds=np.arange(60) % 3
    ),
}
PAGES["a missing class"] = PAGES["a missing class"]._replace(
    out_of_fold=Part(np.arange(60) % 2, np.tile([[0.5, 0.3, 0.2]], (60, 1)))
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_holds_no_nan_and_no_address(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = read(tmp_path, name)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\((?!#)|@import|\bsrc=", source)
    assert {"script", "img", "link", "iframe", "b>"} & set(page.elements) == set()
    assert all(value.startswith("#") for attribute, value in page.attributes if attribute == "href")
    assert not any(attribute.startswith("on") for attribute, _ in page.attributes)
    ids = [value for attribute, value in page.attributes if attribute == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for attribute, value in page.attributes if attribute == "href"} <= set(ids)
    drawn = [
        value for attribute, value in page.attributes if attribute in ("d", "points", "style", "x", "y", "viewBox")
    ]
    assert not re.search(r"\b(nan|inf|None)\b", " ".join(drawn) + re.sub("infinit", "", page.text), re.IGNORECASE)
    stored = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert stored["conclusions"] == sentences(measured(name))


def test_names_are_shown_as_they_are(tmp_path):
    page = read(tmp_path, "classes")
    words = "\n".join(page.words)
    for name in HOSTILE:
        assert clean(name) in words, name
    assert clean("") == "(empty)"
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in source
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2066-\u2069]", source)


def test_a_page_says_what_was_measured(tmp_path):
    page = read(tmp_path, "quantities")
    assert "Better than guessing (always the mean)" in page.text
    for heading in ("How good it is", "Quantity by quantity", "Predictions and errors", "Which columns matter"):
        assert heading in page.text
    for heading in ("Learning curves", "What was searched", "Warnings about the data", "The data", "How to use it"):
        assert heading in page.text
    assert "mistaken" not in page.text


def test_a_network_that_knows_nothing_is_said_to(tmp_path):
    noise = classes(n=300, signal=0.0)
    assert any("No better than guessing" in one or "Worse than guessing" in one for one in sentences(noise))
    assert any("Better than guessing" in one for one in sentences(classes(n=300)))


def test_the_linear_model_is_compared_unless_the_model_is_linear_or_knows_nothing():
    linear = Candidate("linear", 0.5, 10, 1.0, True)
    about = lambda contents: [one for one in sentences(contents) if "than a linear model" in one]
    assert len(about(classes(n=300))) == 1
    assert about(classes(n=300, candidates=[linear])) == []
    assert (
        about(classes(n=300, candidates=[linear._replace(share=0.5), linear._replace(share=0.5, linear=False)])) != []
    )
    assert about(classes(n=300, signal=0.0)) == []


def test_the_table_for_the_terminal(tmp_path):
    from rich.console import Console

    found = measured("two classes, with a test part")
    found = found._replace(contents=found.contents._replace(title="[red]\x1b[31m title"))
    with (tmp_path / "out.txt").open("w", encoding="utf-8") as file:
        Console(file=file, width=100).print(scores_table(found))
    text = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert "[red] [31m title" in text
    assert "model, test part" in text
    stored = write(tmp_path, found).parent / "scores.json"
    accuracy = json.loads(stored.read_text())["out_of_fold"]["scores"]["accuracy"]["model"]
    assert f"{accuracy['value']:.3f} ± {accuracy['error']:.3f}" in text


def test_a_name_in_a_sentence_is_isolated():
    assert escape(f"{shown('<עברית>')} is") == "<bdi>&lt;עברית&gt;</bdi> is"
    assert terminal(f"{shown('a' * 100)} is") == "a" * 59 + "… is"
    assert shown("\u202eevil\u2069") == shown("evil")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("a",)}, "classes must have at least 2 names, got 1"),
        ({"out_of_fold": None, "folds": None}, "out_of_fold or test must be given"),
        ({"folds": None}, r"folds must have shape \(120,\), got None"),
        ({"folds": np.zeros(3, int)}, r"folds must have shape \(120,\), got \(3,\)"),
        ({"classes": ("a", "b")}, "class indices from 0 to 1, got 0 to 2"),
        (
            {"features": ("a",), "importances": np.ones((2, 3))},
            r"importances must have shape \(1, repeats\), got \(2, 3\)",
        ),
        ({"features": ("a",), "importances": np.array([[np.nan]])}, "importances must be finite, got nan"),
        ({"test": Part(np.zeros(0, int), np.zeros((0, 3)))}, "test.y must have shape .* at least one row"),
        ({"test": Part(np.zeros(2, int), np.ones((2, 3)) * 2)}, "test.model must be probabilities, got 2 to 2"),
        ({"test": Part(np.zeros(2, int), np.full((2, 3), np.inf))}, r"test.model must be finite, got inf at \[0, 0\]"),
        ({"test": Part(np.zeros(2, int), np.ones((2, 3)) / 3, np.ones((2, 2)))}, "test.linear must have shape"),
    ],
)
def test_contents_that_do_not_fit_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, classes()._replace(**change))
    assert not list(tmp_path.iterdir())
