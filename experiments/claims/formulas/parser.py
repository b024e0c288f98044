"""Read a formula and write it in MathML."""

import html

from experiments.claims.formulas.elements import element, letters, row, scripted, unbracketed
from experiments.claims.formulas.tokens import (
    ACCENTS,
    BARS,
    CLOSING,
    FACTORS,
    HALVES,
    LOWERED,
    RAISED,
    SCRIPTS,
    SIGNS,
    Token,
    tokens,
)


class Parser:
    """Read the tokens of a formula once, from left to right.

    `display` writes divisions as fractions and limits under sums, as a formula on its own line has them.
    """

    def __init__(self, text: str, display: bool) -> None:
        self.tokens, self.place, self.display = tokens(text), 0, display

    @property
    def next(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self) -> Token:
        if self.next is None:
            raise ValueError("a formula must not end here")
        self.place += 1
        return self.tokens[self.place - 1]

    def expect(self, text: str) -> None:
        token = self.take()
        if token.text != text:
            raise ValueError(f"a formula must have {text!r} here, got {token.text!r}")

    def divided(self, above: list[str], below: list[str]) -> list[str]:
        """Return a fraction; outer brackets are dropped where the bar replaces them."""
        if not self.display:
            return [*above, element("mo", "/", ' lspace="0" rspace="0"'), *below]
        return [element("mfrac", unbracketed(above) + unbracketed(below))]

    def sequence(self, stop: str = "") -> list[str]:
        """Return the parts up to `stop`: products with operators between them."""
        parts: list[str] = []
        product: list[str] = []
        while self.next is not None and not self.stops(stop):
            token = self.next
            if token.kind in FACTORS:
                product += self.touching()
            elif token.kind == "slash":
                self.take()
                below: list[str] = []
                while self.next is not None and self.next.kind in FACTORS and not self.stops(stop):
                    below += self.touching()
                if not product or not below:
                    raise ValueError("a slash must stand between two products")
                product = self.divided(product, below)
            elif token.kind == "operator":
                parts, first = parts + product, not product
                product = []
                self.take()
                prefix = ' form="prefix"' if first and token.text in "+-±" else ""
                tight = ' lspace="0"' if token.text in ("%", "!") else ""
                parts.append(element("mo", html.escape(SIGNS.get(token.text, token.text)), prefix + tight))
            else:
                raise ValueError(f"a formula must not have {token.text!r} here")
        return parts + product

    def stops(self, stop: str) -> bool:
        """Return True at the end of a group."""
        token = self.next
        return token is None or token.kind == "close" or (token.kind == "bar" and token.text == stop)

    def touching(self) -> list[str]:
        """Return factors without a space between them, and the fraction if a slash touches them."""
        parts = self.run()
        while self.next is not None and self.next.kind == "slash" and not self.next.before and not self.next.after:
            self.take()
            parts = self.divided(parts, self.run())
        return parts

    def run(self) -> list[str]:
        """Return factors without a space or a bar between them."""
        parts = self.factor()
        while self.next is not None and not self.next.before and self.next.kind in FACTORS and self.next.kind != "bar":
            parts += self.factor()
        return parts

    def factor(self) -> list[str]:
        """Return the next factor with its scripts."""
        token = self.take()
        big = token.kind == "big" or token.text in ("max", "min", "sup", "inf")
        space = []
        if token.kind == "number":
            base = element("mn", token.text)
        elif token.kind == "half":
            base = element("mfrac", "".join(element("mn", part) for part in HALVES[token.text]))
        elif token.kind == "letter":
            base = element("mi", token.text[0])
            if len(token.text) > 1:
                base = element("mover", base + element("mo", ACCENTS.get(token.text[1], "~")), ' accent="true"')
        elif token.kind == "big":
            base = element("mo", "∑" if token.text == "Σ" else "∏")
        elif token.kind == "name":
            base = element("mo" if big else "mi", token.text, ' lspace="0" rspace="0"' if big else "")
        elif token.kind == "root":
            base = element("msqrt", unbracketed(self.factor()))
        elif token.text == "[" and self.next is not None and self.next.text == "[":
            base = self.matrix()
        else:
            base = self.group(token)
        below, above = self.scripts()
        if token.kind == "name" and self.next is not None and self.next.before and self.next.kind in FACTORS:
            space = [element("mspace", "", ' width=".17em"')]
        return [scripted(base, below, above, limits=big and self.display), *space]

    def group(self, token: Token) -> str:
        """Return a group in brackets or bars."""
        close = CLOSING.get(token.text, token.text)
        inner = self.sequence(close)
        self.expect(close)
        fence = ' fence="true"' if token.text in BARS else ""
        return element(
            "mrow",
            element("mo", token.text, f'{fence} form="prefix"')
            + row(inner or [element("mrow", "")])
            + element("mo", close, f'{fence} form="postfix"'),
        )

    def matrix(self) -> str:
        """Return `[[1, 0], [0, 1]]` as a matrix; its first bracket has been read."""
        lines = []
        while True:
            self.expect("[")
            cells = [self.cell()]
            while self.take().text == ",":
                cells.append(self.cell())
            lines.append(element("mtr", "".join(element("mtd", cell) for cell in cells)))
            if self.take().text == "]":
                break
        table = element("mtable", "".join(lines))
        return element("mrow", element("mo", "[") + table + element("mo", "]"))

    def cell(self) -> str:
        sign = []
        if self.next is not None and self.next.text == "-":
            self.take()
            sign = [element("mo", "−", ' form="prefix"')]
        return row([*sign, *self.touching()])

    def scripts(self) -> tuple[list[str], list[str]]:
        """Return what is below and above on the right of a factor."""
        below: list[str] = []
        above: list[str] = []
        while self.next is not None and not self.next.before and self.next.kind in SCRIPTS:
            token = self.take()
            if token.kind == "prime":
                above.append(element("mo", "′" * len(token.text)))
            elif token.kind == "raised":
                above.append(letters("".join(RAISED.get(sign, sign) for sign in token.text)))
            elif token.kind == "lowered":
                below.append(letters("".join(LOWERED[sign] for sign in token.text)))
            else:
                (below if token.text == "_" else above).append(self.script())
        return below, above

    def script(self) -> str:
        """Return the script after `_` or `^`: a name, a number, or a group.

        Round brackets stay around one name or number: x^(i) is the i-th x.
        """
        mark, token = self.tokens[self.place - 1], self.take()
        alone = self.place + 1 < len(self.tokens) and self.tokens[self.place + 1].kind == "close"
        if token.text == "{" or (token.text == "(" and not (mark.text == "^" and alone)):
            inner = self.sequence(CLOSING[token.text])
            self.expect(CLOSING[token.text])
            return row(inner)
        if token.kind == "open":
            return self.group(token)
        if token.kind not in ("name", "letter", "number"):
            raise ValueError(f"a script must be a name, a number or a group, got {token.text!r}")
        return element("mi", token.text) if token.kind == "letter" else letters(token.text)


def mathml(text: str, *, display: bool = False) -> str:
    """Return a formula as a <math> element, which keeps the text as typed for readers without MathML.

    Raises ValueError if the text is not a formula.

    >>> mathml("a_i²")
    '<math alttext="a_i²"><msubsup><mi>a</mi><mi>i</mi><mn>2</mn></msubsup></math>'
    """
    parser = Parser(text, display)
    parts = parser.sequence()
    if parser.next is not None or not parts:
        raise ValueError(f"mathml: text must be a formula, got {text!r}")
    style = ' displaystyle="true"' if display else ""
    return f'<math alttext="{html.escape(text)}"{style}>{row(parts)}</math>'
