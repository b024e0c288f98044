"""The runnable examples, each from its flags to its files, with small data in place of large data sets."""

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from experiments.__main__ import main
from experiments.data import cats, generators
from experiments.data.prices import houses
from experiments.errors import DataError
from experiments.examples import mnist
from experiments.examples.cats import read_image

PNG = b"\x89PNG\r\n\x1a\n"


def report(tmp_path: Path, *arguments: str) -> dict:
    """Run the command, check that it saved a figure, and return the content of its run.json."""
    assert main([*arguments, "--results", str(tmp_path)]) == 0
    folder = tmp_path / arguments[0]
    assert (folder / "figure.png").read_bytes()[:8] == PNG
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate that no data are available: no data folder, an empty cache, no network."""
    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)

    def offline(url, path, pooch):
        raise ConnectionError("no route")

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **options: offline)


def write_cats(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write reddish cats and bluish non-cats to files in FNN_DATA, and make the module expect these files."""
    rng, expected = np.random.default_rng(1), {}
    for part, n in (("train", 40), ("test", 20)):
        y = np.arange(n) % 2
        tint = np.array([[0, 50, 100], [100, 50, 0]])[y]
        x = (rng.integers(0, 156, (n, 64, 64, 3)) + tint[:, None, None]).astype(np.uint8)
        path = folder / f"{part}_catvnoncat.h5"
        with h5py.File(path, "w") as file:
            file[f"{part}_set_x"], file[f"{part}_set_y"] = x, y
        expected[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(cats, "FILES", expected)
    monkeypatch.setenv("FNN_DATA", str(folder))


@pytest.mark.slow
def test_cats_and_a_users_own_image(tmp_path, monkeypatch, capsys):
    write_cats(tmp_path, monkeypatch)
    Image.new("RGBA", (90, 50), (250, 120, 20, 255)).save(tmp_path / "own.png")
    values = report(tmp_path, "cats", "--iterations", "60", "--image", str(tmp_path / "own.png"))
    assert values["results"]["test"]["accuracy"] == 1.0
    assert values["probability_of_a_cat"] > 0.9
    assert "own.png: a cat with probability" in capsys.readouterr().out
    Image.new("RGB", (30, 70), (20, 120, 250)).save(tmp_path / "blue.jpg")
    flags = ["--network", "3-2-1", "--iterations", "60", "--image", str(tmp_path / "blue.jpg")]
    assert report(tmp_path, "cats", *flags)["probability_of_a_cat"] < 0.5


def test_read_image(tmp_path):
    colours = np.zeros((64, 100, 3), np.uint8)
    colours[:, 18:82] = np.arange(64, dtype=np.uint8)[:, None, None]
    Image.fromarray(colours).save(tmp_path / "wide.png")
    image = read_image(tmp_path / "wide.png")
    np.testing.assert_allclose(image, colours[:, 18:82].astype(np.float32) / np.float32(255), atol=1e-7)
    (tmp_path / "text.png").write_text("no image")
    for name, reason in (("text.png", "not an image"), ("absent.png", "No such file")):
        with pytest.raises(DataError, match=rf"--image: cannot read .*{name}: {reason}"):
            read_image(tmp_path / name)


def test_cats_that_cannot_be_downloaded(no_data, tmp_path, capsys):
    assert main(["cats", "--results", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "train_catvnoncat.h5: cannot be downloaded" in error


def test_data_lists_what_is_available(no_data, tmp_path, monkeypatch, capsys):
    assert main(["data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (digits,) = [line for line in lines if "digits  " in line]
    assert "1,797" in digits
    assert "64" in digits
    (absent,) = [line for line in lines if "│ cats " in line]
    assert "not found" in absent
    write_cats(tmp_path, monkeypatch)
    assert main(["data"]) == 0
    (found,) = [line for line in capsys.readouterr().out.splitlines() if "│ cats " in line]
    assert "40 + 20" in found


def test_data_reports_failed_downloads(no_data, tmp_path, monkeypatch, capsys):
    assert main(["data", "--download"]) == 1
    error = capsys.readouterr().err
    assert error.count("cannot be downloaded") == 3
    assert "t10k-labels-idx1-ubyte.gz" in error
    assert "test_catvnoncat.h5" in error
    assert "tinyshakespeare.txt" in error
    write_cats(tmp_path, monkeypatch)
    (tmp_path / "test_catvnoncat.h5").write_bytes(b"damaged")
    assert main(["data"]) == 1
    out, error = capsys.readouterr()
    assert "cannot be used" in out
    assert "test_catvnoncat.h5: not the test_catvnoncat.h5 of the courses" in error


@pytest.mark.parametrize(
    "network", [pytest.param("dense", marks=pytest.mark.slow), pytest.param("convnet", marks=pytest.mark.exhaustive)]
)
def test_mnist(network, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "load_mnist", lambda: generators.mnist_like(0, train=400, test=100))
    flags = ["--network", network, "--epochs", "4", "--images", "400", "--batch-size", "16"]
    results = report(tmp_path, "mnist", *flags)["results"]
    assert [results[name]["examples"] for name in ("train", "validation", "test")] == [320, 80, 100]
    assert results["test"]["accuracy"] > 0.3
    assert (tmp_path / "mnist" / "params.safetensors").stat().st_size > 100_000


def test_planar(tmp_path):
    results = report(tmp_path, "planar", "--iterations", "600")["results"]
    assert results["logistic regression"]["accuracy"] < 0.6
    assert results["4 hidden units"]["accuracy"] > 0.85


def test_housing_and_a_users_own_house(tmp_path):
    drawn = houses(0, 2000)  # only the first 1,400 are used for training
    numbers = [str(number) for number in drawn.x[1500]]
    values = report(tmp_path, "housing", "--iterations", "600", "--house", *numbers)
    assert values["r_squared"]["4-3-1 network"] > values["r_squared"]["line"] + 0.1
    assert values["prices_of_your_house"]["4-3-1 network"] == pytest.approx(drawn.factors[1500].sum(), abs=0.4)


@pytest.mark.slow
def test_animals(tmp_path):
    exact = report(tmp_path, "animals")["exact"]
    assert exact["any number of animals"]["sigmoids"] > 0.93
    assert exact["any number of animals"]["softmax"] < 0.5
    assert min(exact["exactly one animal"].values()) > 0.97


@pytest.mark.exhaustive
def test_ball(tmp_path):
    accuracy = report(tmp_path, "ball", "--epochs", "15")["accuracy"]
    assert min(accuracy["filter and its maximum"].values()) > 0.95
    assert accuracy["logistic regression"]["where it was in training"] > 0.9
    assert accuracy["logistic regression"]["in the opposite corner"] < 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["planar", "--hidden", "0"], "--hidden must be at least 1"),
        (["planar", "--points", "3"], "--points must be at least 10"),
        (["planar", "--learning-rate", "nan"], "--learning-rate must be finite, got nan"),
        (["housing", "--house", "1", "2", "nan", "3"], "--house must be finite, got nan"),
        (["housing", "--starts", "0"], "--starts must be at least 1"),
        (["animals", "--images", "2"], "--images must be at least 10"),
        (["ball", "--noise", "-1"], "--noise must be finite and at least 0"),
        (["ball", "--seed", "-1"], "--seed must be in 0..4294967295"),
        (["cats", "--iterations", "0"], "--iterations must be at least 1"),
        (["mnist", "--l2", "-1"], "--l2 must be finite and at least 0"),
    ],
)
def test_invalid_flags(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_diverging_trainings_end_in_one_line(tmp_path, capsys):
    assert main(["housing", "--learning-rate", "1e6", "--iterations", "5", "--results", str(tmp_path)]) == 1
    assert "the training diverged: the cost is " in capsys.readouterr().err
    assert main(["animals", "--learning-rate", "1e6", "--iterations", "20", "--results", str(tmp_path)]) == 1
    assert "try a smaller --learning-rate" in capsys.readouterr().err
