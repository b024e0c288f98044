"""How a column of text writes its values: numbers, in many ways, and dates."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

_AFFIXES = re.compile(
    r"[+-]?(?P<prefix>(?:[$€£¥₹₽₩₺₫]|R\$|[A-Z]{3}|Rs\.?)?)\s*[+-]?[\d.][\d.,' ]*?(?:[eE][+-]?\d+)?"
    r"\s*(?P<suffix>(?:[^\d\s.,'+\-][^\d]{0,11})?)",
    re.ASCII,
)
_BLANKS = {ord(blank): " " for blank in "\xa0\u202f\u2009"} | {ord("−"): "-", ord("’"): "'"}
_DAYS = [f"{day}{sep}{month}{sep}{year}" for sep in "/.-" for year in ("%Y", "%y") for day, month in [("%d", "%m")]]
_MONTHS = [f"%m{sep}%d{sep}{year}" for sep in "/.-" for year in ("%Y", "%y")]
_WORDS = ["%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%b %Y", "%B %Y", "%d. %B %Y"]
_TIMES = ["", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p"]
_ISO = re.compile(r"\d{4}-\d{2}(-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?( ?(Z|[+-]\d{2}:?\d{2}))?)?)?", re.ASCII)
_DATED = re.compile(r"[\w .,:/+-]{4,40}")
ISO = "ISO8601"
_CLOCKS = ["%H:%M", "%H:%M:%S", "%I:%M %p"]
_ANY = [day + time for time in _TIMES for day in (*_DAYS, *_MONTHS, "%Y/%m/%d", "%Y.%m.%d", *_WORDS)] + _CLOCKS
DATE_FORMS = frozenset([ISO, "%Y%m%d", *_ANY])


class Numerals(NamedTuple):
    """How numbers are written: 1,234.5 has the decimal point "." and the thousands ","; $5 kg has both affixes."""

    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""


FORMS = tuple(Numerals(*marks) for marks in (".", ".,", ". ", ".'", ",", ",.", ", ", ",'"))


def spelled(form: Numerals) -> list[str]:
    """Say how numbers of this form are written; [] for plain ones.

    >>> spelled(Numerals(",", ".", "", "€"))
    ['decimal comma', "thousands '.'", 'in €']
    """
    parts = ["decimal comma"] if form.decimal == "," else []
    parts += [f"thousands {'blank' if form.thousands == ' ' else repr(form.thousands)}"] if form.thousands else []
    return parts + [f"in {affix}" for affix in (form.prefix, form.suffix) if affix]


def parse_numbers(texts: "pd.Series", form: Numerals) -> "pd.Series":
    """Return the numbers that are written in this form, in float64; NaN for any other text.

    >>> import pandas as pd
    >>> parse_numbers(pd.Series(["1,234.5", "12,34", "-7"]), Numerals(".", ",")).tolist()
    [1234.5, nan, -7.0]
    """
    if texts.str.contains("[^ -~]").any():
        texts = texts.str.translate(_BLANKS)
    if form.prefix:
        texts = texts.str.replace(rf"^([+-]?){re.escape(form.prefix)} *", r"\1", regex=True)
    if form.suffix:
        texts = texts.str.replace(rf" *{re.escape(form.suffix)}$", "", regex=True)
    point, groups = re.escape(form.decimal), re.escape(form.thousands)
    whole = rf"([0-9]+|[1-9][0-9]{{0,2}}({groups}[0-9]{{3}})+)" if form.thousands else "[0-9]+"
    fits = texts.str.fullmatch(rf"[+-]?({whole}({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]+)?")
    if form.thousands:
        texts = texts.str.replace(form.thousands, "", regex=False)
    if form.decimal != ".":
        texts = texts.str.replace(form.decimal, ".", regex=False)
    return texts.where(fits.astype(bool), "nan").astype("float64")


def find_numerals(texts: "pd.Series", comma: bool) -> tuple[list[Numerals], float]:
    """Return the forms in which most of the different texts are numbers, and the share of these texts.

    Forms that read all of them alike are one. The first form is the likeliest; with `comma`, a decimal comma is.
    """
    plain = Numerals("," if comma else ".")
    if parse_numbers(texts, plain).notna().all():
        return [plain], 1.0
    first = texts.iloc[:50].str.translate(_BLANKS)
    found = [match.groupdict() for match in map(_AFFIXES.fullmatch, first) if match]
    affixes = {tuple(each.values()) for each in found}
    prefix, suffix = next(iter(affixes)) if len(affixes) == 1 and len(found) == len(first) else ("", "")
    best: list[tuple[Numerals, pd.Series]] = []
    most = 0.0
    for form in sorted(FORMS, key=lambda form: (form.decimal == ",") != comma):
        form = form._replace(prefix=prefix, suffix=suffix)
        numbers = parse_numbers(texts, form)
        share = float(numbers.notna().mean())
        if share > most:
            best, most = [], share
        if share == most > 0 and not any(numbers.equals(other) for _, other in best):
            best.append((form, numbers))
    return [form for form, _ in best], most


def parse_dates(texts: "pd.Series", form: str) -> "pd.Series":
    """Return the dates that are written in this form, without time zone (UTC if they have one); NaT for other text."""
    import pandas as pd

    return pd.to_datetime(texts, format=form, errors="coerce", utc=True).dt.tz_localize(None)


def find_dates(texts: "pd.Series") -> list[str]:
    """Return the forms in which all of these different texts are dates, the likeliest first; [] if there is none."""
    if all(_ISO.fullmatch(text) for text in texts):
        return [ISO] if parse_dates(texts, ISO).notna().all() else []
    if not all(_DATED.fullmatch(text) and any(map(str.isdigit, text)) for text in texts):
        return []
    digits = texts.str.fullmatch("[0-9]{8}").all()
    compact = ["%Y%m%d"] if digits and texts.between("19000101", "21001231").all() else []
    few = texts.iloc[:20]
    fits = lambda form: parse_dates(few, form).notna().all() and parse_dates(texts, form).notna().all()
    return [form for form in (compact if digits else _ANY) if fits(form)]


def is_ambiguous(forms: Sequence[str]) -> bool:
    """Return whether dates can be read with the day before the month, and after it."""
    return len(forms) > 1 and {form[:2] for form in forms} >= {"%d", "%m"}
