"""The figure of `text`: the costs over the steps, and the beginning of a sample."""

import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments import figures

WIDTH, LINES = 70, 15  # of the sample


def draw(
    path: Path, history: Mapping[str, np.ndarray], per_epoch: int, steps: int, unigram: float, sample: str
) -> None:
    """Draw and save the figure.

    Args:
      path: the file.
      history: "cost" and "validation_cost", (epochs,).
      per_epoch: steps per epoch.
      steps: steps in all.
      unigram: the cost of predicting the frequencies of the characters.
      sample: a text that the model wrote.
    """
    from matplotlib.figure import Figure

    with figures.style():
        figure = Figure(figsize=(12, 4.4), layout="constrained")
        curves, text = figure.subplots(1, 2, width_ratios=(1, 1.15))
        ends = np.minimum(np.arange(1, len(history["cost"]) + 1) * per_epoch, steps)
        middles = (ends + np.concatenate([[0], ends[:-1]])) / 2
        curves.plot(
            middles, history["cost"], color=figures.BLUE, marker="o", label="training, mean over the steps around it"
        )
        curves.plot(ends, history["validation_cost"], color=figures.ORANGE, ls="--", marker="s", label="validation")
        curves.axhline(unigram, color=figures.GREY, lw=1.4, ls=":", label="frequencies of characters alone")
        curves.set(title="Cost, nats per character", xlabel="step", xlim=(0, steps * 1.02), ylim=(0, None))
        curves.legend()
        text.set_title("What it writes after training")
        text.axis("off")
        lines = [part for line in sample.strip("\n").split("\n") for part in textwrap.wrap(line, WIDTH) or [""]]
        shown = "\n".join(lines[:LINES]).replace("$", r"\$")
        text.text(0, 0.97, shown, va="top", family="monospace", fontsize=9.5, transform=text.transAxes)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # the font lacks the letters of some languages
            figures.save(figure, path)
