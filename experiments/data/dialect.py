"""How a text writes a table: delimiter, quotes, header, and lines that are not rows."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.errors import DataError, UsageError
from experiments.wording import counted

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|", " ": "spaces"}
_SPELLED = {"tab": "\t", "\\t": "\t", "space": " ", "spaces": " ", "comma": ",", "semicolon": ";"}
_SAMPLE = 200  # lines that decide
_COLUMNS, _LINE = 5_000, 2_000_000  # columns of a table, characters of a line
_VALUE = re.compile(r"\W{0,3}[+-]?[\d.,' ]*\d([-/:.]\d+)*\W{0,3}|", re.ASCII)  # a number, a date, or nothing


class Dialect(NamedTuple):
    """How a text writes a table.

    delimiter, escape   character between fields; character that escapes a quote, or None
    names               column names; () if the first line holds values
    width               fields of a row
    rows                line of each row, from 1
    body                the rows alone, as text
    notes               what was decided, in words
    """

    delimiter: str
    escape: str | None
    names: tuple[str, ...]
    width: int
    rows: tuple[int, ...]
    body: str
    notes: tuple[str, ...]


class Record(NamedTuple):
    """A record that is not blank.

    first, last   its first and last line, from 1
    width         its number of fields
    comment       it begins with #
    empty, ends   all of its fields are empty; the last one is
    """

    first: int
    last: int
    width: int
    comment: bool
    empty: bool
    ends: bool


def find_dialect(path: Path, text: str, delimiter: str | None = None, known: frozenset[str] = frozenset()) -> Dialect:
    """Find how the text writes a table. `known` are names that tell a header from values.

    Raises:
      DataError: if rows differ in their number of fields, or a quote is not closed; the message names the line.
    """
    lines = text.split("\n")
    notes: list[str] = []
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    if len(lines[longest]) > _LINE:
        raise DataError(f"{path}, line {longest + 1}: has more than {_LINE:,} characters")
    if (hint := re.fullmatch(r"sep=(.)", lines[0].strip(" ,;"), re.IGNORECASE)) or lines[0][:4].lower() == "sep=":
        delimiter, lines[0] = delimiter or (hint[1] if hint else lines[0][4:5]) or None, ""
        if delimiter in DELIMITERS:
            notes.append(f"delimiter: {DELIMITERS[delimiter]} (its first line is sep=)")
    if delimiter is None:
        delimiter = _most_consistent(lines[:_SAMPLE])
        notes.append(f"delimiter: {DELIMITERS[delimiter]}")
    else:
        delimiter = _SPELLED.get(delimiter, delimiter)
        if len(delimiter) != 1 or delimiter in '"\n\r':
            raise UsageError(f"--delimiter must be one character, or tab, got {delimiter!r}")
    if delimiter == " ":
        lines = [" ".join(line.split()) for line in lines]
    records, sample, escape = _records(path, lines, delimiter)
    if not records:
        raise DataError(f"{path}: is empty")
    usual = Counter(record.width for record in records if not record.comment) or Counter([records[0].width])
    width = usual.most_common(1)[0][0]
    if width > _COLUMNS:
        advice = "remove some, or set --delimiter"
        raise DataError(f"{path}, line {records[0].first}: has {width:,} columns, more than {_COLUMNS:,}; {advice}")
    start, names = _header(sample, width, known, notes)
    rows = [record for record in records[start:] if not (record.empty or (record.comment and record.width != width))]
    others = sum(record.comment for record in records[start:]) - sum(record.comment for record in rows)
    if others:
        notes.append(f"{counted(others, 'line')} that begin with # left out")
    if not rows:
        raise DataError(f"{path}: has no rows below its column names")
    if len(names) == width + 1 and not names[-1]:
        names = names[:-1]
    elif len(names) == width - 1:
        names = [*names, ""] if all(record.ends for record in rows) else ["", *names]
    elif names and len(names) != width:
        place, columns = f"{path}, line {records[start - 1].first}", counted(width, "column")
        raise DataError(f"{place}: has {counted(len(names), 'name')} for {columns}; set --delimiter")
    for record in rows:
        if record.width != width:
            raise DataError(
                f"{path}, line {record.first}: must have {counted(width, 'field')}, got {record.width}; quote a field "
                f"that contains {delimiter!r}, or set --delimiter"
            )
    body = "".join(f"{line}\n" for record in rows for line in lines[record.first - 1 : record.last])
    return Dialect(delimiter, escape, tuple(names), width, tuple(record.first for record in rows), body, tuple(notes))


def _most_consistent(lines: Sequence[str]) -> str:
    """Return the delimiter for which lines have the same number of fields, most of all the first and the others."""

    def score(delimiter: str) -> tuple[bool, bool, float, int]:
        sample = [" ".join(line.split()) for line in lines] if delimiter == " " else lines
        reader = csv.reader(sample, delimiter=delimiter)
        widths = [len(row) for row in reader if any(row) and not row[0].startswith("#")]
        width, count = Counter(widths[1:] or widths or [1]).most_common(1)[0]
        if width < 2 and widths[:1] != [2]:
            return False, False, 0.0, 0
        same = count == len(widths[1:] or widths)
        exact = same and widths[0] == width
        nearly = same and abs(widths[0] - width) == 1 and delimiter != " "
        return exact and delimiter != " ", exact or nearly, count / len(widths), width

    csv.field_size_limit(_LINE)
    return max(DELIMITERS, key=score)


def _records(path: Path, lines: Sequence[str], delimiter: str) -> tuple[list[Record], list[list[str]], str | None]:
    """Return all records that are not blank, the fields of the first ones, and the character that escapes quotes."""
    backslash = any('\\"' in line for line in lines)
    for escape in ("\\", None) if backslash else (None,):
        ended = (f"{line}\n" for line in lines)
        reader = csv.reader(ended, delimiter=delimiter, strict=True, escapechar=escape)
        records: list[Record] = []
        sample: list[list[str]] = []
        first = 1
        try:
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    empty, ends = not any(map(str.strip, row)), not row[-1].strip()
                    records.append(Record(first, reader.line_num, len(row), row[0].startswith("#"), empty, ends))
                    if len(sample) < _SAMPLE:
                        sample.append([field.strip() for field in row])
                first = reader.line_num + 1
            return records, sample, escape
        except csv.Error as error:
            if escape is None:
                reason = "a quoted field is not closed" if "unexpected end" in str(error) else str(error)
                raise DataError(f"{path}, line {first}: {reason}; double a quote inside a quoted field") from None
    raise AssertionError("unreachable")


def _header(sample: Sequence[list[str]], width: int, known: frozenset[str], notes: list[str]) -> tuple[int, list[str]]:
    """Return the number of records before the first row, and the column names; [] if there are none."""
    start = 0
    while start < len(sample) - 1:  # lines of a title, and comments, before the column names
        row = sample[start]
        comment = row[0].startswith("#") and (len(row) != width or not _are_values(sample[start + 1 :], width))
        if comment or (width > 2 and sum(map(bool, row)) <= 1 and not known & set(row)):
            start += 1
        else:
            break
    if start:
        notes.append(f"{counted(start, 'line')} before the column names left out")
    row = sample[start]
    marked = [row[0].removeprefix("#").strip(), *row[1:]]
    if not known & {*row, *marked} and not row[0].startswith("#") and _are_values(sample[start:], width):
        notes.append("no column names: the first line holds values; the columns are column 1, column 2 …")
        return start, [f"column {i + 1}" for i in range(width)]
    return start + 1, row if row[0] in known else marked


def _are_values(rows: Sequence[list[str]], width: int) -> bool:
    """Return whether the first row holds values like those below it, not names.

    It does if it has a number in some column of numbers, and nothing else in any other of them.
    """
    first, others = rows[0], [row for row in rows[1:] if len(row) == width]
    if len(first) != width or not others:
        return False
    numbers = [
        j for j in range(width) if any(row[j] for row in others) and all(_VALUE.fullmatch(row[j]) for row in others)
    ]
    return any(first[j] for j in numbers) and all(_VALUE.fullmatch(first[j]) for j in numbers)
