"""Words of messages that several experiments share."""

GET_DATA = "`python -m experiments data --download` gets the data sets"


def counted(number: int, one: str, several: str = "") -> str:
    """Format a count with its noun.

    >>> counted(1, "study", "studies"), counted(2, "study", "studies"), counted(1234, "row")
    ('1 study', '2 studies', '1,234 rows')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"
