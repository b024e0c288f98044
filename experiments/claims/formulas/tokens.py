"""Tokens of a formula: numbers, names, letters, scripts, brackets and operators."""

import re
import unicodedata
from typing import NamedTuple

FUNCTIONS = frozenset(
    [
        "argmax",
        "argmin",
        "cos",
        "diag",
        "exp",
        "inf",
        "ln",
        "log",
        "max",
        "mean",
        "min",
        "randn",
        "relu",
        "rms",
        "sin",
        "softmax",
        "sup",
        "tanh",
    ]
)
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀⁿᵏᵗ", "0123456789+-Tnkt", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
CLOSING = {"(": ")", "[": "]", "{": "}"}
SIGNS = {"<=": "≤", ">=": "≥", "-": "−", "*": "∗", "..": "…", "|": "∣"}
HALVES = {"½": ("1", "2"), "¼": ("1", "4"), "¾": ("3", "4")}
ACCENTS = {"\u0302": "^", "\u0303": "~", "\u0304": "¯", "\u0307": "˙"}
BARS = ("|", "‖")

TOKEN = re.compile(
    r"""
    (?P<number>\d{1,3}(?:,\d{3})+(?![\d.])|\d+(?:\.\d+)?(?:e[+-]?\d+)?)
  | (?P<name>[A-Za-z]{2,})
  | (?P<letter>[A-Za-zα-ωϵΓΔΘΛΞΦΨΩℝ][\u0300-\u036f]?|∂|∞)
  | (?P<half>[½¼¾])
  | (?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀⁿᵏᵗ]+|(?<=[\w)\]])\*(?=[\s),\]‖|]|$))
  | (?P<lowered>[₀₁₂₃₄₅₆₇₈₉₊₋]+)
  | (?P<prime>'+)
  | (?P<script>[_^])
  | (?P<big>[ΣΠ])
  | (?P<root>√)
  | (?P<bar>[|‖])
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<slash>/)
  | (?P<operator><=|>=|:=|\.\.|[-+=<>≤≥≈≠±×·∘←→∈~*,;:…!%])
    """,
    re.VERBOSE,
)
FACTORS = ("number", "name", "letter", "half", "big", "root", "open", "bar")
SCRIPTS = ("raised", "lowered", "prime", "script")


class Token(NamedTuple):
    """A token, and whether spaces are before and after it."""

    kind: str
    text: str
    before: bool
    after: bool


def decomposed(text: str) -> str:
    """Separate hats and tildes from letters: ŷ becomes y and a combining hat."""
    return "".join(unicodedata.normalize("NFD", sign) if sign.isalpha() else sign for sign in text)


def tokens(text: str) -> list[Token]:
    """Return the tokens of a formula.

    >>> [token.text for token in tokens("dz_l <= 2n")]
    ['d', 'z', '_', 'l', '<=', '2', 'n']
    """
    text, found, place = decomposed(text), [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"tokens: a formula must not contain {text[place]!r}, got {text!r}")
        kind, shown = str(match.lastgroup), match[0]
        if kind == "name" and shown not in FUNCTIONS and not (found and found[-1].text in "_^"):
            kind, shown = "letter", shown[0]  # a product: dz, kx
        end = place + len(shown)
        before, after = place == 0 or text[place - 1].isspace(), end == len(text) or text[end].isspace()
        kind = "operator" if kind == "bar" and before and after else kind  # P(y = 1 | x)
        found.append(Token(kind, shown, before, after))
        place = end
    return found
