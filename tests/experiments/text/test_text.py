"""`python -m experiments text`: trains, resumes, continues a text; wrong flags and files end in one line."""

import json

import jax
import numpy as np
import pytest

from experiments.data import texts
from experiments.errors import DataError
from experiments.text import figure
from experiments.text.model import Model, decode, encode, make_network, pieces
from experiments.text.windows import in_a_row, random_batches
from tests.support.commands import command

SMALL = ["--model", "lstm", "--width", "8", "--steps", "6", "--block", "10", "--batch-size", "3", "--characters", "30"]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "fox.txt"
    path.write_text("The quick brown fox jumps over the lazy dog.\n" * 40, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(text_file):
    """The folder of results of a small training."""
    results = text_file.parent / "results"
    assert command(["text", "--data", text_file, *SMALL, "--results", results]) == 0
    return results


def test_a_training_leaves_its_files(trained, text_file):
    folder = trained / "text"
    run = json.loads((folder / "run.json").read_text())
    assert run["text"] == {"name": "fox.txt", "characters": 1800, "sha256": texts.read(text_file).sha256}
    assert run["model"]["kind"] == "lstm"
    assert len((folder / "sample.txt").read_text()) == 30
    assert (folder / "figure.png").stat().st_size > 10_000
    rows = (folder / "history.csv").read_text().splitlines()
    assert rows[0] == "epoch,cost,validation_cost"
    assert len(rows) == 7


def test_generate_continues_a_prompt(trained, capsys):
    arguments = ["text", "--generate", "The dog", "--characters", "25", "--results", trained]
    written = []
    for seed in (0, 0, 1):
        assert command([*arguments, "--seed", seed]) == 0
        written.append(capsys.readouterr().out)
    assert written[0].startswith("The dog")
    assert len(written[0]) == len("The dog") + 25 + 1
    assert written[0] == written[1] != written[2]


@pytest.mark.slow
def test_a_second_run_resumes(text_file, tmp_path, capsys):
    arguments = ["text", "--data", text_file, *SMALL, "--results", tmp_path, "--checkpoints", tmp_path / "checkpoints"]
    assert command(arguments) == 0
    first = (tmp_path / "text" / "history.csv").read_bytes()
    capsys.readouterr()
    assert command(arguments) == 0
    assert "resum" in capsys.readouterr().out
    assert (tmp_path / "text" / "history.csv").read_bytes() == first
    assert command([*arguments, "--learning-rate", "0.01"]) == 2
    error = capsys.readouterr().err
    assert "--checkpoints: must be a folder of checkpoints of this same training" in error
    assert error.endswith("repeat all flags of that training (its steps and rates, too), or name another folder\n")
    assert error.count("\n") == 1
    other = tmp_path / "other.txt"  # the ids of its characters are the same
    other.write_text(text_file.read_text(encoding="utf-8").replace("z", "~"), encoding="utf-8")
    assert command([*arguments, "--data", other]) == 2
    assert "windows of a text with the SHA-256" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["text", pytest.param("digits", marks=pytest.mark.slow)])
def test_checkpoints_in_what_is_no_folder(name, text_file, tmp_path, capsys):
    arguments = ["--data", text_file, *SMALL] if name == "text" else ["--epochs", 1]
    assert command([name, *arguments, "--results", tmp_path, "--checkpoints", text_file]) == 2
    assert f"--checkpoints: {text_file}: must be a folder, got a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "missing.txt"], "missing.txt: cannot be read"),
        (["--heads", "3", "--model", "gpt"], "--width must be a multiple of --heads, 3, got 8"),
        (["--block", "1", "--model", "gpt"], "--block must be at least 2, got 1"),
        (["--top-p", "1.5"], "--top-p must be in (0, 1]"),
        (["--temperature", "-1"], "--temperature must be finite and at least 0"),
        (["--block", "5000"], "--block must be below 180"),
        (["--batch-size", "1000000"], "--batch-size must be at most"),
        (["--width", "10000", "--layers", "20"], "--layers, --width and --block must be"),
    ],
)
def test_wrong_flags_end_in_one_line(arguments, message, text_file, tmp_path, capsys):
    base = ["text", "--data", text_file, *SMALL, "--results", tmp_path]
    assert command([*base, *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"short", "fewer than 1,000"), (b"a\xff" * 1000, "not a text in UTF-8"), (b"", "fewer than 1,000")],
)
def test_files_that_are_no_text(content, message, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        texts.read(path)


def test_generate_without_a_model_or_with_a_damaged_one(trained, tmp_path, capsys):
    assert command(["text", "--generate", "a", "--results", tmp_path]) == 1
    assert "`python -m experiments text` trains a model" in capsys.readouterr().err
    (tmp_path / "text").mkdir()
    for content in ("{}", "[1]", '{"model": {"kind": "lstm"}}', (trained / "text" / "run.json").read_text()):
        (tmp_path / "text" / "run.json").write_text(content)
        assert command(["text", "--generate", "a", "--results", tmp_path]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert command(["text", "--generate", "é", "--results", trained]) == 2
    assert "characters that the model has read in training, got 'é'" in capsys.readouterr().err


def test_windows_of_the_validation_cover_the_text():
    ids = np.arange(23, dtype=np.int32)
    x, y = in_a_row(ids, 5)
    np.testing.assert_array_equal(x.ravel(), np.arange(20))
    np.testing.assert_array_equal(y, x + 1)


def test_batches_of_an_epoch_are_the_same_each_time():
    batches = random_batches(np.arange(50, dtype=np.int32), 7, 4, steps=10, per_epoch=4, seed=3, text="numbers")
    for epoch, size in ((0, 4), (1, 4), (2, 2)):
        once, again = list(batches(epoch)), list(batches(epoch))
        assert len(once) == size
        np.testing.assert_equal(once, again)
        assert all(x.shape == (4, 7) and (y == x + 1).all() and y.max() <= 49 for x, y in once)
    assert not np.array_equal(next(batches(0))[0], next(batches(1))[0])


def test_a_gpt_writes_past_its_block():
    model = Model("gpt", "abcdef\n", 8, 1, 2, 4)
    network = make_network(model)
    params = network.init(jax.random.key(0))
    written = list(pieces(model, network, params, encode(model, "abcabcabcabc"), 10, jax.random.key(1)))
    assert list(map(len, written)) == [4, 4, 2]
    assert decode(model, encode(model, "fade\n")) == "fade\n"


def test_a_sample_with_signs_of_formulas_is_drawn(tmp_path):
    history = {"cost": np.ones(2), "validation_cost": np.ones(2)}
    figure.draw(tmp_path / "figure.png", history, 3, 5, 3.0, "a $x^$ \\frac\n" * 30 + "word " * 50)


def test_tiny_shakespeare_is_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    (tmp_path / "tinyshakespeare.txt").write_text("not the plays")
    with pytest.raises(DataError, match="not tiny Shakespeare"):
        texts.load("shakespeare")


def test_tiny_shakespeare():
    text = texts.find_shakespeare()
    if text is None:
        pytest.skip("tiny Shakespeare is not there: `python -m experiments data --download`, or set FNN_DATA")
    assert (len(text.characters), len(set(text.characters))) == (1_115_394, 65)
