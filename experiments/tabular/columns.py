"""What each column of a table is used as: a number, a category, a date, nothing; and why."""

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from experiments.data.tables import Table
from experiments.errors import DataError
from experiments.tabular.numerals import (
    FORMS,
    ISO,
    Numerals,
    find_dates,
    find_numerals,
    is_ambiguous,
    parse_numbers,
    spelled,
)
from experiments.tabular.values import CATEGORY, DATE, ID, LEFT_OUT, NUMBER, YES_NO, Column, is_missing
from experiments.wording import counted

_PAIRS = (
    *(("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"), ("off", "on"), ("nein", "ja"), ("n", "j")),
    *(("falsch", "wahr"), ("non", "oui"), ("n", "o"), ("faux", "vrai"), ("no", "si"), ("no", "sí")),
)
_CODE = r"[+-]?0[0-9]+"  # a leading zero: a code, such as a postal code
_NAME_OF_ID = re.compile(r"(.*[ _.-])?(id|ids|uuid|guid|index|idx|key|row|nr|no|code|number|serial)|.*[a-z](ID|Id)")
_LETTERS = {
    "Y": "year",
    "y": "year",
    "m": "month",
    "b": "month",
    "B": "month",
    "d": "day",
    "H": "hour",
    "I": "hour",
    "M": "minute",
    "S": "second",
    "p": "am or pm",
}  # of the form of a date
_FEW = 20  # with fewer rows nothing is said about ids
_WORDS = 4  # of a text, on average: free text
_LONG = 10**7  # different whole numbers of at least eight digits, all as long: of accounts, or phone numbers
_WRONG = 0.05  # share of texts that are not numbers in a column of numbers


class Flags(NamedTuple):
    """Columns whose use was set by the flags of these names, and further spellings of a missing value."""

    categorical: Collection[str] = ()
    numeric: Collection[str] = ()
    date: Collection[str] = ()
    ignore: Collection[str] = ()
    id: Collection[str] = ()
    missing: Collection[str] = ()


class Habits(NamedTuple):
    """What other columns of a table have shown: it has decimal commas; its dates have the day first, or the month."""

    comma: bool = False
    day_first: bool | None = None


def decide_columns(table: Table, target: str, flags: Flags, source: object) -> list[Column]:
    """Decide what each column besides the target is used as.

    Raises:
      DataError: if a column is neither numbers nor text; the message names the line and the flag that helps.
    """
    names = [name for name in table.columns if name != target]
    found = {name: _decide(table, name, flags, Habits(), source) for name in names}
    numerals = [column.form for column in found.values() if isinstance(column.form, Numerals) and not column.warning]
    dates = [column.form[:2] for column in found.values() if column.kind == DATE and not column.warning]
    habits = Habits(any(form.decimal == "," for form in numerals), "%d" in dates if {"%d", "%m"} & set(dates) else None)
    if habits != Habits():
        for name, column in found.items():
            points = habits.comma and isinstance(column.form, Numerals) and column.form.decimal == "."
            values = table.columns[name]
            if column.warning or (points and values.dtype.kind not in "iuf" and values.str.contains(r"[0-9]\.").any()):
                found[name] = _decide(table, name, flags, habits, source)
    return list(found.values())


def _decide(table: Table, name: str, flags: Flags, habits: Habits, source: object) -> Column:
    values = table.columns[name]
    missing = is_missing(values, flags.missing)
    distinct = values[~missing].drop_duplicates()
    about = Column(name, LEFT_OUT, "", int(missing.sum()), len(distinct))
    for kind, chosen, flag in ((LEFT_OUT, flags.ignore, "ignore"), (ID, flags.id, "id")):
        if name in chosen:
            return about._replace(kind=kind, why=f"set by --{flag}")
    if len(distinct) == 0:
        return about._replace(why="empty")
    if name in flags.categorical:
        return about._replace(kind=CATEGORY, why="set by --categorical")
    if len(distinct) == 1 and not about.missing:
        return about._replace(why="the same value in every row")
    if values.dtype.kind in "iuf":
        found = about._replace(kind=NUMBER, why="numbers", form=Numerals())
    else:
        found = _of_text(table, about, distinct, flags, habits, source)
    if name in flags.numeric:
        return found._replace(why="set by --numeric")
    return found if name in flags.date else _without_id(found, values, missing)


def _of_text(table: Table, about: Column, distinct: Any, flags: Flags, habits: Habits, source: object) -> Column:
    """Decide what a column of text is."""
    numeric, dated = about.name in flags.numeric, about.name in flags.date
    two = sorted(distinct.str.lower()) if len(distinct) <= 4 else []
    pair = next((pair for pair in _PAIRS if {*two} == {*pair}), None)
    if pair and not numeric:
        return about._replace(kind=YES_NO, why=f"{pair[1]} or {pair[0]}", form=list(pair))
    codes = distinct.str.fullmatch(_CODE)
    if codes.any() and not numeric and not dated and distinct.str.fullmatch("[+-]?[0-9]+").all():
        return about._replace(kind=CATEGORY, why=f"codes: leading zeros, as in {distinct[codes].iloc[0]}")
    forms, share = find_numerals(distinct, habits.comma)
    dates = [] if numeric or (share == 1 and len(distinct.iloc[0]) != 8 and not dated) else find_dates(distinct)
    if dates:
        return _of_dates(about, dates, habits)
    if dated:
        raise DataError(f"{source}: --date {about.name}: its values, such as {distinct.iloc[0]!r}, are no dates")
    if share == 1:
        return _of_numbers(about, forms, habits.comma, table.comma)
    if numeric or (share > 1 - _WRONG and len(distinct) > _FEW):
        numbers = parse_numbers(distinct, forms[0] if forms else FORMS[0])
        wrong = distinct[numbers.isna()]
        where = f"{source}, {table.place} {table.rows[wrong.index[0]]}"
        advice = f"--missing {wrong.iloc[0]!r} reads it as missing, --categorical {about.name!r} takes all as text"
        if numeric:
            advice = f"--missing {wrong.iloc[0]!r} reads it as missing"
        raise DataError(f"{where}: {about.name!r} must be a number, got {wrong.iloc[0][:40]!r}; {advice}")
    return about._replace(kind=CATEGORY, why=counted(len(distinct), "different text"))


def _of_numbers(about: Column, forms: Sequence[Numerals], comma: bool, semicolons: bool) -> Column:
    """Describe a column of numbers. Of two forms, that with a decimal comma is taken if the file has such."""
    form = next((form for form in forms if form.decimal == "," and (comma or semicolons)), forms[0])
    why = "numbers" + (f": {', '.join(spelled(form))}" if spelled(form) else "")
    warning = ""
    if len({each.decimal for each in forms}) > 1 and not comma:
        meant = "a decimal comma" if form.decimal == "," else "thousands"
        warning = f"its commas could be of decimals or of thousands; they are read as {meant}"
    return about._replace(kind=NUMBER, why=why, form=form, warning=warning)


def _of_dates(about: Column, forms: Sequence[str], habits: Habits) -> Column:
    """Describe a column of dates. Of two orders, the file's other dates decide; 1/2/2020 has the month first."""
    wanted = "%m" if habits.day_first is False or (habits.day_first is None and "/" in forms[0]) else "%d"
    ambiguous = is_ambiguous(forms)
    form = next((form for form in forms if ambiguous and form[:2] == wanted), forms[0])
    written = "ISO8601" if form == ISO else form.replace("%", "")
    for letter, word in _LETTERS.items() if form != ISO else ():
        written = re.sub(rf"(?<![a-z]){letter}(?![a-z])", word, written)
    warning = ""
    if ambiguous and habits.day_first is None:
        order = "month before day" if form[:2] == "%m" else "day before month"
        warning = f"its dates could have day or month first; they are read as {order} (write them as 2020-12-31)"
    return about._replace(kind=DATE, why=f"dates: {written}", form=form, warning=warning)


def _without_id(column: Column, values: Any, missing: Any) -> Column:
    """Leave a column out that only tells rows apart."""
    n = len(values) - column.missing
    leave_out = lambda why, flag, seems="it seems to only tell rows apart": column._replace(
        kind=LEFT_OUT, why=why, warning=f"left out because {seems} ({why}); --{flag} {column.name!r} uses it"
    )
    if n < _FEW or column.kind in (DATE, YES_NO):
        return column
    if column.kind == CATEGORY:
        if column.distinct > max(0.5 * n, _FEW):
            why, few = f"{column.distinct:,} different texts in {n:,} rows", "too few rows have the same text"
            if values[~missing].str.count(r"\S+").mean() >= _WORDS:
                return leave_out(f"free text: {why}", "categorical", "the words of a text are not read")
            return leave_out(why, "categorical", *([few] if column.distinct < 0.9 * n else []))
        return column
    if column.distinct < n or column.form.thousands or column.form[2:] != ("", ""):
        return column
    values = values[~missing]
    numbers_of = lambda part: part if part.dtype.kind in "iuf" else parse_numbers(part, column.form)
    if (numbers_of(values.iloc[:20]) % 1 != 0).any():
        return column
    numbers = numbers_of(values)
    low, high = numbers.min(), numbers.max()
    if (numbers % 1 != 0).any() or low < 0 or 1800 <= low <= high <= 2200:
        return column
    if high - low == n - 1:
        return leave_out("whole numbers without a gap" if n == len(values) else "different whole numbers", "numeric")
    steps = numbers.diff().iloc[1:]
    if (steps > 0).all() or (steps < 0).all():
        return leave_out("different whole numbers in order", "numeric")
    if _NAME_OF_ID.fullmatch(column.name) or _NAME_OF_ID.fullmatch(column.name.lower()):
        return leave_out("different whole numbers, and its name", "numeric")
    if low >= _LONG and len(str(int(low))) == len(str(int(high))):
        return leave_out("different whole numbers of as many digits", "numeric")
    return column
