"""`sweep`: many runs as one program, one for each pair of hyperparameters and key.

Runs with the same key see the same examples in the same order, so the products of a batch with the weights of all of
them are one large matrix product. The program is therefore nested: `Programs.many` handles all hyperparameters for one
key, and `jax.vmap` maps it over the keys.
"""

import contextlib
import functools
import math
import sys
from collections.abc import Callable
from signal import SIGINT
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from fnn import checks
from fnn.layers.devices import default_device
from fnn.sharding.layout import Layout
from fnn.sharding.process_rows import spans_processes
from fnn.sweeps.chunks import Chunks, chunk_length, take_rows
from fnn.sweeps.result import SweepResult
from fnn.sweeps.run import Programs
from fnn.training import signals
from fnn.training.compiled import compiled
from fnn.training.numerics import platform_of
from fnn.types import PRNGKey, RunResult


def _runs(on_cpu: bool, run: Any, hypers: PyTree, keys: Array) -> RunResult:
    """Run all hyperparameters with all keys: leaves (n, n_keys, …). `on_cpu` is for `Programs.many`."""
    many = functools.partial(run.func.many, on_cpu, *run.args, hypers)
    if keys.shape[0] == 1:  # an axis of one key keeps XLA from fusing some sums (jax 0.10, GPU)
        return jax.tree.map(lambda leaf: leaf[:, None], many(keys[0]))
    return jax.vmap(many, out_axes=1)(keys)


_run_on_one_device = compiled(static=1, numerics=lambda on_cpu, run, *_: run.func.numerics)(_runs)


@compiled(static=3, numerics=lambda mesh, over_keys, on_cpu, run, *_: run.func.numerics)
def _run_on_mesh(mesh: Mesh, over_keys: bool, on_cpu: bool, run: Any, hypers: PyTree, keys: Array) -> RunResult:
    """`_runs` on each device, for its shard of the keys or of the hyperparameters. Devices do not communicate."""
    sharded, replicated = PartitionSpec("runs"), PartitionSpec()
    specs = (replicated, replicated, sharded) if over_keys else (replicated, sharded, replicated)
    out = PartitionSpec(None, "runs") if over_keys else sharded
    runs = functools.partial(_runs, on_cpu)
    return jax.shard_map(runs, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)(run, hypers, keys)


def _check_hypers(hypers: PyTree) -> tuple[PyTree, int]:
    """Return the hyperparameters as arrays, and the common length of their first axis."""
    leaves = jax.tree_util.tree_leaves_with_path(hypers)
    if not leaves:
        raise checks.fail("sweep", "hypers", "a pytree of stacked arrays (n, ...)", came="a pytree without leaves")
    arrays, sizes = [], {}
    for path, leaf in leaves:
        name = f"hypers{jax.tree_util.keystr(path)}"
        array = checks.array("sweep", name, leaf)
        if array.ndim < 1 or array.shape[0] < 1:
            expected = "a stacked array (n, ...), n >= 1, with one entry per run"
            advice = "Make an array of a list with jnp.array."
            raise checks.fail("sweep", name, expected, leaf, advice=advice)
        arrays.append(array)
        sizes[name] = array.shape[0]
    if len(set(sizes.values())) != 1:
        got = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise checks.fail("sweep", "hypers", "arrays with the same leading axis", came=got)
    return jax.tree.unflatten(jax.tree.structure(hypers), arrays), arrays[0].shape[0]


def _check_keys(keys: Array) -> Array:
    """Return a key or an array of keys as an array (n_keys,), raw keys as (n_keys, words)."""
    axes = checks.key_axes(keys)
    if axes not in (0, 1):
        expected = "a key or an array of keys (n_keys,), as jax.random.split(key, n_keys) makes"
        raise checks.fail("sweep", "keys", expected, keys, TypeError)
    if axes == 1 and 0 in keys.shape:
        raise checks.fail("sweep", "keys", "at least one key", keys)
    return jnp.asarray(keys)[None] if axes == 0 else jnp.asarray(keys)


def _platform(mesh: Mesh | None, *arguments: PyTree) -> str:
    """Return the platform on which a sweep runs: that of the mesh, else that of its arguments, else the default."""
    if mesh is not None:
        return next(iter(mesh.devices.flat)).platform
    return platform_of(jax.tree.leaves(arguments)) or default_device().platform


def sweep(
    run: Callable[[Any, PRNGKey], RunResult],
    hypers: PyTree,
    keys: Array,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    *,
    on_device: bool = False,
) -> SweepResult:
    """Run a training for all hyperparameters and all keys, as one compiled program.

    The results agree with those of `run` alone, and with those of other chunks, up to rounding.

    Args:
      run: a run of `fnn.make_run`. Its functions of `hyper` are traced, so one compilation serves all values.
      hypers: a pytree of stacked arrays (n, …). Run i receives entry i of each leaf.
      keys: an array of keys (n_keys,), for example `jax.random.split(key, n_keys)`; or a single key, which is treated
        as an array of one key.
      chunk_size: at most this many runs at a time, on each device; this bounds the memory. All chunks have the same
        size, so there is one compiled program; the last is padded with copies. Default: all runs at once. On a CPU,
        chunks whose arrays fit its caches can also be faster: 256 runs for 400 points and four hidden units.
      mesh: a `jax.sharding.Mesh` whose devices, all of this process, share the runs. If they do not divide the runs,
        the last shard is padded with copies.
      on_device: if True, the results stay on the device, as arrays of JAX, and the call returns before they are
        computed. Nothing is then copied to the host, which can take longer than to train many small networks on a GPU.
        The results of all chunks must fit the device's memory.

    Returns:
      A SweepResult: parameters (n, n_keys, …) and histories (n, n_keys, reports), as NumPy arrays unless `on_device` is
      True. Its methods `table` and `means` make tables of it.

    Raises:
      ValueError or TypeError: if an argument is invalid, for example hyperparameters of different lengths.

    >>> import fnn
    >>> x = jnp.linspace(-1, 1, 20)[:, None]
    >>> run = fnn.make_run(fnn.dense(1, 1), fnn.squared_error, fnn.sgd, (x, 3 * x), epochs=50, batch_size=20)
    >>> results = sweep(run, jnp.array([0.01, 1.0, 0.1]), jax.random.split(jax.random.key(0), 2))
    >>> results.history["cost"].shape
    (3, 2, 50)
    >>> results.means().sorted("cost").columns["hyper"]
    array([1, 2, 0])
    """
    programs = getattr(run, "func", None)
    if not (isinstance(run, jax.tree_util.Partial) and isinstance(programs, Programs)):
        raise checks.fail("sweep", "run", "a run of fnn.make_run", run, TypeError)
    schedule = programs.schedule
    hypers, n = _check_hypers(hypers)
    keys = _check_keys(keys)
    n_keys = keys.shape[0]
    limit = sys.maxsize if chunk_size is None else checks.positive_int("sweep", "chunk_size", chunk_size)
    if mesh is not None and not isinstance(mesh, Mesh):
        raise checks.fail("sweep", "mesh", "a jax.sharding.Mesh", mesh, TypeError)
    if mesh is not None and spans_processes(Layout(mesh)):
        raise checks.fail("sweep", "mesh", "a mesh of this process's devices", came=f"devices of others in {mesh}")
    if not isinstance(on_device, bool):
        raise checks.fail("sweep", "on_device", "a bool", on_device, TypeError)
    devices = 1 if mesh is None else mesh.devices.size
    limit *= devices
    over_keys = math.ceil(n_keys / devices) * n < math.ceil(n / devices) * n_keys
    rows = chunk_length(n, limit // devices if over_keys else limit, 1 if over_keys else devices)
    columns = chunk_length(n_keys, limit // rows, devices if over_keys else 1)
    chunks, given = Chunks(n, n_keys, rows, columns), hypers
    on_cpu = _platform(mesh, run, hypers, keys) == "cpu"
    if mesh is None:
        program, context = functools.partial(_run_on_one_device, on_cpu), contextlib.nullcontext()
    else:
        flat = Mesh(mesh.devices.reshape(-1), ("runs",))
        replicated = jax.sharding.NamedSharding(flat, PartitionSpec())
        replicate = functools.partial(jax.device_put, device=replicated)
        run, hypers, keys = replicate((run, hypers, keys))
        program = lambda run, *chunks: _run_on_mesh(flat, over_keys, on_cpu, run, *replicate(chunks))
        context = jax.set_mesh(flat)  # the caller may have set another mesh

    @signals.deferring("sweep", SIGINT)
    def piece(i: int, j: int) -> RunResult:
        results = program(run, take_rows(hypers, i, rows), take_rows(keys, j, columns))
        return results if on_device else jax.device_get(results)

    with context:
        pieces = (piece(i, j) for i, j in chunks.starts())
        results = chunks.on_device(pieces) if on_device else chunks.on_host(pieces)
    reports = None if schedule.reports_each_epoch() else {schedule.unit: jnp.asarray(schedule.report_at)}
    given, reports = (given, reports) if on_device else jax.device_get((given, reports))
    return SweepResult(results.params, results.history, given, results.outputs, reports)
