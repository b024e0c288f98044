"""A table, and a network trained on it, for the tests of commands."""

from pathlib import Path

import pytest

from tests.support.commands import command, write_table


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "dots.csv"
    return write_table(path)


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("trained")
    assert (
        command(["train", "--data", table, "--target", "kind", "--epochs", "1", "--hidden", "2", "--results", results])
        == 0
    )
    return results / "train" / "dots"
