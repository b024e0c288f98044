"""Stop a training inside an epoch and resume it, with data that are streamed."""

import json
import shutil

from fnn.checkpoint import store
from tests.support.streaming import BUDGET, fit
from tests.support.training import bits


def resumed(data, folder, step, seen=None, **options):
    """Train, take the checkpoint after a step, resume from it, and compare all bits. Returns the place it recorded.

    `seen` is emptied before the training is resumed.
    """
    options = {"device_memory": BUDGET} | options
    uninterrupted = fit(data, **options)
    whole, part = folder / "whole", folder / "part"
    saved = fit(data, checkpoint_dir=whole, checkpoint_every_steps=4, keep=100, **options)
    assert bits(saved) == bits(uninterrupted)
    for path in store.list_checkpoints(whole):
        if int(path.name[5:]) <= step:
            shutil.copytree(path, part / path.name)
    training = json.loads((part / f"step-{step:08d}" / "manifest.json").read_text())["training"]
    assert training["position"] > 0
    if seen is not None:
        seen.clear()
    assert bits(fit(data, checkpoint_dir=part, resume=True, **options)) == bits(uninterrupted)
    return training["data"]
