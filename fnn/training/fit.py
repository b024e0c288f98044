"""fit: trains on arrays or streams, with history, early stopping, reports, and checkpoints to go on from."""

import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from fnn import checks
from fnn.checkpoint import store
from fnn.data import streams
from fnn.data.arrays import check_batch_size
from fnn.data.streams import Stream
from fnn.sharding import agreement
from fnn.sharding.layout import Layout, check_layout
from fnn.sharding.placement import on_auto_mesh, place_state, to_user_mesh
from fnn.sharding.process_rows import check_processes
from fnn.sharding.rows import num_examples, place, shard_rows
from fnn.training import programs, signals, stream_loop
from fnn.training.evaluation import check_data, check_targets, metric_pairs
from fnn.training.fingerprint import program_fingerprint, training_fingerprint
from fnn.training.loop import Callback, Training, run_loop
from fnn.training.progress import reporting
from fnn.training.resume import CheckpointOptions
from fnn.training.step import as_transformation, fresh_state, init_state
from fnn.types import Data, FitResult, GradientTransformation, Layer, Loss, Metric, PRNGKey, TrainState
from fnn.weights import IsWeight, check_is_weight, check_weights, is_weight


def _saving(folder: Any, every: Any, every_steps: Any, keep: Any, resume: Any) -> CheckpointOptions | None:
    """fit's options for checkpoints, checked; None where none are asked for."""
    every = checks.positive_int("fit", "checkpoint_every", every)
    keep = checks.positive_int("fit", "keep", keep)
    if every_steps is not None:
        every_steps = checks.positive_int("fit", "checkpoint_every_steps", every_steps)
    if not isinstance(resume, bool):
        raise checks.fail("fit", "resume", "True or False", resume, TypeError)
    if folder is None:
        if resume or every_steps is not None:
            name = "resume" if resume else "checkpoint_every_steps"
            raise checks.fail("fit", "checkpoint_dir", f"given when {name} is", came="None")
        return None
    if not isinstance(folder, str | Path) or not str(folder):
        raise checks.fail("fit", "checkpoint_dir", "a path", folder, TypeError)
    return CheckpointOptions(Path(folder), every, every_steps, keep, resume, {})


def _called_back(layout: Layout, callback: Callback, epoch: int, logs: dict[str, float], state: TrainState):
    """The user's callback, on the user's mesh."""
    with jax.set_mesh(layout.mesh):
        return callback(epoch, logs, to_user_mesh(layout, state))


@agreement.raise_if_process_lost(
    "fit", agreement.RESTART_ADVICE + ", with resume=True if it saved checkpoints, to go on from the last"
)
@on_auto_mesh
def fit(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    data: Data | Stream,
    *,
    epochs: int,
    batch_size: int,
    key: PRNGKey | None = None,
    l2: float = 0.0,
    validation: Data | None = None,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 1,
    checkpoint_every_steps: int | None = None,
    keep: int = 3,
    resume: bool = False,
    progress: bool = True,
    report_every: int = 1,
    sharding: Layout | None = None,
    callback: Callback | None = None,
    state: TrainState | None = None,
    micro_batch_size: int | None = None,
    device_memory: int | None = None,
    window: int | None = None,
    is_weight: IsWeight = is_weight,
) -> FitResult:
    """Trains on (x, y) or (x, y, weight) for this many epochs -> FitResult(state, history).

    history   NumPy arrays, an entry per epoch: "cost" (with the penalty) and each metric, means over the batches of
              that epoch as they were trained on; with `validation`, "validation_cost" (without) and "validation_…".
    key       draws parameters, shuffles and dropout. `state` instead continues from one; it is left as it is.
    metrics   names and functions (prediction, target) -> values (batch,); by default those of the loss.
    is_weight  (path, leaf) -> bool: the leaves that the penalty of `l2` acts on. Default: `fnn.is_weight`.
    patience  stop after this many epochs without a lower validation cost, and return the state that had the lowest.
    progress  every `report_every` epochs a line, on a terminal with a progress bar; False: silence.
    sharding  `fnn.sharding.data_parallel(mesh)` or `tensor_parallel(mesh, rules)`: trains over the devices of a mesh,
              to what one device computes up to rounding. Of several processes (`fnn.sharding.initialize`) each passes
              its own rows (`rows_of_process`) and calls the callback; process 0 alone shows progress. One that fails
              ends the others; started again with `resume`, on as many devices or others, they go on.
    callback  callback(epoch, {name: value}, state) then too; the state is a copy, to keep. True ends training.

    micro_batch_size   sums the gradient of a batch over parts of so many examples: less memory, the same step. Over a
              mesh each part sends its gradient's sum; make it a multiple of the devices.

    device_memory    bytes for examples on the device. Arrays that take more, which may lie in files (np.memmap), stay
              where they are: chunks of batches are read and sent while the device computes on the one before.
    window    then so many rows are shuffled among each other, a chunk's unless it is said; blocks of neighbours come
              into it from anywhere. All of them: to the bit what training in memory computes.
    data      may be a stream, too: a function epoch (from 0) -> iterator of batches of `batch_size` rows, the last
              perhaps smaller, as often as asked; once more at the start, to see one. It is called in a thread. Its
              order stays, unless `window` says how many rows are shuffled among each other. Not of several processes.

    checkpoint_dir   saves there all that is needed to go on, every `checkpoint_every` epochs, at the end, and with
              `checkpoint_every_steps` after each so many steps too; the last `keep` and the one of the lowest
              (validation) cost stay. A folder that holds checkpoints is refused, unless `resume` is True.
    resume    goes on from the newest good checkpoint, to bitwise what an uninterrupted run computes; from the start
              if there is none. `epochs` counts from the start. A damaged checkpoint is named by a warning and passed
              over; DamagedError if all are. ValueError, with what differs, if it is of another training.

    Ctrl-C and SIGTERM let the call under way end (about a second, or an epoch), save, and say how to go on. A cost or
    gradient that is not finite ends it with a FloatingPointError that names epoch, step, the first such leaf, and the
    last checkpoint; gradients that the optimizer itself replaces (as optax.zero_nans does) are its affair.
    A second call with the same network, loss and optimizer (the same values, not others like them) compiles nothing.
    Epochs run on the device in as few calls as reports allow. If the network has batch_norm, its population
    statistics are set from all of x before validation and at the end; of streams, from the epoch's first chunk.

    >>> import fnn, jax.numpy as jnp
    >>> x = jnp.linspace(-1, 1, 100)[:, None]
    >>> result = fit(fnn.dense(1, 1), fnn.squared_error, fnn.sgd(0.1), (x, 2 * x + 1),
    ...              epochs=50, batch_size=10, key=jax.random.key(0), progress=False)
    >>> result.state.params.w.round(2), result.history["cost"].shape
    (Array([[2.]], dtype=float32), (50,))
    """
    checks.layer("fit", "network", network)
    pairs = metric_pairs("fit", loss, metrics)
    if sharding is not None:
        check_layout("fit", sharding)
    check_processes("fit", sharding)
    as_transformation("fit", optimizer)
    checks.number("fit", "l2", l2, minimum=0.0)
    check_is_weight("fit", is_weight)
    if callback is not None and not callable(callback):
        raise checks.fail("fit", "callback", "a function: epoch, {name: value}, state", callback, TypeError)
    epochs = checks.positive_int("fit", "epochs", epochs)
    report_every = checks.positive_int("fit", "report_every", report_every)
    if micro_batch_size is not None:
        micro_batch_size = checks.positive_int("fit", "micro_batch_size", micro_batch_size)
    batch_size = checks.positive_int("fit", "batch_size", batch_size)
    program = programs.Program(
        network, loss, optimizer, float(l2), pairs, batch_size, patience, micro_batch_size, is_weight
    )
    if agreement.is_multiprocess():
        given = {"validation": validation, "callback": callback, "checkpoint_dir": checkpoint_dir, "state": state}
        options = {"epochs": epochs, "keep": keep, "report_every": report_every, "resume": resume}
        options |= {"checkpoint_every": checkpoint_every, "checkpoint_every_steps": checkpoint_every_steps}
        options |= {"device_memory": device_memory, "window": window, "data": str(callable(data))}
        options |= {name: None if value is None else "given" for name, value in given.items()}
        drawn = None if key is None else np.asarray(jax.random.key_data(checks.key("fit", key))).tolist()
        agreement.assert_same("fit", **options, key=drawn, **program_fingerprint(program))
        if callable(data) or device_memory is not None or window is not None:
            came = "a stream" if callable(data) else f"device_memory={device_memory}, window={window}"
            raise checks.fail("fit", "data", "arrays for the devices, where there are several processes", came=came)
    source = streams.source(data, batch_size, device_memory, window)
    if source is None:
        with agreement.fail_together("fit"):
            arrays = check_data("fit", "data", cast("Data", data), sharding)
    else:
        arrays = streams.blank(source.like, batch_size)
    examples = arrays if sharding is None else place(sharding, arrays)
    if source is None:
        check_batch_size("fit", batch_size, num_examples(examples))
    if patience is not None:
        checks.positive_int("fit", "patience", patience)
        if validation is None:
            raise checks.fail("fit", "validation", "given when patience is: it decides what is best", came="None")
    if (state is None) == (key is None):
        raise checks.fail("fit", "key", "given, or else `state`", came="neither" if key is None else "both")
    if key is not None:
        state = init_state(network, optimizer, checks.key("fit", key), sharding=sharding)
    elif not isinstance(state, TrainState):
        raise checks.fail("fit", "state", "a TrainState", state, TypeError)
    else:
        like = jax.ShapeDtypeStruct(state.key.shape, state.key.dtype)  # wherever it lies
        fresh = jax.eval_shape(functools.partial(fresh_state, network, optimizer), like)
        if jax.tree.structure(state) != jax.tree.structure(fresh):
            raise checks.fail("fit", "state", "one of this network and this optimizer", came="another tree")
    check_weights("fit", "l2", l2, state.params, is_weight)
    state = state if sharding is None else place_state(sharding, state)
    held_out = None
    with agreement.fail_together("fit"):
        if source is None:
            check_targets(network, loss, state.params, arrays)
        if validation is not None:
            held_out = check_data("fit", "validation", validation, sharding)
            check_targets(network, loss, state.params, held_out)

    saving = _saving(checkpoint_dir, checkpoint_every, checkpoint_every_steps, keep, resume)
    if sharding is not None:
        arrays, held_out = examples, None if held_out is None else shard_rows(sharding, held_out)
        callback = None if callback is None else functools.partial(_called_back, sharding, callback)
    if saving is not None:
        made_of = training_fingerprint(program, state.key, arrays, held_out)
        saving = saving._replace(fingerprint=made_of if source is None else made_of | {"data": source.about})
    lock = contextlib.nullcontext() if saving is None else store.open_folder(saving.folder)
    shown = reporting(progress and agreement.is_main_process(), epochs)
    with lock, shown as report, signals.defer_signals() as signalled:
        reports = report_every if agreement.all_max(bool(progress or callback))[0] else None
        training = Training(program, arrays, held_out, epochs, saving, report, reports, callback, signalled)
        if source is None:
            carry = run_loop(training, state)
        else:
            given = [state]
            del state  # while chunks come and go no second one is kept
            carry, arrays = stream_loop.run_stream_loop(training, source, given.pop())
    history = {name: np.asarray(column)[: int(carry.epoch)] for name, column in carry.history.items()}
    final = carry.state
    if carry.best is not None:
        final = TrainState(carry.best.params, carry.best.opt_state, carry.best.step, final.key)
    elif network.calibrate is not None:
        final = programs.copy_state(program, final, arrays)
    if sharding is not None:
        final = to_user_mesh(sharding, final)
    return FitResult(final, history)
