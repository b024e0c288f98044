"""The files of a model that a command trained, for commands that use it: its parameters, and what run.json holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fnn
from experiments.errors import DataError
from fnn.types import Params

PARAMS, RUN = "params.safetensors", "run.json"
_LARGEST = 2**27  # bytes of run.json

Model = TypeVar("Model", bound=NamedTuple)
Built = TypeVar("Built")


def save(folder: Path, model: Any, params: Params) -> dict[str, Any]:
    """Write the parameters, and return what run.json must store about the model, a NamedTuple."""
    fnn.checkpoint.export_params(folder / PARAMS, params)
    return model._asdict()


def read(folder: Path, command: str, hint: str, build: Callable[[dict[str, Any]], Built]) -> Built:
    """Build what a command stored about its model in run.json.

    Args:
      folder: the folder that the command wrote.
      command: the name of the command.
      hint: how to get such a folder.
      build: what run.json stores about the model -> the model.

    Raises:
      DataError: if the file is missing, damaged or not of this command.
    """
    path = folder / RUN
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: not written by `{command}`: it has more than {_LARGEST:,} bytes")
        return build(json.loads(path.read_text(encoding="utf-8"))["model"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; {hint}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: not written by `{command}`: {type(error).__name__} {reason}") from None


def load(
    folder: Path, command: str, hint: str, build: Callable[[dict[str, Any]], tuple[Model, Params]]
) -> tuple[Model, Params]:
    """Load the model and the parameters that a command wrote into this folder.

    Args:
      folder, command, hint: as in `read`.
      build: what run.json stores about the model -> the model, and parameters of its shapes.

    Raises:
      DataError: if files are missing or damaged.
    """
    model, like = read(folder, command, hint, build)
    return model, load_params(folder, like)


def load_params(folder: Path, like: Params) -> Params:
    """Load the parameters in this folder, of these shapes; raise DataError if they are missing or damaged."""
    try:
        return fnn.checkpoint.import_params(folder / PARAMS, like)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / PARAMS}: {error}") from None
