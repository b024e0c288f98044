"""The results of a sweep, and its tables."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from fnn.display import lines
from fnn.sweeps.table import Table, best_of, hyper_columns, mean_of
from fnn.types import Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SweepResult(NamedTuple):
    """The results of a sweep. Row i, column j is the run of hyperparameters i with key j.

    They are NumPy arrays, or arrays of JAX if `sweep` was called with `on_device=True`.

    Attributes:
      params: the final parameters, leaves (n, n_keys, …).
      history: arrays (n, n_keys, reports) by name, as `make_run` describes them. By default each epoch has a report.
      hypers: the hyperparameters of the sweep, leaves (n, …).
      outputs: what the argument `outputs` of `make_run` returned, leaves (n, n_keys, reports, k, …); None without it.
      reports: {"step": (reports,)} or {"epoch": (reports,)}, when the runs reported; None if after each epoch.
    """

    params: Params
    history: dict[str, Any]
    hypers: PyTree
    outputs: PyTree = None
    reports: dict[str, Any] | None = None

    def __repr__(self) -> str:
        noun = "epoch" if self.reports is None else "report"
        return f"SweepResult({lines.sweep(self.history, self.params, noun)})"

    def _repr_html_(self) -> str | None:
        """Show the table of all runs, in notebooks."""
        from fnn.display import html

        is_read = all(map(lines.is_concrete, self.history.values()))
        return html.table(self.table().columns, repr(self)) if is_read else None

    def plot(self, x: str | None = None, y: str | None = None, score: str | None = None) -> "Axes":
        """Draw the score over one or two hyperparameters, with matplotlib: `fnn.plot.response` of these results."""
        from fnn.display.response import response

        return response(self, x, y, score)

    def table(self, lower_is_better: Callable[[str], bool] | None = None) -> Table:
        """Make a table with one row per run.

        Its columns are `hyper` and `key` (indices), the hyperparameters, and for each name of the history the value of
        the last report, the best value `best_…`, and the epoch of that, `best_…_epoch`, counted from 1; or its step,
        `best_…_step`, if the runs count steps. The epoch is 0 if all values are NaN.

        Args:
          lower_is_better: name -> bool, whether the best value is the lowest. Default: True for names that end in
            "cost", "loss" or "error".
        """
        n, n_keys = next(iter(self.history.values())).shape[:2]
        index, key = np.repeat(np.arange(n), n_keys), np.tile(np.arange(n_keys), n)
        values = best_of(jax.device_get(self.history), lower_is_better, jax.device_get(self.reports))
        hypers = hyper_columns(self.hypers, {"hyper", "key", *values})
        rows = {name: column[index] for name, column in hypers.items()}
        return Table({"hyper": index, "key": key} | rows | {name: v.reshape(-1) for name, v in values.items()})

    def means(self, lower_is_better: Callable[[str], bool] | None = None) -> Table:
        """Make a table with one row for each hyperparameters: means over the keys.

        Its columns are `hyper` (the index), `keys` (their number), the hyperparameters, and the means of the values and
        best values of `table`, each beside its standard error, `…_se`. The standard error is s/√n_keys, where s² is the
        unbiased variance; it is NaN for one key. `diverged` counts the runs whose last cost is not finite. The means of
        such runs are not finite either.

        Args:
          lower_is_better: as in `table`.
        """
        history = jax.device_get(self.history)
        values = best_of(history, lower_is_better)
        numbers = mean_of({name: values[name] for base in history for name in (base, f"best_{base}")})
        diverged = (~np.isfinite(history["cost"][:, :, -1])).sum(axis=1)
        hypers = hyper_columns(self.hypers, {"hyper", "keys", "diverged", *numbers})
        n, n_keys = history["cost"].shape[:2]
        counts = {"hyper": np.arange(n), "keys": np.full(n, n_keys)}
        return Table(counts | hypers | numbers | {"diverged": diverged})
