"""A language model that learns to write one character after another.

    python -m experiments text

It learns from the help texts that come with Python; nothing is downloaded. --data shakespeare reads 1.1 MB
of plays instead (see `python -m experiments data --download`), and --data FILE reads your own text. The last
tenth of the text is kept for the validation. After each epoch, a tenth of the steps, it prints what it would
write. Give --checkpoints FOLDER to save checkpoints; if the training is interrupted, repeat the command to
resume it.

    python -m experiments text --generate "The following"

continues a text with the model that was trained last.

Writes figure.png, history.csv, sample.txt, params.safetensors and run.json to results/text.

2,000 steps take about a minute on two cores. The validation cost is then 1.32 nats per character on
Python's help texts; on tiny Shakespeare it is 1.77 with a gpt and 1.65 with an lstm.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import ArrayLike

import fnn
from experiments import STARTED, flags, reports
from experiments.data import texts
from experiments.data.texts import Text
from experiments.errors import ExperimentError, at_least, needs, usage
from experiments.examples import common
from experiments.saved_models import PARAMS, RUN, save
from experiments.text import figure
from experiments.text.model import Model, encode, encode_prompt, load, make_network, pieces
from experiments.text.windows import in_a_row, random_batches, split
from fnn.types import FitResult, GradientTransformation, Layer, TrainState

LOSS = fnn.token_cross_entropy()
REPORTS = 10
SHOWN = 200  # characters of a sample during training
DEFAULTS = {"gpt": (4, 128, 3e-3), "lstm": (1, 256, 3e-3), "gru": (1, 256, 3e-3), "rnn": (1, 256, 1e-3)}


@dataclass(frozen=True)
class Config:
    model: Literal["gpt", "lstm", "gru", "rnn"] = "gpt"
    """The network: a transformer, or recurrent layers."""
    data: str = texts.TOPICS
    """A text file in UTF-8; or topics, Python's help texts; or shakespeare."""
    steps: int = 2000
    """Number of steps of training."""
    batch_size: int = 12
    """Windows of the text per step."""
    block: int = 64
    """Characters per window. A gpt never looks further back."""
    layers: int | None = None
    """Blocks of the gpt, or recurrent layers. None: 4 for a gpt, else 1."""
    heads: int = 4
    """Heads of attention in each block of the gpt."""
    width: int | None = None
    """Features between the blocks of the gpt, or units of each recurrent layer. None: 128 for a gpt, else 256."""
    learning_rate: float | None = None
    """Learning rate of AdamW at its highest. None: 0.001 for an rnn, else 0.003."""
    seed: int = 0
    """Seed of the initial weights, the windows and the samples."""
    checkpoints: Path | None = None
    """Folder for checkpoints; training resumes from the newest one in it. None: no checkpoints."""
    generate: str | None = None
    """Train nothing: continue this text with the model in the folder of --results. Of the other flags, only --seed,
    --characters, --temperature, --top-k and --top-p then count."""
    characters: int = 500
    """Characters to write with --generate, and in sample.txt."""
    temperature: float = 0.8
    """Logits are divided by it before a character is drawn. 0: always the most probable one."""
    top_k: int | None = None
    """Draw from this many most probable characters only. None: from all."""
    top_p: float | None = None
    """Draw from the fewest characters that have this probability together. None: from all."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder text."""


def check(config: Config) -> None:
    """Raise UsageError, naming the flag, for an invalid value."""
    counts = ("steps", "batch_size", "block", "layers", "heads", "width", "characters", "top_k")
    common.check_flags(config, *counts)
    at_least("--temperature", config.temperature, 0.0)
    if config.top_p is not None and not 0 < config.top_p <= 1:
        raise usage("--top-p", "in (0, 1]", config.top_p)
    if config.generate is not None:
        return
    if config.model == "gpt":
        at_least("--block", config.block, 2)
    width = config.width or DEFAULTS[config.model][1]
    if config.model == "gpt" and width % config.heads:
        raise usage("--width", f"a multiple of --heads, {config.heads}", width)


def check_size(config: Config, network: Layer) -> None:
    """Raise UsageError if the network or a batch is too large for this machine."""
    leaves = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0)))
    weights = sum(leaf.size for leaf in leaves)
    if weights > flags.WEIGHTS:
        expected = f"those of a network of at most {flags.WEIGHTS:,} parameters"
        raise usage("--layers, --width and --block", expected, f"{weights:,}")
    if config.batch_size * config.block > flags.EXAMPLES * 10:
        expected = f"at most {flags.EXAMPLES * 10 // config.block:,} with this --block"
        raise usage("--batch-size", expected, config.batch_size)


def options(config: Config) -> dict[str, Any]:
    """Return how `fnn.sample` is to draw characters."""
    return {"temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}


def make_optimizer(rate: float, steps: int) -> GradientTransformation:
    """AdamW with gradients clipped at 1. The rate rises over the first twentieth, then falls to a tenth as a cosine."""
    warm = max(1, steps // 20)

    def schedule(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        progress = jnp.clip((step - warm) / max(1, steps - warm), 0.0, 1.0)
        return rate * jnp.where(step < warm, (step + 1) / warm, 0.55 + 0.45 * jnp.cos(jnp.pi * progress))

    matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim >= 2, params)
    clip, adam = optax.clip_by_global_norm(1.0), cast(Any, fnn.adam(1.0, beta2=0.99))
    decay = optax.add_decayed_weights(-0.1, matrices)  # the updates of `adam` have the sign of a descent already
    return GradientTransformation(*optax.chain(clip, adam, decay, optax.scale_by_schedule(schedule)))


def train(config: Config, model: Model, network: Layer, ids: np.ndarray, held_out: np.ndarray, text: Text) -> FitResult:
    """Train as the flags say and print samples; raise ExperimentError if the training diverges."""
    rate = config.learning_rate or DEFAULTS[config.model][2]
    per_epoch = math.ceil(config.steps / REPORTS)
    key = jax.random.key(config.seed)
    start = encode_prompt(model, "")
    name = f"a text with the SHA-256 {text.sha256[:16]}"

    def show(epoch: int, values: Mapping[str, Any], state: TrainState) -> None:
        written = pieces(model, network, state.params, start, SHOWN, jax.random.fold_in(key, epoch), **options(config))
        print("\n".join(f"    | {line}" for line in "".join(written).strip("\n").split("\n")), flush=True)

    try:
        with common.checkpoint_errors(config.checkpoints):
            return fnn.fit(
                network,
                LOSS,
                make_optimizer(rate, config.steps),
                random_batches(ids, model.block, config.batch_size, config.steps, per_epoch, config.seed, name),
                epochs=math.ceil(config.steps / per_epoch),
                batch_size=config.batch_size,
                key=key,
                validation=in_a_row(held_out, model.block),
                metrics={},
                checkpoint_dir=config.checkpoints,
                resume=config.checkpoints is not None,
                callback=show,
            )
    except FloatingPointError as error:
        raise ExperimentError(f"{error}: try a --learning-rate below {rate:g}") from None


def generate(config: Config, prompt: str) -> None:
    """Continue a text with the model that was trained last, and print it."""
    model, params = load(config.results / "text")
    network, ids = make_network(model), encode_prompt(model, prompt)
    key = jax.random.key(config.seed)
    print(prompt, end="", flush=True)
    for piece in pieces(model, network, params, ids, config.characters, key, **options(config)):
        print(piece, end="", flush=True)
    print()


def main(config: Config) -> None:
    """Train, or continue a text."""
    check(config)
    if config.generate is None:
        run(config)
    else:
        generate(config, config.generate)


def run(config: Config) -> None:
    """Train, show samples, and save the results."""
    needs("matplotlib", "pooch")
    text = texts.load(config.data)
    layers, width, _ = DEFAULTS[config.model]
    characters = "".join(sorted(set(text.characters)))
    model = Model(config.model, characters, config.block, config.layers or layers, config.heads, config.width or width)
    ids, held_out = split(encode(model, text.characters))
    if len(held_out) <= config.block:
        raise usage("--block", f"below {len(held_out):,}, the characters of the validation part", config.block)
    folder = reports.make_folder(config.results, "text", RUN)
    network = make_network(model)
    check_size(config, network)
    print(f"{text.name}: {len(text.characters):,} characters, {len(characters)} different; {len(held_out):,} validate")
    print(f"\n{fnn.summary(network, (1, config.block))}\n", flush=True)

    start = time.perf_counter()
    result = train(config, model, network, ids, held_out, text)
    seconds = {"compile_and_train": round(time.perf_counter() - start, 2)}
    cost = float(result.history["validation_cost"][-1])
    counts = np.bincount(ids, minlength=len(characters)) + 1
    unigram = float(-np.log(counts / counts.sum())[held_out].mean())
    common.check_cost(cost, unigram)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    prompt = encode_prompt(model, "")
    sample = "".join(pieces(model, network, result.state.params, prompt, config.characters, key, **options(config)))

    reports.save_history(folder / "history.csv", result.history)
    (folder / "sample.txt").write_text(sample, encoding="utf-8")
    per_epoch = math.ceil(config.steps / REPORTS)
    figure.draw(folder / "figure.png", result.history, per_epoch, config.steps, unigram, sample)
    stored = save(folder, model, result.state.params)
    seconds["whole"] = round(time.perf_counter() - STARTED, 2)
    report = {
        "experiment": "text",
        "config": asdict(config),
        "versions": reports.versions(),
        "model": stored,
        "text": {"name": text.name, "characters": len(text.characters), "sha256": text.sha256},
        "validation": {"nats_per_character": cost, "bits_per_character": cost / math.log(2), "frequencies": unigram},
        "seconds": seconds,
    }
    reports.save_json(folder / RUN, report)
    print(f"\n{sample}\n")
    print(f"validation: {cost:.4f} nats per character; frequencies of characters alone: {unigram:.2f}")
    print(f"time: {seconds['compile_and_train']:.1f} s to compile and train, {seconds['whole']:.1f} s in total")
    names = ("figure.png", "history.csv", "sample.txt", PARAMS, RUN)
    print(f"saved: {', '.join(str(folder / name) for name in names)}")
