"""Formulas of the docstrings become MathML; prose stays prose; what is no formula stays as typed."""

import ast
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments import claims, studies
from experiments.claims import report_text
from experiments.claims.formulas.find import segments, with_formulas
from experiments.claims.formulas.parser import mathml

ARITY = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}


def shown(text: str, *, display: bool = True) -> str:
    """A formula, its structure written with braces: frac{a}{b}, sub{a}{i}, the rest as text."""

    def write(element: ElementTree.Element) -> str:
        children = [write(child) for child in element]
        if element.tag in ARITY:
            assert len(children) == ARITY[element.tag]
        if element.tag in ("math", "mrow"):
            return "".join(children)
        if element.tag == "mspace":
            return " "
        return element.tag[1:] + "".join(f"{{{child}}}" for child in children) if children else element.text or ""

    return write(ElementTree.fromstring(mathml(text, display=display)))


@pytest.mark.parametrize(
    ("text", "structure"),
    [
        ("V/2n", "frac{V}{2n}"),
        ("1/m Σ_i a_i", "frac{1}{m}under{∑}{i}sub{a}{i}"),
        ("exp z_i / Σ_j exp z_j", "frac{exp sub{z}{i}}{under{∑}{j}exp sub{z}{j}}"),
        ("(κ - 1)/(κ + 1)", "frac{κ−1}{κ+1}"),
        ("((1 + √β)/(1 - √β))²", "sup{(frac{1+sqrt{β}}{1−sqrt{β}})}{2}"),
        ("a / (b + c) - d/e", "frac{a}{b+c}−frac{d}{e}"),
        ("∂²L/∂z²", "frac{sup{∂}{2}L}{∂sup{z}{2}}"),
        ("w_{l+1}ᵀ", "subsup{w}{l+1}{T}"),
        ("h_t²", "subsup{h}{t}{2}"),
        ("a^[l]", "sup{a}{[l]}"),
        ("x^(i) e^(a_i)", "sup{x}{(i)}sup{e}{sub{a}{i}}"),
        ("x_(i + p, j)", "sub{x}{i+p,j}"),
        ("g'² f''", "sup{g}{′2}sup{f}{′′}"),
        ("λ_max √n_in", "sub{λ}{max}sqrt{sub{n}{in}}"),
        ("max_ij z_ij", "under{max}{ij} sub{z}{ij}"),
        ("ŷ W̃ x̃", "over{y}{^}over{W}{~}over{x}{~}"),
        ("P(y = 1 | x)", "P(y=1∣x)"),
        ("|a - f| <= ‖w‖²", "|a−f|≤sup{‖w‖}{2}"),
        ("‖w - w*‖", "‖w−sup{w}{∗}‖"),
        ("½ W₀ 10⁻⁶", "frac{1}{2}sub{W}{0}sup{10}{−6}"),
        ("W := W - α dW", "W:=W−αdW"),
        ("[[1, 0], [0, -1]]", "[table{tr{td{1}}{td{0}}}{tr{td{0}}{td{−1}}}]"),
        ("t = 1, …, 12,288", "t=1,…,12,288"),
        ("sin(πkx + φ_k)", "sin(πkx+sub{φ}{k})"),
        ("-ln p_y", "−ln sub{p}{y}"),
    ],
)
def test_a_formula_has_the_structure_that_it_says(text: str, structure: str):
    assert shown(text) == structure


def test_in_a_line_of_prose_divisions_stay_on_the_line():
    assert shown("α/(1 + t/τ)", display=False) == "α/(1+t/τ)"
    assert shown("Σ_i w_i", display=False) == "sub{∑}{i}sub{w}{i}"


@pytest.mark.parametrize("text", ["", "(a", "a)", "a_", "/b", "a /", "|a", "a # b", "a_)", "{", "[[1, 2"])
def test_what_is_no_formula_is_an_error(text: str):
    with pytest.raises(ValueError, match=r"formula|script|slash"):
        mathml(text)


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("With a = σ(z), the slope a (1 - a) is at most 1/4.", ["a = σ(z)"]),
        ("Networks 64-30-…-30-10 learn in 900 iterations at 3e-3; 5 % of 64x64 and 8 x 8 pixels.", []),
        ("Claims C083 and X12 (see make_run, np.dot), N.B. a b c.", []),
        ("A large σ puts a ReLU unit, and a α is no article", ["σ", "α"]),
        ("until J < 0.1 (with four layers: J < 0.2).", ["J < 0.1", "J < 0.2"]),
        ("σ √n_in, where √(1/n_in) do not", ["σ √n_in", "√(1/n_in)"]),
        ("E[a²] = E[z²] (identity), E[z²] / 2 (ReLU)", ["E[a²] = E[z²]", "E[z²] / 2"]),
        ("iterations of σ / iterations of σ - 1/2: 0.98", ["σ", "σ - 1/2"]),
        ("With δ = dC/dz, dw_2 = 0 and -ln p_y of 0.13", ["δ = dC/dz", "dw_2 = 0", "-ln p_y"]),
        ('assert a.shape == (5, 1), --flag=3, <b> & "quoted"', []),
        ("y = w* x + noise", ["y = w* x"]),
        ("share of |tanh| > 0.99, x ~ N(0, 1/n)", ["|tanh| > 0.99"]),
        ("unequal (a = b and b) = c", ["a = b"]),
    ],
)
def test_prose_keeps_its_words(text: str, formulas: list[str]):
    found = segments(text)
    assert "".join(part.text for part in found) == text
    assert [part.text for part in found if part.formula] == formulas


def test_a_line_of_its_own_is_formulas_between_words():
    found = segments("a = z where z > 0, else 0.01 z,", display=True)
    assert [(part.text, part.formula) for part in found] == [
        ("a = z", True), (" where ", False), ("z > 0", True), (", else ", False), ("0.01 z", True), (",", False),
    ]  # fmt: skip
    assert [part.formula for part in segments("sigmoid with cross-entropy", display=True)] == [False]
    assert [part.text for part in segments("t = T - k + 1, …, T", display=True)] == ["t = T - k + 1, …, T"]


def texts() -> list[tuple[str, str]]:
    """Every docstring of a study and every text of the ledger."""
    found = []
    for name in studies.NAMES:
        path = Path(studies.__path__[0]) / f"{name}.py"
        found.append((name, ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""))
    for path in sorted((Path(claims.__path__[0]) / "ledger").glob("*.toml")):
        rows = tomllib.loads(path.read_text(encoding="utf-8")).items()
        found += [(name, row.get(field, "")) for name, row in rows if isinstance(row, dict) for field in row]
    return [(name, text) for name, text in found if isinstance(text, str)]


def test_every_text_of_the_page_is_kept_and_is_well_formed():
    seen = 0
    for name, text in texts():
        line = " ".join(text.split())
        html = with_formulas(line)
        seen += html.count("<math")
        plain = re.sub(r'<math alttext="([^"]*)".*?</math>', r"\1", html)
        assert "".join(ElementTree.fromstring(f"<p>{plain}</p>").itertext()) == line, name
        ElementTree.fromstring(f"<p>{html}</p>")
    assert seen > 300


def test_every_equation_of_a_study_is_read():
    """Lines of their own contain no sign of a formula outside of a formula."""
    count, left = 0, []
    for name, text in texts():
        body = report_text.body(text) if name in studies.NAMES else ""
        for block in re.findall(r'<div class="equations">(.*?)</div>', body, re.DOTALL):
            count += block.count("<math")
            rest = re.sub(r"<math.*?</math>|<[^>]*>", "", block, flags=re.DOTALL)
            left += [(name, sign) for sign in re.findall(r"[=←≤^_√ΣΠ∂‖α-ω²ᵀ]", rest)]
    assert left == []
    assert count > 60


def test_columns_of_formulas_line_up():
    told = report_text.body("T.\n\nWith\n\n    cost    C = 1,  D = 2\n    other   C = 3\n")
    cells = [re.sub(r"<math.*?</math>", "M", row) for row in re.findall(r"<tr>(.*?)</tr>", told)]
    assert cells == [
        '<td><span>cost</span></td><td><span><span class="whole">M,</span></span><span>M</span></td>',
        "<td><span>other</span></td><td><span>M</span></td>",
    ]
