"""What fit saves, and how it goes on from what was saved: state, early stopping, history, the epoch under way."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks
from fnn.checkpoint import DamagedError, atomic, manifest, store
from fnn.sharding import agreement
from fnn.training.programs import Carry


class CheckpointOptions(NamedTuple):
    """fit's options for checkpoints, checked, and the configuration that goes with them."""

    folder: Path
    every: int
    every_steps: int | None
    keep: int
    resume: bool
    configuration: dict[str, Any]


class LoopState(NamedTuple):
    """Where a training is: the carry, and within an epoch the number of its steps made and what they reported."""

    carry: Carry
    position: int = 0
    outs: PyTree = None


def _beside_state(place: LoopState) -> dict[str, PyTree]:
    """All but the state and what the manifest holds, as a tree to save, or of the form to expect."""
    tree: dict[str, PyTree] = {"history": place.carry.history}
    if place.carry.best is not None:
        tree["best"] = place.carry.best
    if place.position:
        tree["epoch"] = place.outs
    return tree


def save_checkpoint(saving: CheckpointOptions, place: LoopState) -> Path:
    """Writes a checkpoint, durably, then removes those that are neither among the last `keep` nor the best."""
    carry, epoch = place.carry, int(place.carry.epoch)
    history = {name: np.asarray(column)[:epoch] for name, column in carry.history.items()}
    cost = history.get("validation_cost", history["cost"])
    score = float(cost[-1]) if epoch and place.position == 0 else None  # only where an epoch ends is there a cost
    about = {"epoch": epoch, "position": place.position, "score": score}
    beside = _beside_state(place._replace(carry=carry._replace(history=history)))
    trees = {manifest.STATE: carry.state, manifest.TRAINING: beside}
    path = store.write(saving.folder, int(carry.state.step), trees, training=about, configuration=saving.configuration)
    with agreement.fail_together("fit"):
        if agreement.is_main_process():
            _prune(saving)
    return path


def _score(path: Path) -> float | None:
    try:
        return manifest.read_manifest(path).get("training", {}).get("score")
    except DamagedError:
        return None


def _prune(saving: CheckpointOptions) -> None:
    paths = store.list_checkpoints(saving.folder)
    scores = {path: score for path in paths if (score := _score(path)) is not None}
    best = min(scores, key=lambda path: scores[path], default=None)  # of equal ones the first
    for path in paths[: -saving.keep]:
        if path != best:
            atomic.remove_folder(path)


def find_checkpoint(
    saving: CheckpointOptions, start: LoopState, epoch_outs: Callable[[int], PyTree], epochs: int
) -> tuple[LoopState, Path] | None:
    """Where to go on, and the checkpoint that says so: the newest good one. None if there is none and none was.

    ValueError if it is of another training; DamagedError if there are some and none is good. Damaged ones newer than
    the one used are renamed to `damaged-…`, out of the way and kept.
    """
    store.check_writable("fit", start.carry)
    if not saving.resume:
        present = store.list_checkpoints(saving.folder)
        if present:
            came = f"{saving.folder} with {len(present)} of them, {present[-1].name} the last"
            raise checks.fail("fit", "checkpoint_dir", "without checkpoints, or `resume` True to go on", came=came)
        return None
    loaded, damaged = store.newest(saving.folder, "fit")
    if loaded is None:
        return None
    training = loaded.manifest.get("training")
    if training is None:
        expected = "a folder of checkpoints of fit (a saved state alone is for `state`)"
        raise checks.fail("fit", "checkpoint_dir", expected, came=str(loaded.path))
    _check_same(saving, loaded)
    epoch, position = training["epoch"], training["position"]
    if epochs < epoch:
        expected = f"at least {epoch}, which {loaded.path} has behind it"
        raise checks.fail("fit", "epochs", expected, epochs)
    carry = start.carry
    columns = {
        name: jax.ShapeDtypeStruct((epoch,), column.dtype, sharding=column.sharding)
        for name, column in carry.history.items()
    }
    form = LoopState(carry._replace(history=columns), position, epoch_outs(position) if position else None)
    state = store.restore_tree("fit", loaded, manifest.STATE, carry.state)
    beside = store.restore_tree("fit", loaded, manifest.TRAINING, _beside_state(form))
    history = {name: column.at[:epoch].set(beside["history"][name]) for name, column in carry.history.items()}
    with agreement.fail_together("fit"):
        for path in damaged if agreement.is_main_process() else []:
            _set_aside(path)
    carry = Carry(state, history, jnp.asarray(epoch, jnp.int32), jnp.asarray(True), beside.get("best"))
    return LoopState(carry, position, beside.get("epoch")), loaded.path


def _check_same(saving: CheckpointOptions, loaded: manifest.VerifiedCheckpoint) -> None:
    """Whether what was saved is of a training like this one; a warning where the libraries are other versions."""
    then, now = loaded.manifest["configuration"], saving.configuration
    different = [name for name in sorted(then | now) if not _same(then.get(name), now.get(name))]
    if different:
        changes = "; ".join(f"{name} was {then.get(name)}, is {now.get(name)}" for name in different)
        expected = "of a training like this one (`state` takes what fnn.checkpoint.restore returns for a new one)"
        raise checks.fail("fit", "checkpoint_dir", expected, came=f"{loaded.path}: {changes}")
    then, now = loaded.manifest["versions"], manifest.versions()
    changes = [
        f"{name} {then.get(name)} -> {now.get(name)}" for name in sorted(then | now) if then.get(name) != now.get(name)
    ]
    if changes and agreement.is_main_process():
        message = f"fit: {loaded.path} was saved with other versions ({', '.join(changes)}): results may differ in bits"
        warnings.warn(message, store.CheckpointWarning, stacklevel=4)


def _same(then: Any, now: Any) -> bool:
    """Whether the two are equal; data of one process (#) and of several (~) are told apart by dtype and shape alone."""
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return all(map(_same, then, now))
    if isinstance(then, str) and isinstance(now, str) and ("~" in then) != ("~" in now):
        return then.partition(" ~")[0].partition(" #")[0] == now.partition(" ~")[0].partition(" #")[0]
    return then == now


def _set_aside(path: Path) -> None:
    names = (path.with_name(f"damaged-{path.name}{suffix}") for suffix in ("", *(f"-{i}" for i in range(1, 10_000))))
    os.rename(path, next(name for name in names if not name.exists()))
