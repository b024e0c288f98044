"""Texts to learn from: your own file, the help texts that come with Python, tiny Shakespeare.

Tiny Shakespeare (Karpathy 2015) is 1.1 MB of plays. It is read from the folder $FNN_DATA or its subfolder text,
otherwise downloaded into pooch's cache. In either case its content must match a known SHA-256.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from experiments.data import downloads
from experiments.data.downloads import Source
from experiments.errors import DataError
from experiments.wording import counted

TOPICS, SHAKESPEARE = "topics", "shakespeare"
FEWEST = 1_000  # characters

_MIRRORS = ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",)
_FILE = "tinyshakespeare.txt"
_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class Text(NamedTuple):
    """A text and where it comes from."""

    name: str
    characters: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text in UTF-8: texts of the same name can differ, as those of two versions of Python."""
        return hashlib.sha256(self.characters.encode()).hexdigest()


def _verify(path: Path, name: str) -> None:
    """Raise DataError unless the file is tiny Shakespeare."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if digest != _SHA256:
        raise DataError(f"{path}: not tiny Shakespeare: its SHA-256 is {digest}, not {_SHA256}")


def source() -> Source:
    """Return where to find and download tiny Shakespeare."""
    return Source("tiny Shakespeare", [_FILE], "", _MIRRORS, ("text",), _verify, {_FILE: "input.txt"})


def find_shakespeare() -> Text | None:
    """Load tiny Shakespeare from $FNN_DATA or the cache; None if it is in neither."""
    paths = downloads.find(source())
    return None if paths is None else _shakespeare(paths[_FILE])


def load_shakespeare() -> Text:
    """Load tiny Shakespeare from $FNN_DATA or the cache, or download it once (1.1 MB).

    Raises:
      DataError: if the file is damaged or cannot be downloaded.
    """
    return _shakespeare(downloads.fetch(source())[_FILE])


def _shakespeare(path: Path) -> Text:
    _verify(path, _FILE)
    return read(path)._replace(name="tiny Shakespeare")


def topics() -> Text:
    """Load the help texts on Python that `help()` shows, 0.5 MB. They differ from one version of Python to another."""
    try:
        from pydoc_data import topics
    except ImportError:
        raise DataError("this Python has no pydoc_data.topics: name a text file with --data") from None
    return Text("Python's help texts", "\n\n".join(topics.topics[name] for name in sorted(topics.topics)))


def read(path: Path) -> Text:
    """Read a text file in UTF-8; raise DataError if it cannot be read or is too short to learn from."""
    try:
        characters = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a text in UTF-8: byte {error.start:,} is 0x{error.object[error.start]:02x}"
        ) from None
    if len(characters) < FEWEST:
        raise DataError(f"{path}: has {counted(len(characters), 'character')}, fewer than {FEWEST:,}")
    return Text(path.name, characters)


def load(name: str) -> Text:
    """Load the text of this name: `topics`, `shakespeare`, or a path."""
    if name == TOPICS:
        return topics()
    return load_shakespeare() if name == SHAKESPEARE else read(Path(name))
