"""Find or download the files of public data sets.

Files are read from the folder $FNN_DATA, or downloaded once into pooch's cache. A downloaded file gets its name only
after its content is verified, so the cache never holds an incomplete file.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from experiments.errors import DataError, needs
from experiments.wording import GET_DATA

_WAIT = 30  # seconds without an answer before the next mirror is tried


class Source(NamedTuple):
    """A data set of several files.

    title     name of the data set in messages
    files     names of the files
    ending    suffix of the names on a mirror, such as .gz; local files may have it or not
    mirrors   URL prefixes of the files, tried in order
    folders   subfolders of $FNN_DATA to search besides $FNN_DATA itself
    verify    (path, name) -> raises DataError unless the content is that of the file of this name
    remote    the names of files that are called otherwise on the mirrors
    """

    title: str
    files: Collection[str]
    ending: str
    mirrors: Sequence[str]
    folders: Sequence[str]
    verify: Callable[[Path, str], Any]
    remote: Mapping[str, str] = MappingProxyType({})


def cache() -> Path:
    """Return the folder of downloads, in the user's cache folder."""
    needs("pooch")
    import pooch

    return Path(pooch.os_cache("fnn"))


def _find(source: Source, folder: Path, name: str) -> Path | None:
    """Return the path of the file in this folder, compressed or not, or None."""
    return next((path for path in (folder / f"{name}{source.ending}", folder / name) if path.is_file()), None)


def _complete(source: Source, folder: Path) -> dict[str, Path] | None:
    """Return the paths of all files in this folder, or None if one is missing."""
    found = {name: path for name in source.files if (path := _find(source, folder, name)) is not None}
    return found if len(found) == len(source.files) else None


def find(source: Source) -> dict[str, Path] | None:
    """Return the unverified paths of the files, or None if one is missing.

    The files are looked up in $FNN_DATA, then in the cache.
    """
    data = os.environ.get("FNN_DATA")
    folders = [Path(data), *(Path(data) / name for name in source.folders)] if data else []
    return next(filter(None, (_complete(source, folder) for folder in [*folders, cache()])), None)


def fetch(source: Source) -> dict[str, Path]:
    """Return the paths of the files, downloading the missing ones.

    Raises:
      DataError: if no mirror delivers a file, with each mirror's failure and where to put the files instead.
    """
    folder = cache()
    return find(source) or {name: _find(source, folder, name) or _download(source, name) for name in source.files}


def _download(source: Source, name: str) -> Path:
    """Download the file from the first mirror that delivers it."""
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
                        download(f"{mirror}{source.remote.get(name, path.name)}", str(part), None)
                    source.verify(part, name)
                except DataError as error:
                    failures.append(f"{mirror}: {error}")
                except Exception as error:  # network libraries raise many types
                    failures.append(f"{mirror}: {type(error).__name__}")
                else:
                    return part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
    raise DataError(
        f"{path.name}: cannot be downloaded ({'; '.join(failures)}); put the files of {source.title} "
        f"({', '.join(f'{file}{source.ending}' for file in source.files)}) into a folder and set FNN_DATA=folder, "
        f"or try again later: {GET_DATA}"
    )


class _Bar:
    """A rich progress bar with the interface that pooch expects."""

    def __init__(self, progress: Any, name: str):
        self._progress, self._task, self.total = progress, progress.add_task(name, total=None), 0

    def update(self, size: int) -> None:
        self._progress.update(self._task, total=self.total or None, advance=size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Do nothing: the context manager closes the bar."""


@contextlib.contextmanager
def _progress(name: str) -> Iterator[_Bar]:
    """Show a progress bar on standard error during a download."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn(f"downloading {name}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress, name)
