"""A callback that exports the parameters of the best epoch."""

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np

from fnn import checks, metrics
from fnn.callbacks.stopping import better, check_flag, check_name, value_of
from fnn.checkpoint import atomic
from fnn.checkpoint.params_file import notes_of, write_params
from fnn.sharding import agreement
from fnn.types import Layer, Params, TrainState


@dataclasses.dataclass
class BestModel:
    """The callback that `best_model` returns."""

    path: Path
    name: str
    lower_is_better: bool
    network: Layer | None = dataclasses.field(repr=False)
    exported: tuple[int, float] | None = None  # epoch and value of the last file that this callback wrote

    def __call__(self, epoch: int, logs: dict[str, float], state: TrainState) -> None:
        value = value_of("best_model", logs, self.name)
        with agreement.fail_together("best_model"):
            due = agreement.is_main_process() and better(value, self._best(epoch), self.lower_is_better)
        if not agreement.all_max(due)[0]:
            return
        params, self.exported = _on_host(state.params), None
        if agreement.is_main_process():
            atomic.make_folder(self.path.parent)
            notes = {"callback": "best_model", "name": self.name, "value": value, "epoch": epoch}
            write_params("best_model", self.path, params, self.network, notes)
            self.exported = epoch, value

    def _best(self, epoch: int) -> float | None:
        """Return the value of the file; None if there is none, or if it is of an epoch that is not before this one."""
        if self.exported is not None and self.exported[0] < epoch:
            return self.exported[1]  # without reading what may be a large file
        if not os.path.lexists(self.path):
            return None
        notes = notes_of("best_model", self.path) or {}
        if notes.get("callback") != "best_model" or notes.get("name") != self.name:
            expected = f"a new file, or one that best_model wrote for {self.name!r}"
            raise checks.fail("best_model", "path", expected, came=f"{self.path}, another file")
        return notes["value"] if notes["epoch"] < epoch else None


def best_model(
    path: str | Path,
    name: str = "validation_cost",
    *,
    lower_is_better: bool | None = None,
    network: Layer | None = None,
) -> BestModel:
    """Return a callback that exports the parameters whenever a value of the history is the best so far.

    The file is one of `fnn.checkpoint.export_params`, replaced atomically; `fnn.checkpoint.import_params` reads it. It
    records the value and its epoch. A training that resumes therefore goes on from the best value of the epochs before,
    and a new training begins the file anew.

    Unlike the argument `patience` of `fit`, it does not end the training, takes any value of the history, and keeps the
    parameters where another program can read them while the training goes on.

    Args:
      path: the file to write. Missing folders are created.
      name: a name in the history of `fit`.
      lower_is_better: whether lower values are better. Default: True for names that end in "cost", "loss" or "error".
      network: if it is given, the file describes it too; see `fnn.checkpoint.architecture`.

    Returns:
      A callback for `fnn.fit`. If there are several processes, process 0 writes.

    Raises:
      ValueError: from the callback, if the history has no such name, or if the file exists and is another one.
      OSError: from the callback, if the file cannot be written; the file before it stays.

    >>> import fnn, numpy as np, tempfile
    >>> x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    >>> network, folder = fnn.dense(1, 1), tempfile.TemporaryDirectory()
    >>> with folder:
    ...     path = f"{folder.name}/best.safetensors"
    ...     result = fnn.fit(network, fnn.squared_error, fnn.sgd(0.1), (x, 2 * x), epochs=3, batch_size=10,
    ...                      key=jax.random.key(0), progress=False, callback=best_model(path, "cost"))
    ...     best = fnn.checkpoint.import_params(path, result.state.params)
    >>> bool((best.w == result.state.params.w).all())
    True
    """
    check_name("best_model", name)
    lower = metrics.lower_is_better(name) if lower_is_better is None else lower_is_better
    check_flag("best_model", lower)
    if network is not None:
        checks.layer("best_model", "network", network)
    return BestModel(checks.path("best_model", "path", path).absolute(), name, lower, network)


def _on_host(params: Params) -> Params:
    """Return the parameters as arrays of the host. Every process must call it."""
    if not agreement.is_multiprocess():
        return params
    from jax.experimental import multihost_utils

    whole = lambda leaf: leaf.is_fully_addressable or leaf.is_fully_replicated
    fetch = lambda leaf: np.asarray(leaf) if whole(leaf) else multihost_utils.process_allgather(leaf, tiled=True)
    return jax.tree.map(fetch, params)
