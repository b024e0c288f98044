"""Saving and resuming a training: its state, its history, early stopping, and the epoch under way."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks
from fnn.checkpoint import manifest, store, writing
from fnn.checkpoint.background import Saves
from fnn.data.process_shares import gather_places
from fnn.sharding import agreement
from fnn.training.compatibility import (
    CHANGEABLE,
    differing_names,
    find_differences,
    find_other_code,
    is_version_1,
)
from fnn.training.history import first_rows
from fnn.training.programs import Carry
from fnn.training.pruning import Scores, prune


class CheckpointOptions(NamedTuple):
    """The checked options of `fit` for checkpoints.

    Attributes:
      saves: the saves into the folder of checkpoints.
      every: number of epochs from one checkpoint to the next.
      every_steps: number of steps between checkpoints, in addition to those of `every`. None: checkpoints at the end of
        epochs only.
      keep: number of newest checkpoints to keep. The best one is kept too.
      resume: whether to resume from the newest good checkpoint.
      fingerprint: the fingerprint of this training, which every checkpoint records.
      scores: the scores of checkpoints in the folder that are known, so that each is read once.
      allow_changes: names of the entries of the fingerprint that may differ from that of the checkpoint.
    """

    saves: Saves
    every: int
    every_steps: int | None
    keep: int
    resume: bool
    fingerprint: dict[str, Any]
    scores: Scores
    allow_changes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of checkpoints."""
        return self.saves.folder


class LoopState(NamedTuple):
    """The state of the host's loop.

    Attributes:
      carry: the carry of the compiled programs.
      history: name -> (n,), what each epoch reported, on the host. The first `carry.epoch` rows are filled.
      position: number of steps done in the epoch under way; 0 between epochs.
      step_logs: what these steps reported, if the position is not 0.
      place: where a stream is to be read on, as JSON can hold it, if the position is not 0.
    """

    carry: Carry
    history: dict[str, np.ndarray]
    position: int = 0
    step_logs: PyTree = None
    place: dict[str, Any] | None = None


def _training_tree(loop_state: LoopState, history: Mapping[str, Any]) -> dict[str, PyTree]:
    """Return the tree to save beside the train state. Given `ShapeDtypeStruct`s instead of arrays, return the tree that
    a checkpoint is expected to contain.
    """
    tree: dict[str, PyTree] = {"history": history}
    if loop_state.carry.best is not None:
        tree["best"] = loop_state.carry.best
    if loop_state.position:
        tree["epoch"] = loop_state.step_logs
    return tree


def save_checkpoint(options: CheckpointOptions, loop_state: LoopState) -> None:
    """Start to save a checkpoint, after which those that are neither among the last `keep` nor the best are removed.

    Nothing is done if the newest save is of this step, or if no step was done.

    Raises:
      OSError, LockedError: if the save before failed.
    """
    carry, position, epoch = loop_state.carry, loop_state.position, int(loop_state.carry.epoch)
    step = int(carry.state.step)
    if options.saves.step == step:
        return
    history = first_rows(loop_state.history, epoch)
    cost = history.get("validation_cost", history["cost"])
    score = float(cost[-1]) if epoch and position == 0 else None  # inside an epoch there is no cost yet
    training = {"epoch": epoch, "position": position, "score": score}
    if position and loop_state.place is not None:
        training["data"] = gather_places(loop_state.place)
    saved = _training_tree(loop_state, history)
    trees = {manifest.STATE: carry.state, manifest.TRAINING: saved}

    def remove_others(name: str) -> None:
        options.scores[name] = score
        prune(options.saves.held, options.keep, options.scores)

    options.saves.start(step, trees, remove_others, training=training, configuration=options.fingerprint)


def find_checkpoint(
    options: CheckpointOptions, start: LoopState, make_step_logs: Callable[[int], PyTree], epochs: int
) -> tuple[LoopState, Path] | None:
    """Restore the newest good checkpoint. Damaged newer ones are renamed to `damaged-…`.

    Args:
      options: the options of `fit`.
      start: the state before the first epoch, which has the tree, the shapes and the layout to restore.
      make_step_logs: number of steps -> the step logs to expect for them.
      epochs: number of epochs to train, counted from the start of the training.

    Returns:
      The restored state and the checkpoint's path; None if the folder has no checkpoint.

    Raises:
      ValueError: if the folder has checkpoints and `resume` is False, or if they are of another training.
      DamagedError: if there are checkpoints and all of them are damaged.
      TypeError, ValueError: if this training could not be saved, for example because of the dtype of a leaf.
    """
    trees = {manifest.STATE: start.carry.state, manifest.TRAINING: _training_tree(start, start.carry.recent)}
    writing.check_writable("fit", trees, configuration=options.fingerprint)
    if not options.resume:
        present = manifest.list_checkpoints(options.folder)
        if present:
            got = f"{options.folder} with {len(present)}, the newest {present[-1].name}"
            advice = "To resume from it, pass resume=True."
            raise checks.fail("fit", "checkpoint_dir", "a folder without checkpoints", came=got, advice=advice)
        return None
    checkpoint, damaged = store.newest(options.folder, "fit")
    if checkpoint is None:
        return None
    training = checkpoint.manifest.get("training")
    if training is None:
        expected, got = "a folder of checkpoints of fit", f"{checkpoint.path}, a state saved by itself"
        raise checks.fail("fit", "checkpoint_dir", expected, came=got, advice=_restore_advice(checkpoint.path))
    epoch, position = training["epoch"], training["position"]
    _check_same_training(options, checkpoint, position)
    _warn_of_other_versions(checkpoint)
    if epochs < epoch:
        raise checks.fail("fit", "epochs", f"at least {epoch}, the epochs that {checkpoint.path} has done", epochs)
    carry = start.carry
    columns = {
        name: jax.ShapeDtypeStruct((epoch,), column.dtype, sharding=column.sharding)
        for name, column in carry.recent.items()
    }
    like = start._replace(position=position, step_logs=make_step_logs(position) if position else None)
    state = store.restore_tree("fit", checkpoint, manifest.STATE, carry.state)
    if "optimizer" in differing_names(checkpoint.manifest["configuration"], options.fingerprint):
        state = state._replace(opt_state=_with_hyperparameters(state.opt_state, carry.state.opt_state))
    restored = store.restore_tree("fit", checkpoint, manifest.TRAINING, _training_tree(like, columns))
    history = {name: np.array(restored["history"][name]) for name in carry.recent}
    with agreement.fail_together("fit"):
        for path in damaged if agreement.is_main_process() else []:
            _rename_damaged(path)
    carry = Carry(state, carry.recent, jnp.asarray(epoch, jnp.int32), jnp.asarray(True), restored.get("best"))
    return LoopState(carry, history, position, restored.get("epoch"), training.get("data")), checkpoint.path


def _with_hyperparameters(saved: PyTree, fresh: PyTree) -> PyTree:
    """The saved state of an optimizer with the hyperparameters of the new one.

    `optax.inject_hyperparams` keeps numbers such as the learning rate in the state, in a field of this name.
    """
    named = lambda path: any(getattr(part, "name", None) == "hyperparams" for part in path)
    return jax.tree_util.tree_map_with_path(lambda path, old, new: new if named(path) else old, saved, fresh)


def _check_same_training(options: CheckpointOptions, checkpoint: manifest.VerifiedCheckpoint, position: int) -> None:
    """Raise ValueError if a checkpoint is of another training; warn if the checkpoint can only be compared in part."""
    saved, current = checkpoint.manifest["configuration"], options.fingerprint
    allowed = [name for name in options.allow_changes if not (position and name in ("batch_size", "data"))]
    differences = find_differences(saved, current, allowed)
    if differences:
        expected, got = "a folder of checkpoints of this same training", f"{checkpoint.path}: {'; '.join(differences)}"
        advice = _changes_advice(differing_names(saved, current), position) + _restore_advice(checkpoint.path)
        raise checks.fail("fit", "checkpoint_dir", expected, came=got, advice=advice)
    if other := find_other_code(saved, current):
        _warn(
            f"fit: the code of functions in {', '.join(other)} is not what it was when {checkpoint.path} was saved; "
            "the values that they hold are the same"
        )
    if is_version_1(saved):
        _warn(
            f"fit: {checkpoint.path} comes from an earlier version of fnn. Its record of the functions of the network, "
            "the loss and the optimizer cannot be compared; everything else is the same"
        )


def _changes_advice(names: list[str], position: int) -> str:
    """How to go on with the changes, if that is possible."""
    if not set(names) <= set(CHANGEABLE):
        return ""
    if position and {"batch_size", "data"} & set(names):
        return "Inside an epoch neither batch_size nor data can change. "
    return f"To go on with the change, pass allow_changes={tuple(names)}. "


def _restore_advice(path: Path) -> str:
    return (
        f"To start a new training from that state, pass state=fnn.checkpoint.restore({str(path)!r}, like) "
        "and another checkpoint_dir."
    )


def _warn_of_other_versions(checkpoint: manifest.VerifiedCheckpoint) -> None:
    saved, current = checkpoint.manifest["versions"], manifest.versions()
    changes = [
        f"{name} {saved.get(name)} -> {current.get(name)}"
        for name in sorted(saved | current)
        if saved.get(name) != current.get(name)
    ]
    if changes:
        _warn(
            f"fit: {checkpoint.path} was saved with other versions ({', '.join(changes)}). "
            "The result may differ from that of an uninterrupted run in the last bits"
        )


def _warn(message: str) -> None:
    if agreement.is_main_process():
        warnings.warn(message, store.CheckpointWarning, stacklevel=5)


def _rename_damaged(path: Path) -> None:
    names = (path.with_name(f"damaged-{path.name}{suffix}") for suffix in ("", *(f"-{i}" for i in range(1, 10_000))))
    os.rename(path, next(name for name in names if not os.path.lexists(name)))
