"""Sweeps: many runs as one program, for each of many hyperparameters and each of many keys.

Runs of one key see the same examples in the same order: the product of a batch with the weights of all of them is one
large matrix product. That is why the program is nested as it is: hyperparameters inside, by `fnn.run.Programs.many`,
keys outside, by vmap.
"""

import contextlib
import functools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from fnn import checks
from fnn.sharding.layout import Layout
from fnn.sharding.process_rows import spans_processes
from fnn.sweeps.run import Programs
from fnn.sweeps.table import Table, best_of, hyper_columns, mean_of
from fnn.types import Params, PRNGKey, RunResult


class SweepResult(NamedTuple):
    """What `sweep` returns, as NumPy arrays: of run i, j (hyperparameters i, key j) at [i, j].

    params    as those of one run, leaves (n, n_keys, …)
    history   arrays (n, n_keys, epochs) by name
    hypers    what was swept, leaves (n, …)
    """

    params: Params
    history: dict[str, np.ndarray]
    hypers: PyTree

    def table(self, lower_is_better: Callable[[str], bool] | None = None) -> Table:
        """A row per run: hyper and key (indices), the hyperparameters, then for each name of the history the final
        value, the best one, `best_…`, and its epoch, `best_…_epoch`, from 1 (0: it was never a number).

        `lower_is_better` says of a name whether its best is its lowest; without it: of a cost, loss or error.
        """
        n, n_keys = next(iter(self.history.values())).shape[:2]
        index, key = np.repeat(np.arange(n), n_keys), np.tile(np.arange(n_keys), n)
        values = best_of(self.history, lower_is_better)
        hypers = hyper_columns(self.hypers, {"hyper", "key", *values})
        rows = {name: column[index] for name, column in hypers.items()}
        return Table({"hyper": index, "key": key} | rows | {name: v.reshape(-1) for name, v in values.items()})

    def means(self, lower_is_better: Callable[[str], bool] | None = None) -> Table:
        """A row per hyperparameters: the means over the keys of what `table` has, each with its standard error, `…_se`.

        The standard error is s/√n_keys, s² dividing by n_keys - 1: NaN for one key. `diverged` counts the runs whose
        final cost is not finite; their means are not finite either.
        """
        values = best_of(self.history, lower_is_better)
        numbers = mean_of({name: values[name] for base in self.history for name in (base, f"best_{base}")})
        diverged = (~np.isfinite(self.history["cost"][:, :, -1])).sum(axis=1)
        hypers = hyper_columns(self.hypers, {"hyper", "keys", "diverged", *numbers})
        n, n_keys = self.history["cost"].shape[:2]
        counts = {"hyper": np.arange(n), "keys": np.full(n, n_keys)}
        return Table(counts | hypers | numbers | {"diverged": diverged})


def _runs(run: Any, hypers: PyTree, keys: Array) -> RunResult:
    """Every hyper with every key: leaves (n, n_keys, …)."""
    return jax.vmap(lambda key: run.func.many(*run.args, hypers, key), out_axes=1)(keys)


_one_device = jax.jit(_runs)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _spread(mesh: Mesh, over_keys: bool, run: Any, hypers: PyTree, keys: Array) -> RunResult:
    """`_runs` on each device for its share of the hypers or of the keys; nothing is sent between devices."""
    share, whole = PartitionSpec("runs"), PartitionSpec()
    specs = (whole, whole, share) if over_keys else (whole, share, whole)
    out = PartitionSpec(None, "runs") if over_keys else share
    return jax.shard_map(_runs, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)(run, hypers, keys)


def _check_hypers(hypers: PyTree) -> tuple[PyTree, int]:
    """Leaves as arrays of one length, the first axis counting the runs."""
    leaves = jax.tree_util.tree_leaves_with_path(hypers)
    if not leaves:
        raise checks.fail("sweep", "hypers", "a pytree of stacked arrays (n, ...)", came="one without leaves")
    sizes = {}
    for path, leaf in leaves:
        name = f"hypers{jax.tree_util.keystr(path)}"
        shape = checks.array("sweep", name, leaf).shape
        if not shape or shape[0] < 1:
            expected = "a stacked array (n, ...), n >= 1: an entry for each run (of a list: jnp.array(list))"
            raise checks.fail("sweep", name, expected, leaf)
        sizes[name] = shape[0]
    if len(set(sizes.values())) != 1:
        came = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise checks.fail("sweep", "hypers", "arrays with the same leading axis", came=came)
    return jax.tree.map(jnp.asarray, hypers), next(iter(sizes.values()))


def _check_keys(keys: Array) -> Array:
    """One key or an array of them, typed or raw, as an array (n_keys,) or raw (n_keys, words)."""
    axes = checks.key_axes(keys)
    if axes not in (0, 1):
        expected = "a key or an array of keys (n_keys,), as jax.random.split(key, n_keys) makes"
        raise checks.fail("sweep", "keys", expected, keys, TypeError)
    if axes == 1 and 0 in keys.shape:
        raise checks.fail("sweep", "keys", "at least one key", keys)
    return jnp.asarray(keys)[None] if axes == 0 else jnp.asarray(keys)


def _evenly(size: int, limit: int, multiple: int = 1) -> int:
    """The length, a multiple of `multiple`, of as few equal pieces as parts of at most `limit` would need."""
    pieces = math.ceil(size / max(1, min(size, limit)))
    return math.ceil(math.ceil(size / pieces) / multiple) * multiple


def _piece(tree: PyTree, start: int, length: int) -> PyTree:
    """Rows start..start+length of each leaf, its last row repeated where it ends before."""
    return jax.tree.map(lambda leaf: leaf[jnp.minimum(jnp.arange(start, start + length), leaf.shape[0] - 1)], tree)


def sweep(
    run: Callable[[Any, PRNGKey], RunResult],
    hypers: PyTree,
    keys: Array,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
) -> SweepResult:
    """Runs `run` with every hyper and every key, as one compiled program: leaves come back as (n, n_keys, …).

    run         from `fnn.make_run`; what its functions of hyper use is traced, so one compilation serves all values
    hypers      a pytree of stacked arrays (n, …): run i gets entry i of each
    keys        an array of keys (n_keys,), or one key: n_keys is 1 then, the axis stays
    chunk_size  at most so many runs at a time (with a mesh: on each device), which bounds memory; the chunks are
                equal, the last is filled up with copies, so all are one compiled program. None: all at once.
                A chunk whose arrays fit a CPU's caches can be faster, too: 256 for 400 points and four hidden units
    mesh        spreads the runs over all devices of a mesh; runs that they do not divide are filled up with copies

    Results are on the host. They agree with those of `run` alone, and for any chunks, to rounding, not to the bit.

    >>> import fnn
    >>> x = jnp.linspace(-1, 1, 20)[:, None]
    >>> run = fnn.make_run(fnn.dense(1, 1), fnn.squared_error, fnn.sgd, (x, 3 * x), epochs=50, batch_size=20)
    >>> results = sweep(run, jnp.array([0.01, 1.0, 0.1]), jax.random.split(jax.random.key(0), 2))
    >>> results.history["cost"].shape
    (3, 2, 50)
    >>> results.means().sorted("cost").columns["hyper"]
    array([1, 2, 0])
    """
    if not (isinstance(run, jax.tree_util.Partial) and isinstance(getattr(run, "func", None), Programs)):
        raise checks.fail("sweep", "run", "a run of fnn.make_run", run, TypeError)
    hypers, n = _check_hypers(hypers)
    keys = _check_keys(keys)
    n_keys = keys.shape[0]
    limit = sys.maxsize if chunk_size is None else checks.positive_int("sweep", "chunk_size", chunk_size)
    if mesh is not None and not isinstance(mesh, Mesh):
        raise checks.fail("sweep", "mesh", "a jax.sharding.Mesh", mesh, TypeError)
    if mesh is not None and spans_processes(Layout(mesh)):
        raise checks.fail("sweep", "mesh", "one of this process's devices", came=f"devices of others in {mesh}")

    devices = 1 if mesh is None else mesh.devices.size
    limit *= devices
    over_keys = math.ceil(n_keys / devices) * n < math.ceil(n / devices) * n_keys
    h = _evenly(n, limit // devices if over_keys else limit, 1 if over_keys else devices)
    k = _evenly(n_keys, limit // h, devices if over_keys else 1)
    if mesh is None:
        program, there = _one_device, contextlib.nullcontext()
    else:
        flat = Mesh(mesh.devices.reshape(-1), ("runs",))
        whole = functools.partial(jax.device_put, device=jax.sharding.NamedSharding(flat, PartitionSpec()))
        run, hypers, keys = whole((run, hypers, keys))
        program = lambda run, *some: _spread(flat, over_keys, run, *whole(some))
        there = jax.set_mesh(flat)  # whatever mesh is set outside

    columns = []
    with there:
        for j in range(0, n_keys, k):
            some = [jax.device_get(program(run, _piece(hypers, i, h), _piece(keys, j, k))) for i in range(0, n, h)]
            columns.append(jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n], *some))
    results = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1)[:, :n_keys], *columns)
    return SweepResult(results.params, results.history, jax.device_get(hypers))
