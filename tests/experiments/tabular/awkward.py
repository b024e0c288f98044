"""Awkward tables: the bytes of a file, and what must be read from them or the error that they must give.

The target is the column y. BODY is what most tables consist of: a number x and two classes, in 24 rows.
"""

import gzip
from collections.abc import Callable
from typing import Any, NamedTuple

ROWS = [(f"{0.25 * i + 0.125:.3f}", "red" if i % 3 else "blue") for i in range(24)]


def lines(row: Callable[..., str], head: str = "x,y", end: str = "\n") -> str:
    """Return a table: the head, and row(i, x, y) for each row."""
    return end.join([head, *(row(i, x, y) for i, (x, y) in enumerate(ROWS))]) + end


def with_column(name: str, value: Callable[[int], str], delimiter: str = ",") -> bytes:
    """Return a table with a further column z."""
    head = delimiter.join(["x", name, "y"])
    return lines(lambda i, x, y: delimiter.join([x, value(i), y]), head).encode()


class Read(NamedTuple):
    """A table that is read right.

    data    the file
    kinds   name -> kind of each column besides the target, and in brackets what its first value is read as
    notes   text that the notes on the file, or a warning on a column, must contain
    flags   arguments of read_table and Flags
    """

    data: bytes
    kinds: dict[str, tuple[str, Any]]
    notes: str = ""
    flags: dict[str, Any] | None = None


class Fails(NamedTuple):
    """A table that gives an error of one line with these parts, besides the name of the file."""

    data: bytes
    parts: tuple[str, ...]
    flags: dict[str, Any] | None = None


PLAIN = lines(lambda i, x, y: f"{x},{y}")
X = {"x": ("number", 0.125)}
number = lambda value: X | {"z": ("number", value)}
category = lambda value: X | {"z": ("category", value)}
AB = lambda i: "ab"[i % 2]
NAMES = with_column("z", lambda i: ["Müller", "Dupré"][i % 2]).decode()
date = lambda value: X | {"z": ("date", value)}
left_out = lambda name="z": X | {name: ("left out", None)}
ORDER = "could have day or month first"
ONLY = "tell rows apart"

READ = {
    "plain": Read(PLAIN.encode(), X, "delimiter: comma"),
    "CRLF": Read(lines(lambda i, x, y: f"{x},{y}", end="\r\n").encode(), X),
    "CR": Read(lines(lambda i, x, y: f"{x},{y}", end="\r").encode(), X),
    "semicolons": Read(PLAIN.replace(",", ";").encode(), X, "delimiter: semicolon"),
    "tabs": Read(PLAIN.replace(",", "\t").encode(), X, "delimiter: tab"),
    "bars": Read(PLAIN.replace(",", "|").encode(), X, "delimiter: |"),
    "spaces": Read(PLAIN.replace(",", "   ").encode(), X, "delimiter: spaces"),
    "another delimiter": Read(PLAIN.replace(",", "~").encode(), X, flags={"delimiter": "~"}),
    "sep=": Read(f"sep=;\n{PLAIN.replace(',', ';')}".encode(), X, "delimiter: semicolon (its first line is sep=)"),
    "text of Excel": Read(
        with_column("z", lambda i: f'="{["01067", "10115"][i % 2]}"').replace(b"0.125", b'"=""0.125"""'),
        category("01067"),
        "leading zeros",
    ),
    "turnover with narrow blanks": Read(
        with_column("z", lambda i: f"{1234567 + 7919 * (7 * i % 24):,}".replace(",", "\u202f")),
        number(1234567.0),
        "thousands blank",
    ),
    "salaries": Read(with_column("z", lambda i: str(41234 + 1977 * (7 * i % 24))), number(41234.0)),
    "phone numbers": Read(with_column("z", lambda i: str(4930123456 + 7919 * (7 * i % 24))), left_out(), ONLY),
    "ja und nein as J and N": Read(with_column("z", lambda i: "JN"[i % 2]), X | {"z": ("yes or no", 1.0)}),
    "vrai et faux": Read(with_column("z", lambda i: ["Vrai", "Faux"][i % 2]), X | {"z": ("yes or no", 1.0)}),
    "ISO weeks": Read(
        with_column("z", lambda i: f"2024-W{min(i, 20) + 10}"), left_out(), "few rows have the same text"
    ),
    "free text": Read(
        with_column("z", lambda i: f'"it was good, {i} of 24"'), left_out(), "the words of a text are not read"
    ),
    "one text": Read(with_column("z", lambda i: "x" * (i % 2)), category(None), "1 different text "),
    "byte order mark": Read(PLAIN.encode("utf-8-sig"), X, "utf-8-sig (by its byte order mark)"),
    "UTF-16": Read(PLAIN.encode("utf-16"), X, "utf-16 (by its byte order mark)"),
    "UTF-16 without a mark": Read(PLAIN.encode("utf-16-le"), X, "utf-16-le"),
    "Windows-1252": Read(NAMES.encode("cp1252"), category("Müller"), "cp1252"),
    "Mac Roman, by its flag": Read(
        NAMES.encode("mac-roman"),
        category("Müller"),
        flags={"encoding": "mac-roman"},
    ),
    "gzip": Read(gzip.compress(PLAIN.encode()), X),
    "decimal comma": Read(
        lines(lambda i, x, y: f"{x.replace('.', ',')};{i * 7.5:.1f};{y}".replace(".", ","), "x;z;y").encode(),
        number(0.0),
        "decimal comma",
    ),
    "decimal comma, quoted": Read(
        lines(lambda i, x, y: f'"{x.replace(".", ",")}1",{y}').encode(), {"x": ("number", 0.1251)}
    ),
    "thousands": Read(with_column("z", lambda i: f'"{1234567 * (24 - i % 5):,}"'), number(29629608.0), "thousands"),
    "thousands with points": Read(
        lines(lambda i, x, y: f"{x.replace('.', ',')};{24 - i % 5}.500;{y}", "x;z;y").encode(),
        number(24500.0),
        "decimal comma",
    ),
    "thousands with blanks": Read(
        with_column("z", lambda i: f"{12345 * (24 - i % 5):,}".replace(",", "\xa0")), number(296280.0)
    ),
    "currency": Read(with_column("z", lambda i: f"${1000 + i % 7}.50"), number(1000.5), "in $"),
    "currency behind": Read(with_column("z", lambda i: f"{100 + i % 7} €"), number(100.0), "in €"),
    "percent": Read(with_column("z", lambda i: f"{i % 9}.5%"), number(0.5), "in %"),
    "a unit": Read(with_column("z", lambda i: f"{i % 9}.5 kg"), number(0.5), "in kg"),
    "minus signs of typography": Read(with_column("z", lambda i: f"−{i % 9}.5"), number(-0.5)),
    "exponents": Read(with_column("z", lambda i: f"{i % 9}e-3"), number(0.0)),
    "missing in many spellings": Read(
        with_column(
            "z", lambda i: ["NA", "n/a", "", "NaN", "null", "?", "-", "#N/A"][i // 2] if i < 16 and i % 2 else f"{i}.5"
        ),
        number(0.5),
    ),
    "missing as -999": Read(
        with_column("z", lambda i: "-999" if i % 2 else f"{i}.5"), number(0.5), flags={"missing": ("-999",)}
    ),
    "yes and no": Read(with_column("z", lambda i: ["Yes", "no", "NO"][i % 3]), X | {"z": ("yes or no", 1.0)}),
    "true and false": Read(with_column("z", lambda i: ["FALSE", "TRUE"][i % 2]), X | {"z": ("yes or no", 0.0)}),
    "ISO dates": Read(with_column("z", lambda i: f"2024-02-{i + 1:02}"), date("2024-02-01"), "ISO8601"),
    "ISO times": Read(with_column("z", lambda i: f"2024-02-03T{i:02}:30:00Z"), date("2024-02-03T00:30")),
    "times of day": Read(with_column("z", lambda i: f"{i:02}:30"), date("1900-01-01T00:30"), "dates: hour:minute"),
    "day first": Read(with_column("z", lambda i: f"{i + 1:02}/02/2024"), date("2024-02-01"), "day/month/year"),
    "month first": Read(with_column("z", lambda i: f"2/{i + 1}/2024"), date("2024-02-01"), "month/day/year"),
    "day or month first": Read(with_column("z", lambda i: f"2/{i % 9 + 1}/2024"), date("2024-02-01"), ORDER),
    "dates with points": Read(with_column("z", lambda i: f"{i % 9 + 1}.2.2024"), date("2024-02-01"), ORDER),
    "months by name": Read(with_column("z", lambda i: f"{i + 1} Feb 2024"), date("2024-02-01")),
    "index without a name": Read(lines(lambda i, x, y: f"{i},{x},{y}", ",x,y").encode(), left_out("column 1"), ONLY),
    "names of rows, as R writes them": Read(
        lines(lambda i, x, y: f'"r{i}","{x}","{y}"', '"x","y"').encode(), left_out("column 1")
    ),
    "ids": Read(with_column("z", lambda i: str(100 + (7 * i) % 24)), left_out(), ONLY),
    "codes that tell rows apart": Read(with_column("z", lambda i: f"K-{(7 * i) % 24}x"), left_out(), ONLY),
    "codes with leading zeros": Read(
        with_column("z", lambda i: ["01067", "10115"][i % 2]), category("01067"), "leading zeros"
    ),
    "quoted": Read(
        lines(lambda i, x, y: f'"{x}","a, ""b""\n{"cd"[i % 2]}","{y}"', "x,z,y").encode(), category('a, "b"\nc')
    ),
    "backslashes before quotes": Read(
        lines(lambda i, x, y: f'{x},"a \\"{AB(i)}\\"",{y}', "x,z,y").encode(), category('a "a"')
    ),
    "blank lines": Read(PLAIN.replace("\n", "\n\n").encode(), X),
    "rows of delimiters alone": Read(f"{PLAIN},\n,\n".encode(), X),
    "trailing delimiters": Read(lines(lambda i, x, y: f"{x},{y},").encode(), X),
    "trailing delimiters in all lines": Read(lines(lambda i, x, y: f"{x},{y},", "x,y,").encode(), X),
    "spaces around values": Read(lines(lambda i, x, y: f" {x} ,  {y} ", " x , y ").encode(), X),
    "comments": Read(f"# made by hand\n#\n{PLAIN}# the end\n".encode(), X, "begin with #"),
    "a title": Read(
        f"Measurements of May\n\n{with_column('z', AB).decode()}".encode(), category("a"), "before the column names"
    ),
    "names behind #": Read(f"# {PLAIN}".encode(), X),
    "no names": Read(
        PLAIN.partition("\n")[2].encode(), {"column 1": ("number", 0.125)}, "no column names", {"target": "column 2"}
    ),
    "years as names": Read(
        with_column("2019", lambda i: f"{i}.5").replace(b"x", b"2018", 1),
        {"2018": ("number", 0.125), "2019": ("number", 0.5)},
    ),
    "a name twice": Read(with_column("x", lambda i: f"{i}.5"), X | {"x.1": ("number", 0.5)}, "a second column 'x'"),
    "long names in Unicode": Read(
        PLAIN.replace("x", "Größe in 身長 " * 9, 1).encode(), {("Größe in 身長 " * 9).strip(): ("number", 0.125)}
    ),
    "the same everywhere": Read(with_column("z", lambda i: "7"), left_out()),
    "nothing in it": Read(with_column("z", lambda i: ""), left_out()),
    "numbers as categories": Read(with_column("z", lambda i: str(i % 3)), category("0"), flags={"categorical": ("z",)}),
    "rows without a target": Read(f"{PLAIN}9.5,\n9.75,NA\n".encode(), X),
    "mixed case in text": Read(with_column("z", lambda i: ["Low", "high", "none"][i % 3]), category("Low")),
}

BOMB = gzip.compress(bytes(2**27))
FAILS = {
    "nothing": Fails(b"", ("is empty",)),
    "blank lines alone": Fails(b"\n \n\n", ("is empty",)),
    "names alone": Fails(b"x,y\n", ("has no rows",)),
    "a short row": Fails(f"{PLAIN}7.5\n1.5,red\n".encode(), ("line 26", "must have 2 fields, got 1", "--delimiter")),
    "a long row": Fails(f"{PLAIN}7,5,red\n1.5,red\n".encode(), ("line 26", "must have 2 fields, got 3", "--delimiter")),
    "an open quote": Fails(f'{PLAIN}7.5,"red\n1.5,red\n'.encode(), ("line 26", "a quoted field is not closed")),
    "text behind a quote": Fails(f'{PLAIN}"7".5,red\n'.encode(), ("line 26", "',' expected after '\"'")),
    "a NUL": Fails(PLAIN.encode() + b"7.\x005,red\n", ("line 26", "NUL", "--encoding")),
    "a picture": Fails(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ("a picture",)),
    "a workbook": Fails(b"PK\x03\x04" + bytes(100), ("Excel", "save the sheet as .csv")),
    "a web page": Fails(b"<!DOCTYPE html><html>", ("a web page",)),
    "JSON": Fails(b'{"x": 1}', ("JSON",)),
    "random bytes": Fails(bytes(range(1, 256)) * 9, ("is not text", "--encoding")),
    "a wrong encoding": Fails("x,y\n1,é\n".encode("cp1252"), ("line 2", "utf-8", "--encoding"), {"encoding": "utf-8"}),
    "an unknown encoding": Fails(PLAIN.encode(), ("--encoding must be", "klingon"), {"encoding": "klingon"}),
    "a delimiter of two characters": Fails(PLAIN.encode(), ("--delimiter must be one character",), {"delimiter": "::"}),
    "a word among numbers": Fails(
        lines(lambda i, x, y: f"{x},{y}").replace("1.125", "low").encode(),
        ("line 6", "'x' must be a number, got 'low'", "--missing 'low'", "--categorical 'x'"),
    ),
    "an infinite number": Fails(
        PLAIN.replace("1.125", "inf").encode(), ("line 6", "'x'", "got 'inf'", "--missing 'inf'")
    ),
    "a date that is none": Fails(
        with_column("z", lambda i: f"2024-02-{i + 7:02}"), ("--date z", "no dates"), {"date": ("z",)}
    ),
    "text that is to be a number": Fails(
        with_column("z", AB), ("line 2", "'z' must be a number, got 'a'", "--missing 'a'"), {"numeric": ("z",)}
    ),
    "too many columns": Fails(
        b",".join([b"x"] * 99_999 + [b"y"]) + b"\n1" + b",2" * 99_999 + b"\n", ("line 1", "100,000 columns")
    ),
    "a long line": Fails(b"x,y\n" + b"1" * 3_000_000, ("line 2", "characters")),
    "half of a gzip file": Fails(gzip.compress(PLAIN.encode())[:-20], ("cannot be read",)),
    "a gzip file of 128 MB": Fails(BOMB, ("holds more than 67,108,864 bytes",)),
    "one value in the target": Fails(PLAIN.replace("blue", "red").encode(), ("--target y", "'red' in every row")),
    "no value in the target": Fails(lines(lambda i, x, y: f"{x},").encode(), ("--target y", "no value")),
    "a class in each row": Fails(lines(lambda i, x, y: f"{x},k{i}x").encode(), ("--target y", "24 different values")),
    "a word in a quantity": Fails(
        lines(lambda i, x, y: f"{i % 3},{x}").encode().replace(b"1.125", b"low"),
        ("line 6", "'y' must be a finite number, got 'low'", "--missing 'low'"),
        {"task": "regression"},
    ),
    "dates in the target": Fails(
        lines(lambda i, x, y: f"{x},2024-02-{i + 1:02}").encode(), ("--target y", "24 different values", "are dates")
    ),
    "a word in a quantity that nobody asked for": Fails(
        "\n".join(["x,y", *(f"{i % 3},{i % 40 / 7:.3f}" for i in range(200)), "1,inf"]).encode(),
        ("line 202", "'y' must be a finite number, got 'inf'", "--missing 'inf'", "--task classification"),
    ),
}
