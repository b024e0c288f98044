"""The report page is complete, escaped and self-contained, and readable in browsers on screens and phones."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from experiments import figures, studies
from experiments.__main__ import main
from experiments.claims import report, report_figures, report_text
from experiments.studies.shared import study
from experiments.studies.shared.outcomes import command, error_path, make_config
from tests.support import fake_studies

EMPTY = {"meta", "link", "br", "hr", "img", "input", "wbr"}
CLAIMS = [
    ("C001", "one", "RIGHT", "", [("study", "good", "not run")]),
    (
        "C002",
        "<script>alert(2)</script> of relu",
        "WRONG",
        "relu & <b> " + "W" * 99,
        [("test", "tests/test_x.py::test_it", "passed")],
    ),
    ("C003", "three", "TYPO", "3", []),
]
PROBE = """<!DOCTYPE html><meta name="color-scheme" content="light dark">
<style>body {{ margin: 0 }} iframe {{ border: 0; width: {width}px; height: 800px }}</style>
<iframe srcdoc="{page}"></iframe><script>onload = function () {{
  const frame = document.querySelector("iframe"), inside = frame.contentDocument, root = inside.documentElement;
  const box = inside.querySelector("figure svg").getBoundingClientRect();
  const said = {{inner: frame.contentWindow.innerWidth, wide: root.scrollWidth, height: box.height,
    ground: frame.contentWindow.getComputedStyle(inside.body).backgroundColor,
    text: frame.contentWindow.getComputedStyle(inside.querySelector("figure svg")).fill}};
  document.body.dataset.said = JSON.stringify(said);
}}</script>"""


class Page(HTMLParser):
    """Check that elements nest; collect the names of elements and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Results of studies in every state (hold, do not hold, failed, need data, cannot be loaded), and some claims."""
    folder = tmp_path_factory.mktemp("report")
    modules, path = folder / "experiments" / "studies", folder / "results"
    modules.mkdir(parents=True)
    path.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FNN_DATA", raising=False)
        patch.setattr(studies, "NAMES", (*fake_studies.STUDIES, "nowhere"))
        patch.setattr(studies, "__path__", [str(modules)])
        for name in fake_studies.STUDIES:
            fake_studies.write(folder, name)
        for name in ("good", "short"):
            loaded = study.load(name)
            study.conduct(loaded, make_config(loaded, True, path), path)
        (path / "broken").mkdir()
        error_path(path, "broken").write_text("Traceback\nValueError: no <luck>\n", encoding="utf-8")
        (path / "claims").mkdir()
        fields = ("id", "claim", "verdict", "correction")
        rows = [
            dict(zip(fields, claim[:4], strict=True))
            | {"section": "Some & more", "where": "000 <2>", "kind": "equation", "state": "not shown"}
            | {"shown_by": [dict(zip(("kind", "name", "state"), by, strict=True)) for by in claim[4]]}
            for claim in CLAIMS
        ]
        (path / "claims" / "claims.json").write_text(json.dumps(rows), encoding="utf-8")
        yield path
        for name in fake_studies.STUDIES:
            sys.modules.pop(f"experiments.studies.{name}", None)


def test_page_is_whole_and_needs_nothing_else(results: Path):
    text = report.build(results)
    page = Page(text)
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    assert {"good", "short", "broken", "C001", "C002", "C003"} <= set(ids)
    assert [value for value in page.values("href") if value.removeprefix("#") not in ids] == []
    assert {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object"} == set()
    assert page.values("src") == []
    assert "http:" not in text
    assert "https:" not in text
    assert set(re.findall(r"url\(#(.*?)\)", text)) <= set(ids)
    assert set(re.findall(r"url\((.)", text)) == {"#"}


def test_page_escapes_what_studies_and_claims_say(results: Path):
    text = report.build(results)
    page = Page(text)
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert {tag for tag, _ in page.elements}.isdisjoint({"i", "s", "u"})
    for words in ("alert(1)", "<b> ", "more <u>", "<s>remark", "no <luck>", "y = 2 <x>", "relu & <b>"):
        assert html.escape(words) in text


def test_page_tells_every_state(results: Path):
    text = report.build(results)
    parts = {part.name: part for part in (report.load_part(name, results) for name in studies.NAMES)}
    states = {name: part.state for name, part in parts.items()}
    assert states == {
        "good": "holds",
        "short": "does not hold",
        "broken": "failed",
        "dying": "not run",
        "images": "skipped: needs mnist",
        "nowhere": "failed",
    }
    assert "<b>1 of 6</b> studies hold" in text
    assert "<b>3</b> do not hold or failed" in text
    assert "<b>2 of 3</b> testable claims shown" in text
    assert "with tests that have not been run" not in text
    assert "<b>2</b> errors found in the notes" in text
    assert "python -m experiments data --download\npython -m experiments images</pre>" in text
    assert parts["good"].notes == (report.QUICK,)
    assert parts["good"].command == "python -m experiments good --seeds 3 --wait 0.0 --no-fast"
    rows = {row["id"]: row["state"] for row in report.read_claims(results, list(parts.values()))}
    assert rows == {"C001": "shown", "C002": "shown", "C003": "not shown"}


def test_page_says_which_claims_wait_for_their_tests(results: Path, tmp_path: Path):
    results = shutil.copytree(results, tmp_path / "results")  # other tests use the original
    path = results / "claims" / "claims.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    tests = [by for row in rows for by in row["shown_by"] if by["kind"] == "test"]
    assert tests
    tests[0]["state"] = "not run"
    path.write_text(json.dumps(rows), encoding="utf-8")
    text = report.build(results)
    assert "<b>1 of 3</b> testable claims shown" in text
    assert "<b>1</b> with tests that have not been run" in text


def test_a_study_whose_quick_settings_are_its_full_ones_is_not_called_quick(results: Path, monkeypatch):
    make_config = report.outcomes.make_config
    monkeypatch.setattr(report.outcomes, "make_config", lambda one, quick, folder: make_config(one, True, folder))
    assert report.load_part("good", results).notes == ()


def test_page_of_an_earlier_version_says_so(results: Path, monkeypatch: pytest.MonkeyPatch):
    values = json.loads((results / "good" / "good.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(report.outcomes, "read", lambda path, name: values | {"source": "0" * 16})
    assert report.load_part("good", results).notes == (report.QUICK, report.EARLIER)


def test_page_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(studies, "NAMES", ("linear_collapse",))
    (tmp_path / "linear_collapse").mkdir()
    (tmp_path / "linear_collapse" / "linear_collapse.json").write_text('{"criteria": [', encoding="utf-8")
    assert main(["report", "--results", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    Page(text)
    assert "<b>0 of 1</b> studies hold" in text
    assert "python -m experiments claims" in text
    assert main(["report", "--results", str(tmp_path / "nowhere")]) == 1
    assert "no folder" in capsys.readouterr().err


def test_command_repeats_the_settings(results: Path):
    loaded = study.load("good")
    assert command(loaded, None) == "python -m experiments good"
    assert command(loaded, {"config": {"seeds": [1, 2], "fast": True, "gone": 1}}).endswith(" good --seeds 1 2")


def test_docstrings_become_html():
    told = report_text.body(
        "Title.\n\n    python -m experiments x\n\nFirst:\n\n    y = x\n      + 1\n\n- a\n  b\n- c `d`\n"
    )
    assert re.fullmatch(
        r'<p>First:</p><div class="equations"><table role="presentation">.*alttext="y = x".*</table></div>'
        r"<ul><li>a b</li><li>c <code>d</code></li></ul>",
        told,
    )
    assert report_text.body("T.\n\n1. a\n   b\n2. c\n") == "<ol><li>a b</li><li>c</li></ol>"


def drawn(path: Path, name: str, *, words: bool) -> report_figures.Inline:
    """A figure with an image, with or without text on it."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.imshow([[0, 1], [2, 3]])
    axes.set_title("an image")
    if words:
        axes.text(0, 0, "words on it")
    figures.save(figure, path / "figure.svg")
    return report_figures.inline((path / "figure.svg").read_text(encoding="utf-8"), name)


def test_figures_side_by_side_keep_apart_and_take_the_colours_of_the_page(tmp_path: Path):
    one, two = (drawn(tmp_path, name, words=False) for name in ("one", "two"))
    pages = [Page(figure.content) for figure in (one, two)]
    assert set(pages[0].values("id")).isdisjoint(pages[1].values("id"))
    assert all(value.startswith("one-") for value in pages[0].values("id"))
    assert "#000000" in one.colours
    assert "#000000" not in one.content
    assert "--c-000000:#e6e6e6" in report_figures.variables(one.colours)
    assert one.words == ("an image",)
    on_image = drawn(tmp_path, "one", words=True)
    assert (one.fixed, on_image.fixed) == (False, True)
    assert on_image.colours == frozenset()


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def dump(path: Path, scheme: str = "light", address: str = "") -> str:
    """The page after its script has run."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    flags += ["--window-size=1300,900", f"--user-data-dir={path.parent / 'profile'}", "--dump-dom"]
    flags.append(f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}")
    done = subprocess.run([str(BROWSER), *flags, path.as_uri() + address], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_and_follows_the_colour_scheme(results: Path, tmp_path: Path, width: int, scheme: str):
    """The page is shown in a frame, because a window cannot be as narrow as a phone."""
    path = tmp_path / "probe.html"
    path.write_text(PROBE.format(width=width, page=html.escape(report.build(results))), encoding="utf-8")
    said = json.loads(html.unescape(re.findall(r'data-said="([^"]*)"', dump(path, scheme))[0]))
    assert said["inner"] == width
    assert said["wide"] == width
    assert said["height"] > 100
    light, black = "rgb(255, 255, 255)", "rgb(0, 0, 0)"
    assert (said["ground"] == light, said["text"] == black) == ((scheme == "light"),) * 2


@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome")
def test_filter_shows_what_fits(results: Path, tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text(report.build(results), encoding="utf-8")
    hidden = {}
    for address in ("", "#find=RELU+of", "#verdict=TYPO", "#find=relu&verdict=RIGHT"):
        page = dump(path, address=address)
        hidden[address] = re.findall(r'<tr id="(C\d+)" hidden', page)
        assert f"{3 - len(hidden[address])} of 3 claims" in page
        assert ('<p id="none" hidden' in page) == (len(hidden[address]) < 3)
    assert list(hidden.values()) == [[], ["C001", "C003"], ["C001", "C002"], ["C001", "C002", "C003"]]
