"""The text of a file: its bytes within limits, and their encoding."""

import codecs
import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from experiments.errors import DataError, UsageError

LARGEST = 2**26  # bytes of a file, and of what a .gz file holds
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHERS = (  # first bytes of files that are not text
    (b"PK\x03\x04", "a zip archive or an Excel workbook: save the sheet as .csv"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: save the sheet as .csv"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "a database: export the table as .csv"),
    (b"BZh", "compressed by bzip2: decompress it first"),
    (b"\xfd7zXZ", "compressed by xz: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: decompress it first"),
    (b"<!doctype", "a web page: download the file itself"),
    (b"<html", "a web page: download the file itself"),
    (b"<?xml", "XML: save the table as .csv"),
    (b'{"', "JSON: save the table as .csv"),
    (b"[{", "JSON: save the table as .csv"),
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufffe\uffff]")


class Text(NamedTuple):
    """Text with \\n between its lines, its encoding, and why this encoding."""

    text: str
    encoding: str
    why: str


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Read a file, decompressed if it is a .gz file; raise DataError if that is more than `largest` bytes."""
    try:
        size = path.stat().st_size
        if size > largest:
            raise DataError(f"{path}: has {size:,} bytes, more than {largest:,}; keep fewer rows or columns")
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if data[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                data = file.read(largest + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > largest:
        raise DataError(f"{path}: holds more than {largest:,} bytes; keep fewer rows or columns")
    return data


def decode(path: Path, data: bytes, encoding: str | None = None) -> Text:
    """Decode the bytes of a table, by `encoding` if given, or by the first that fits.

    These are tried: a byte order mark, UTF-16 without one (every second byte is 0), UTF-8, Windows-1252.

    Raises:
      UsageError: if there is no such encoding.
      DataError: if the bytes are not text; the message names the line.
    """
    for magic, kind in _OTHERS:
        if data[:16].lower().startswith(magic.lower()) and not encoding:
            raise DataError(f"{path}: is not a table of text but {kind}")
    if encoding is not None:
        try:
            codecs.lookup(encoding)
            "".encode(encoding)
        except (LookupError, ValueError):
            raise UsageError(
                f"--encoding must be the name of an encoding, such as utf-8 or cp1252, got {encoding}"
            ) from None
        return _text(path, data, encoding, "set by --encoding")
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _text(path, data, name, "by its byte order mark")
    if b"\0" in data[:10_000]:
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            zeros = data[first:10_000:2].count(0) / max(len(data[first:10_000:2]), 1)
            if zeros > 0.5 and len(data) % 2 == 0:
                return _text(path, data, name, "every second byte is 0")
    if (start := data.find(b"\0")) >= 0:
        line = 1 + data.count(b"\n", 0, start)
        raise DataError(f"{path}, line {line}: is not text: it contains a NUL character; --encoding sets an encoding")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return _text(path, data, "cp1252", "not valid as UTF-8")
    return _text(path, data, "utf-8", "valid")


def _text(path: Path, data: bytes, encoding: str, why: str) -> Text:
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = 1 + data.count(b"\n", 0, start)
        raise DataError(
            f"{path}, line {line}: is not text in {encoding}: byte {data[start : start + 1].hex() or 'missing'}; "
            "--encoding sets another encoding"
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a")
    if control := _CONTROL.search(text):
        line = 1 + text.count("\n", 0, control.start())
        name = f"the control character {ord(control[0]):#04x}"
        raise DataError(f"{path}, line {line}: is not text: it contains {name}; --encoding sets another encoding")
    return Text(text, encoding, why)
