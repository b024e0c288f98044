"""fit: train on arrays or streams, with history, early stopping, reports, and checkpoints to resume from."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import cast

from fnn import checks
from fnn.data import process_data, streams
from fnn.data.arrays import check_batch_size
from fnn.data.streams import Stream
from fnn.sharding import agreement
from fnn.sharding.layout import Layout, check_layout
from fnn.sharding.placement import on_auto_mesh, place_state
from fnn.sharding.process_rows import check_processes
from fnn.sharding.rows import Examples, num_examples, place, shard_rows
from fnn.training import memory, signals, stream_loop
from fnn.training.arguments import (
    assert_same_arguments,
    check_callbacks,
    check_checkpoint_options,
    check_intervals,
    check_program,
    check_start,
)
from fnn.training.callbacks import Callback
from fnn.training.data_checks import check_data, check_targets
from fnn.training.due import Training
from fnn.training.fingerprint import training_fingerprint
from fnn.training.loop import finish, handle_signal, result, run_loop
from fnn.training.numerics import check_numerics
from fnn.training.progress import reporting
from fnn.types import Data, FitResult, GradientTransformation, Layer, Loss, Metric, PRNGKey, TrainState
from fnn.weights import IsWeight, check_weights, is_weight


@signals.deferring("fit")
@agreement.raise_if_process_lost(
    "fit", agreement.RESTART_ADVICE + ", with resume=True if it saved checkpoints, to resume from the newest"
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
    callback: Callback | Sequence[Callback] | None = None,
    state: TrainState | None = None,
    micro_batch_size: int | None = None,
    device_memory: int | None = None,
    window: int | None = None,
    is_weight: IsWeight = is_weight,
    callback_every: int | None = None,
    allow_changes: Collection[str] = (),
    precision: str | None = None,
    deterministic: bool = False,
) -> FitResult:
    """Train a network and return its final state and history.

    Whole epochs run on the device. The host is visited only to report, to save a checkpoint, or to stop. A second call
    with the same network, loss and optimizer (the same objects) compiles nothing, unless several other trainings ran in
    between: the compiled programs of the last four are kept.

    After Ctrl-C or SIGTERM, `fit` waits for the current compiled call to finish (about a second, or one epoch if an
    epoch takes longer). It then saves a checkpoint, prints how to resume, and raises.

    Args:
      network: the layer to train, for example `fnn.mlp([784, 30, 10])`. The population statistics of `batch_norm` are
        set from all of x (for a stream: from the first chunk of the epoch) before each validation and at the end.
      loss: a `Loss`; its metrics are reported too.
      optimizer: a gradient transformation, fnn's or optax's.
      data: `(x, y)` or `(x, y, weight)`, arrays with one row per example; or a stream (see `fnn.data`): a dataset of
        Grain such as `fnn.data.from_files(x, y)`, an iterable whose iterators have get_state and set_state, or a
        function from the epoch (from 0) to an iterator of batches. A background thread reads it.
      epochs: number of passes over the data, counted from the start of training also when resuming.
      batch_size: examples per step. The last batch of an epoch may be smaller.
      key: PRNG key for parameters, shuffling and dropout. Required unless `state` is given.
      l2: λ in the penalty λ/2 ‖W‖², added to the cost for every leaf that `is_weight` selects.
      validation: held-out `(x, y)` or `(x, y, weight)`, evaluated after each epoch. Required by `patience`.
      metrics: names mapped to functions (prediction, target) -> values (batch,). Default: the metrics of the loss.
      patience: stop after this many epochs without a lower validation cost, and return the state with the lowest.
      checkpoint_dir: folder for checkpoints to resume from. A thread writes one every `checkpoint_every` epochs and at
        the end; `fit` ends when the last is durable. A folder that holds some is refused unless `resume` is True.
      checkpoint_every: epochs between two checkpoints.
      checkpoint_every_steps: also save a checkpoint every this many steps, including inside an epoch. Default: only
        whole epochs.
      keep: keep this many of the newest checkpoints, and besides them the one with the lowest (validation) cost.
      resume: resume from the newest good checkpoint, or start if there is none. The result is bitwise equal to that of
        an uninterrupted run. Damaged checkpoints are skipped with a warning.
      progress: print a line per report, with the seconds of the epochs since the line before (the first line includes
        compilation); on a terminal with a bar; in a notebook one line, updated in place. The last lines say which
        epoch's state `patience` returns, and on a GPU or TPU the most memory used by the process.
      report_every: epochs between two reports.
      sharding: a layout of `fnn.sharding`, to train over the devices of a mesh. The result equals that of one device up
        to rounding. If there are several processes, each passes its own rows (`fnn.sharding.rows_of_process`) and calls
        the callback, and only process 0 shows progress. If one fails, the others exit. A restart with `resume=True`
        continues the run, even on a different number of devices.
      callback: callback(epoch, {name: value}, state), or a list of such (see `fnn.callbacks`), called every
        `callback_every` epochs and after the last one. The state is a copy. It returns None, or True to stop.
      state: a state to continue from, instead of `key`. It is not donated.
      micro_batch_size: sum the gradient of a batch over parts of this many examples, which takes less memory. Over a
        mesh each part sends the sum of its gradient; use a multiple of the number of devices.
      device_memory: bytes for examples on the device. Arrays that take more stay on the host or in files (np.memmap),
        and are sent in chunks while the device computes. To resume, files must have the same size and time of last
        change, besides 256 rows that are compared; arrays in memory are compared as a whole. Over a mesh the bytes are
        those on all devices; each of several processes passes all rows, and reads its own.
      window: number of rows shuffled together, for data that are sent in chunks. Default: the rows of one chunk for
        arrays; streams keep their order. If the window holds all rows, arrays give the same bits as in memory.
      is_weight: (path, leaf) -> bool, the leaves that the penalty acts on. Default: `fnn.is_weight`.
      callback_every: epochs between two calls of the callback. Default: as `report_every`.
      allow_changes: names of the arguments that may differ from those that the checkpoint was saved with, for example
        `("optimizer",)` to lower the learning rate midway. The training then goes on with the new ones, and keeps its
        epochs, history and early stopping. Allowed names: network, loss, optimizer, metrics, l2, is_weight, batch_size,
        patience, micro_batch_size, precision, deterministic, data, validation and state, as long as the trees of arrays
        stay the same. The numbers of `optax.inject_hyperparams` are in the state; the new ones replace those saved.
      precision: the precision of float32 products and convolutions on a GPU or TPU: "highest", "tf32", "bfloat16" or
        another name of `jax.default_matmul_precision`. Default: its setting if there is one, otherwise full float32.
      deterministic: on a GPU, compute the same bits each time, with a slower gradient of an `embedding` and perhaps
        slower products. Without it two runs may differ there by rounding. Nothing changes on a CPU or a TPU.

    Returns:
      FitResult(state, history). `history` maps names to NumPy arrays with one entry per epoch: "cost" (with the
      penalty) and each metric, averaged over the batches of the epoch, each evaluated before its own update; with
      `validation` also "validation_cost" (without the penalty) and "validation_…".

    Raises:
      ValueError, TypeError: if an argument or the data are invalid (the message names the first bad row), if the data
        need more memory than a device has left, or if the checkpoint to resume from is of another training (the
        message names the differences).
      FloatingPointError: if the cost or a gradient is not finite; names the epoch, the step, the leaf and the last
        checkpoint. Non-finite gradients that the optimizer handles itself (optax.zero_nans) are not reported.
      OSError: if a checkpoint cannot be written; raised at the next one, or at the end.
      fnn.checkpoint.DamagedError: if there are checkpoints to resume from, and all of them are damaged.
      KeyboardInterrupt, SystemExit: after Ctrl-C and SIGTERM, or if the callback raises KeyboardInterrupt. The
        attribute `result` of the exception is the FitResult so far.

    >>> import fnn, jax, jax.numpy as jnp
    >>> x = jnp.linspace(-1, 1, 100)[:, None]
    >>> result = fit(fnn.dense(1, 1), fnn.squared_error, fnn.sgd(0.1), (x, 2 * x + 1),
    ...              epochs=50, batch_size=10, key=jax.random.key(0), progress=False)
    >>> result.state.params.w.round(2), result.history["cost"].shape
    (Array([[2.]], dtype=float32), (50,))
    """
    if sharding is not None:
        check_layout("fit", sharding)
    check_processes("fit", sharding)
    program = check_program(
        network,
        loss,
        optimizer,
        l2=l2,
        metrics=metrics,
        batch_size=batch_size,
        patience=patience,
        micro_batch_size=micro_batch_size,
        is_weight=is_weight,
        numerics=check_numerics("fit", precision, deterministic),
    )
    callbacks = check_callbacks(callback)
    epochs, report_every, callback_every = check_intervals(epochs, report_every, callback_every)
    if agreement.is_multiprocess():
        given = {"validation": validation, "callback": callback, "checkpoint_dir": checkpoint_dir, "state": state}
        options = {"epochs": epochs, "keep": keep, "report_every": report_every, "resume": resume}
        options |= {"callback_every": callback_every, "allow_changes": list(allow_changes)}
        options |= {"checkpoint_every": checkpoint_every, "checkpoint_every_steps": checkpoint_every_steps}
        options |= {"device_memory": device_memory, "window": window}
        assert_same_arguments(program, key, data, options=options, given=given)
    source, data = process_data.agree(data, program.batch_size, device_memory, window, network.vocabulary, sharding)
    with agreement.fail_together("fit"):
        sent, chunks = () if source else data, streams.chunk_bytes(source, program.batch_size)
        memory.check_fits("fit", sharding, placed=True, chunks=chunks, data=sent, validation=validation)
        if source is None:
            arrays = check_data("fit", "data", cast("Data", data), sharding, network.vocabulary)
        else:
            arrays = streams.blank(source.like, program.batch_size, sharding)
    examples: Examples = arrays if sharding is None else place(sharding, arrays)
    if source is None:
        check_batch_size("fit", program.batch_size, num_examples(examples))
    if patience is not None and validation is None:
        raise checks.fail("fit", "validation", "given if `patience` is", came="None")
    given_state = state
    state = check_start(program, key, state, sharding)
    check_weights("fit", "l2", l2, state.params, is_weight)
    state = state if sharding is None else place_state(sharding, state)
    held_out: Examples | None = None
    with agreement.fail_together("fit"):
        if source is None:
            check_targets("fit", network, loss, state.params, arrays)
        if validation is not None:
            held_out = check_data("fit", "validation", validation, sharding, network.vocabulary)
            check_targets("fit", network, loss, state.params, held_out)
    del arrays  # with `sharding`, `examples` holds copies
    saving = check_checkpoint_options(
        checkpoint_dir,
        every=checkpoint_every,
        every_steps=checkpoint_every_steps,
        keep=keep,
        resume=resume,
        allow_changes=allow_changes,
    )
    if sharding is not None:
        held_out = None if held_out is None else shard_rows(sharding, held_out)
    if saving is not None:
        fingerprint = training_fingerprint(program, state.key, examples, held_out, given_state)
        fingerprint |= {} if source is None else {"data": process_data.record(source)}
        saving = saving._replace(fingerprint=fingerprint)
    del given_state
    opened = contextlib.nullcontext() if saving is None else saving.saves.opened()
    reporter = reporting(progress and agreement.is_main_process(), epochs)
    with opened, reporter as report, signals.defer_signals() as signalled:
        reports, calls = agreement.all_max(progress, bool(callbacks))
        training = Training(
            program,
            examples,
            held_out,
            epochs,
            saving,
            report,
            report_every if reports else None,
            callbacks,
            callback_every if calls else None,
            signalled,
            sharding,
            streams=source is not None,
        )
        if source is None:
            loop_state = run_loop(training, state)
        else:
            states = [state]
            del state  # so that the loop can free it: a second state need not stay on the device
            loop_state, examples = stream_loop.run_stream_loop(training, source, states.pop())
        finish(training, loop_state)
        handle_signal(training, loop_state, examples)
    return result(training, loop_state, examples)
