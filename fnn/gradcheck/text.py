"""Text for terminals whose encoding lacks mathematical letters, such as cp1252 on Windows; lines of errors."""

import sys

ASCII = {
    "⟨": "<", "⟩": ">", "ĝ": "g", "ȳ": "y", "₁": "1", "₂": "2", "₄": "4", "α": "a", "β": "b", "δ": "d", "ξ": "xi",
    "≥": ">=", "≤": "<=", "≠": "!=", "×": "x", "±": "+-", "…": "...", "→": "->", "∞": "inf", "√": "sqrt", "‖": "||",
    "⁻": "-", "ᵀ": "^T", "λ": "lambda", "−": "-", "∂": "d", "∇": "grad",
}  # fmt: skip


def encodable(text: str, encoding: str | None) -> str:
    """Return a text with every letter that an encoding lacks replaced; the text itself if it lacks none.

    >>> encodable("⟨ĝ, v⟩ ≥ 1", "cp1252"), encodable("⟨ĝ, v⟩ ≥ 1", "utf-8")
    ('<g, v> >= 1', '⟨ĝ, v⟩ ≥ 1')
    """
    return text if _fits(text, encoding) else "".join(c if _fits(c, encoding) else _plain(c) for c in text)


def for_stdout(text: str) -> str:
    """Return a text that `print` can write to the standard output."""
    return encodable(text, getattr(sys.stdout, "encoding", None))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message; "" if it has none."""
    return (str(error).splitlines() or [""])[0]


def _fits(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    except LookupError:
        return True  # an encoding that Python does not know
    return True


def _plain(letter: str) -> str:
    return ASCII.get(letter) or letter.encode("ascii", "backslashreplace").decode()
