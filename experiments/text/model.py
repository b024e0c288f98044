"""A language model of characters: its network, its files, and the text that it writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int32

import fnn
from experiments import saved_models
from experiments.errors import usage
from fnn.types import Layer, Params, PRNGKey

RECURRENT = {"lstm": fnn.lstm, "gru": fnn.gru, "rnn": fnn.rnn}
EMBEDDING = 64  # features of a character, for recurrent networks


class Model(NamedTuple):
    """Everything besides the parameters that it takes to write text.

    kind         gpt, lstm, gru or rnn
    characters   the vocabulary, in the order of the ids
    block        characters of a window in training; a gpt reads at most so many at a time
    layers       blocks, or recurrent layers
    heads        heads of attention of each block, for a gpt
    width        features between the blocks, or units of each recurrent layer
    """

    kind: str
    characters: str
    block: int
    layers: int
    heads: int
    width: int


def make_network(model: Model) -> Layer:
    """Build the network, from ids (batch, time) to logits (batch, time, characters)."""
    n = len(model.characters)
    if model.kind == "gpt":
        return fnn.gpt(n, model.block, model.layers, model.heads, model.width)
    layers = [fnn.embedding(n, EMBEDDING)]
    for n_in in [EMBEDDING, *[model.width] * (model.layers - 1)]:
        layers.append(RECURRENT[model.kind](n_in, model.width))
    return fnn.serial(*layers, fnn.dense(model.width, n))


def encode(model: Model, text: str) -> Int32[np.ndarray, " time"]:
    """Return the ids of a text; raise KeyError for a character that is not in the vocabulary."""
    ids = {character: i for i, character in enumerate(model.characters)}
    return np.fromiter((ids[character] for character in text), np.int32, len(text))


def decode(model: Model, ids: Any) -> str:
    """Return the text of ids (time,)."""
    return "".join(model.characters[i] for i in np.asarray(ids).tolist())


def encode_prompt(model: Model, prompt: str) -> Int32[np.ndarray, " time"]:
    """Return the ids of a prompt; an empty one becomes a line break. Raise UsageError for an unknown character."""
    first = "\n" if "\n" in model.characters else model.characters[0]
    unknown = next((character for character in prompt if character not in model.characters), None)
    if unknown is not None:
        raise usage("--generate", "a text of characters that the model has read in training", repr(unknown))
    return encode(model, prompt or first)


def pieces(
    model: Model, network: Layer, params: Params, prompt: np.ndarray, n: int, key: PRNGKey, **options: Any
) -> Iterator[str]:
    """Yield the text after a prompt, n characters in all.

    A recurrent network writes it in one piece. A gpt reads at most a block: it goes on from the second half of what it
    has read and written, with half a block at a time.

    Args:
      model: the model.
      network: its network.
      params: the parameters.
      prompt: the ids (time,), at least one.
      n: the number of characters.
      key: PRNG key.
      **options: those of `fnn.sample`, such as temperature.
    """
    half = max(1, model.block // 2)
    size = n if model.kind != "gpt" else min(n, model.block - half)
    context = prompt
    for piece in range(-(-n // size)):
        if model.kind == "gpt":
            context = context[-half:]
        new = fnn.sample(network, params, context[None], size, jax.random.fold_in(key, piece), **options)[0]
        context = np.concatenate([context, np.asarray(new, np.int32)])
        yield decode(model, new[: n - piece * size])


def load(folder: Path) -> tuple[Model, Params]:
    """Load what `text` wrote into this folder.

    Raise DataError if files are missing or damaged.
    """

    def build(stored: dict[str, Any]) -> tuple[Model, Params]:
        model = Model(**stored)
        return model, jax.eval_shape(make_network(model).init, jax.random.key(0))

    hint = "`python -m experiments text` trains a model, --results names its folder"
    return saved_models.load(folder, "text", hint, build)
