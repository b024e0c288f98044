"""The files of a model that a command trained, for commands that use it: its parameters, and what run.json holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fnn
from experiments.errors import DataError
from fnn.types import Params

PARAMS, RUN = "params.safetensors", "run.json"

Model = TypeVar("Model", bound=NamedTuple)


def save(folder: Path, model: Any, params: Params) -> dict[str, Any]:
    """Write the parameters, and return what run.json must store about the model, a NamedTuple."""
    fnn.checkpoint.export_params(folder / PARAMS, params)
    return model._asdict()


def load(
    folder: Path, command: str, hint: str, build: Callable[[dict[str, Any]], tuple[Model, Params]]
) -> tuple[Model, Params]:
    """Load the model and the parameters that a command wrote into this folder.

    Args:
      folder: the folder.
      command: the name of the command.
      hint: how to get such a folder.
      build: what run.json stores about the model -> the model, and parameters of its shapes.

    Raises:
      DataError: if files are missing or damaged.
    """
    path = folder / RUN
    try:
        model, like = build(json.loads(path.read_text(encoding="utf-8"))["model"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; {hint}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not written by `{command}`: {type(error).__name__} {error}") from None
    try:
        return model, fnn.checkpoint.import_params(folder / PARAMS, like)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / PARAMS}: {error}") from None
