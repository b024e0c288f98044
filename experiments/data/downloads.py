"""Files of public data sets: from a folder that $FNN_DATA names, or downloaded once into pooch's cache.

A file that was downloaded gets its name only once its content is verified, so what the cache holds is whole.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from experiments.errors import DataError, needs

_WAIT = 30  # seconds without an answer before the next mirror is asked


class Source(NamedTuple):
    """A data set of several files.

    title     what it is called in messages
    files     their names
    ending    what a mirror's names have besides, such as .gz; a folder may hold them with it or without
    mirrors   addresses that a file's name is added to, asked in turn
    folders   names that the files' folder may have in $FNN_DATA, where they are not in it themselves
    verify    path, name -> nothing; DataError unless the file is the one of this name
    """

    title: str
    files: Collection[str]
    ending: str
    mirrors: Sequence[str]
    folders: Sequence[str]
    verify: Callable[[Path, str], Any]


def cache() -> Path:
    """Where downloads are kept, in the user's cache folder."""
    needs("pooch")
    import pooch

    return Path(pooch.os_cache("fnn"))


def _find(source: Source, folder: Path, name: str) -> Path | None:
    """The file in this folder, compressed or not."""
    return next((path for path in (folder / f"{name}{source.ending}", folder / name) if path.is_file()), None)


def _complete(source: Source, folder: Path) -> dict[str, Path] | None:
    """Where in this folder the files are; None unless all are."""
    found = {name: path for name in source.files if (path := _find(source, folder, name)) is not None}
    return found if len(found) == len(source.files) else None


def find(source: Source) -> dict[str, Path] | None:
    """Where the files are, not verified: in $FNN_DATA, in a folder of it, or in the cache; None unless all are."""
    data = os.environ.get("FNN_DATA")
    folders = [Path(data), *(Path(data) / name for name in source.folders)] if data else []
    return next(filter(None, (_complete(source, folder) for folder in [*folders, cache()])), None)


def fetch(source: Source) -> dict[str, Path]:
    """Where the files are; those that are neither in $FNN_DATA nor in the cache are downloaded into the cache.

    DataError if no mirror has a file, with what each of them answered and where to put the files instead.
    """
    folder = cache()
    return find(source) or {name: _find(source, folder, name) or _download(source, name) for name in source.files}


def _download(source: Source, name: str) -> Path:
    """The file from the first mirror that has it."""
    import pooch

    folder, failures = cache(), []
    path = folder / f"{name}{source.ending}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            part = Path(scratch) / path.name
            for mirror in source.mirrors:
                try:
                    with _progress(path.name) as bar:
                        download = pooch.HTTPDownloader(progressbar=cast(Any, bar), timeout=_WAIT)
                        download(f"{mirror}{path.name}", str(part), None)
                    source.verify(part, name)
                except DataError as error:
                    failures.append(f"{mirror}: {error}")
                except Exception as error:  # whatever the network does
                    failures.append(f"{mirror}: {type(error).__name__}")
                else:
                    return part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
    raise DataError(
        f"{path.name}: no mirror has it ({'; '.join(failures)}); put the files of {source.title} "
        f"({', '.join(f'{file}{source.ending}' for file in source.files)}) into a folder and set FNN_DATA=folder"
    )


class _Bar:
    """What pooch asks of a progress bar, shown by rich."""

    def __init__(self, progress: Any, name: str):
        self._progress, self._task, self.total = progress, progress.add_task(name, total=None), 0

    def update(self, size: int) -> None:
        self._progress.update(self._task, total=self.total or None, advance=size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Nothing is left open."""


@contextlib.contextmanager
def _progress(name: str) -> Iterator[_Bar]:
    """A bar on standard error while something is downloaded; gone afterwards."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn(f"downloading {name}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress, name)
