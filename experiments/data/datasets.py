"""List the data sets: contents, size, location, and how to download them.

    python -m experiments data
    python -m experiments data --download

Data sets that come with scikit-learn and synthetic ones are always available. MNIST, the cat images and
tiny Shakespeare are looked up in the folder that the environment variable FNN_DATA names, then in the
cache. --download fetches those that are in neither, 15 MB in total, and verifies their SHA-256.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data import bundled, cats, downloads, mnist, texts
from experiments.data.downloads import Source
from experiments.errors import DataError, ExperimentError, needs

BUNDLED = {
    "digits": ("handwritten digits, 10 classes", bundled.load_digits),
    "iris": ("flowers, 3 species", bundled.load_iris),
    "wine": ("wines, 3 cultivars", bundled.load_wine),
    "breast_cancer": ("tumours, malignant or benign", bundled.load_breast_cancer),
    "diabetes": ("patients, a quantity: disease progression", bundled.load_diabetes),
}
GENERATED = {  # name -> content, features
    "planar_flower": ("points of 2 classes on petals", "2"),
    "moons": ("points of 2 classes, half circles", "2"),
    "two_clouds": ("points of 2 classes, two clouds", "any"),
    "prices_by_size": ("houses, a price with a kink", "1"),
    "houses": ("houses, a price made of hidden factors", "4"),
    "balls": ("images, with or without a ball", "20x20"),
    "bars": ("images, 4 kinds of bars", "16x16"),
    "mixtures": ("mixtures of patterns, 3 labels", "40"),
    "mnist_like": ("ten symbols, a substitute for MNIST", "784 (28x28)"),
}


class Download(NamedTuple):
    """A data set that can be downloaded."""

    content: str
    shape: str
    size: str
    source: Callable[[], Source]
    load: Callable[[], Any]
    examples: Callable[[Any], str]


def count_images(loaded: Any) -> str:
    """Format the numbers of training and test images."""
    return f"{len(loaded.train_y):,} + {len(loaded.test_y):,}"


def count_characters(loaded: texts.Text) -> str:
    """Format the length of a text."""
    return f"{len(loaded.characters):,}"


DOWNLOADS = {
    "mnist": Download(
        "handwritten digits, 10 classes", "784 (28x28)", "11 MB", mnist.source, mnist.load_mnist, count_images
    ),
    "cats": Download("photographs, cat or not", "64x64x3", "3 MB", cats.source, cats.load_cats, count_images),
    "shakespeare": Download(
        "plays: a text", "character", "1 MB", texts.source, texts.load_shakespeare, count_characters
    ),
}


@dataclass(frozen=True)
class Config:
    download: bool = False
    """Download the data sets that are neither in the folder FNN_DATA nor in the cache."""


class Row(NamedTuple):
    """A row of the table.

    `shape` is that of one example.
    """

    name: str
    content: str
    examples: str
    shape: str
    location: str


def local_rows() -> Iterator[Row]:
    """Yield the rows of data sets that need no download."""
    for name, (content, load) in BUNDLED.items():
        x = load()[0]
        yield Row(name, content, f"{len(x):,}", "x".join(map(str, x.shape[1:])), "comes with scikit-learn")
    for name, (content, shape) in GENERATED.items():
        yield Row(name, content, "any", shape, "generated from a seed")
    try:
        characters, location = count_characters(texts.topics()), "comes with Python"
    except DataError:
        characters, location = "-", "not a part of this Python"
    yield Row("topics", "Python's help texts", characters, "character", location)


def download_row(name: str, data: Download, download: bool) -> tuple[Row, str]:
    """Return the row of a downloadable data set and an error message, or ""."""
    try:
        if not download and downloads.find(data.source()) is None:
            location = f"not found: `python -m experiments data --download` ({data.size}), or set FNN_DATA to a folder"
            return Row(name, data.content, "-", data.shape, location), ""
        loaded = data.load()
    except DataError as error:
        return Row(name, data.content, "-", data.shape, "cannot be used: see below"), str(error)
    paths = downloads.find(data.source()) or {}
    folder = next(iter(paths.values()), Path()).parent
    return Row(name, data.content, data.examples(loaded), data.shape, f"{folder}, verified"), ""


def main(config: Config) -> None:
    """Print the table; raise ExperimentError if a data set is unusable."""
    needs("sklearn", "pooch", "h5py")
    from rich.console import Console
    from rich.table import Table

    rows, problems = list(local_rows()), []
    for name, data in DOWNLOADS.items():
        row, problem = download_row(name, data, config.download)
        rows.append(row)
        problems += [problem] if problem else []
    table = Table(title="data sets", title_justify="left")
    for column in Row._fields:
        table.add_column(column, justify="right" if column in ("examples", "shape") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in row))
    console = Console(highlight=False)
    Console(highlight=False, width=max(console.width, 110)).print(table)
    print("your own data: `python -m experiments train --data FILE.csv --target COLUMN`")
    if problems:
        raise ExperimentError("; ".join(problems))
