"""The data sets: what there is, how large, where it is found or how to get it.

    python -m experiments data
    python -m experiments data --download

Those that come with scikit-learn and those made from a seed are there at once. MNIST and the cat
images are looked for in the folder that the environment variable FNN_DATA names, then in the cache;
--download fetches what is in neither, 14 MB in all, and compares it with its SHA-256.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data import bundled, cats, downloads, mnist
from experiments.data.downloads import Source
from experiments.errors import DataError, ExperimentError, needs

BUNDLED = {
    "digits": ("handwritten digits, 10 classes", bundled.load_digits),
    "iris": ("flowers, 3 species", bundled.load_iris),
    "wine": ("wines, 3 cultivars", bundled.load_wine),
    "breast_cancer": ("tumours, malignant or benign", bundled.load_breast_cancer),
    "diabetes": ("patients, a number: the disease's progress", bundled.load_diabetes),
}
GENERATED = {  # name -> what, features
    "planar_flower": ("points of 2 classes on petals", "2"),
    "moons": ("points of 2 classes, half circles", "2"),
    "two_clouds": ("points of 2 classes, two clouds", "any"),
    "prices_by_size": ("houses, a price with a kink", "1"),
    "houses": ("houses, a price of hidden factors", "4"),
    "balls": ("images, a ball or none", "20x20"),
    "bars": ("images, 4 kinds of bars", "16x16"),
    "mixtures": ("several patterns at once, 3 labels", "40"),
    "mnist_like": ("ten symbols, in place of MNIST", "784 (28x28)"),
}


class Download(NamedTuple):
    """A data set that is fetched."""

    what: str
    shape: str
    size: str
    source: Callable[[], Source]
    load: Callable[[], Any]


DOWNLOADS = {
    "mnist": Download("handwritten digits, 10 classes", "784 (28x28)", "11 MB", mnist.source, mnist.load_mnist),
    "cats": Download("photographs, cat or not", "64x64x3", "3 MB", cats.source, cats.load_cats),
}


@dataclass(frozen=True)
class Config:
    download: bool = False
    """Fetch the data sets that are neither in FNN_DATA's folder nor in the cache."""


class Row(NamedTuple):
    """A data set: its name, what it is of, examples, features of each, and where it is."""

    name: str
    what: str
    examples: str
    shape: str
    where: str


def there() -> Iterator[Row]:
    """What needs no download."""
    for name, (what, load) in BUNDLED.items():
        x = load()[0]
        yield Row(name, what, f"{len(x):,}", "x".join(map(str, x.shape[1:])), "comes with scikit-learn")
    for name, (what, shape) in GENERATED.items():
        yield Row(name, what, "any", shape, "made from a seed")


def fetched(name: str, data: Download, download: bool) -> tuple[Row, str]:
    """The row of what is downloaded, and what went wrong, "" if nothing did."""
    try:
        if not download and downloads.find(data.source()) is None:
            where = f"not here: `python -m experiments data --download` ({data.size}), or set FNN_DATA to its folder"
            return Row(name, data.what, "-", data.shape, where), ""
        loaded = data.load()
    except DataError as error:
        return Row(name, data.what, "-", data.shape, "cannot be used: see below"), str(error)
    paths = downloads.find(data.source()) or {}
    folder = next(iter(paths.values()), Path()).parent
    examples = f"{len(loaded.train_y):,} + {len(loaded.test_y):,}"
    return Row(name, data.what, examples, data.shape, f"{folder}, verified"), ""


def main(config: Config) -> None:
    """Prints the table; ExperimentError if a file is damaged or cannot be had."""
    needs("sklearn", "pooch", "h5py")
    from rich.console import Console
    from rich.table import Table

    rows, problems = list(there()), []
    for name, data in DOWNLOADS.items():
        row, problem = fetched(name, data, config.download)
        rows.append(row)
        problems += [problem] if problem else []
    table = Table(title="data sets", title_justify="left")
    for column in Row._fields:
        table.add_column(column, justify="right" if column in ("examples", "shape") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in row))
    console = Console(highlight=False)
    Console(highlight=False, width=max(console.width, 110)).print(table)
    print("of your own: `python -m experiments train --data FILE.csv --target COLUMN`")
    if problems:
        raise ExperimentError("; ".join(problems))
