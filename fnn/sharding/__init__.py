"""Training on many devices and in several processes.

Many devices
------------

A *layout* says how arrays are sharded over a mesh of devices. Pass it to `fit` as `sharding`:

    layout = fnn.sharding.data_parallel(jax.make_mesh((8,), ("data",)))
    result = fnn.fit(network, loss, optimizer, data, epochs=100, batch_size=50, key=key, sharding=layout)

The result is that of one device up to rounding: the shuffles and the batches are the same, even if the number of
devices does not divide the batch size. `init_state`, `make_epoch`, `predict` and `evaluate` take `sharding` as well,
and `sweep` takes a `mesh`.

| layout | examples | parameters |
|---|---|---|
| `data_parallel(mesh)` | sharded over the axis "data" | replicated |
| `tensor_parallel(mesh, rules)` | sharded over "data" if the mesh has it | sharded by rules over their paths |
| `fully_sharded(mesh, rules)` | sharded over "data" | over "data", as are gradients and optimizer state (ZeRO-3) |
| the first two, with `split_optimizer=True` | as above | as above; optimizer state sharded over "data" (ZeRO-1) |

`dense_pairs(network)` makes rules that shard dense layers in turn by columns and by rows (Shoeybi et al. 2019):

    mesh = jax.make_mesh((2, 4), ("data", "model"))
    layout = fnn.sharding.tensor_parallel(mesh, fnn.sharding.dense_pairs(network), split_optimizer=True)

`fully_sharded` is for networks that are too large for the memory of one device:

    layout = fnn.sharding.fully_sharded(jax.make_mesh((8,), ("data",)))
    state = fnn.init_state(network, optimizer, key, sharding=layout)

Each device then holds an eighth of the parameters, gradients and optimizer state, also while they are initialised.
`shardings(layout, params, params)` shows along which axis each parameter is split.

The axes of the mesh may be Auto or Explicit. XLA's partitioner adds all communication. The compiled data-parallel
step has one all-reduce, of the gradient and the cost. The steps of `make_epoch` and `fit` have no other communication
if the examples take at most one GiB: they are then replicated on every device. Larger data are sharded, and the rows of
each shuffled batch are communicated as well.

To write the loop yourself, shard a step with `constrained`, and the state with `init_state` or `place_state`:

>>> import fnn, jax, jax.numpy as jnp
>>> network, optimizer = fnn.dense(3, 1), fnn.sgd(0.1)
>>> layout = fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))
>>> state = fnn.init_state(network, optimizer, jax.random.key(0), sharding=layout)
>>> step = jax.jit(fnn.sharding.constrained(layout, fnn.make_step(network, fnn.squared_error, optimizer)))
>>> state, cost = step(state, (jnp.ones((4, 3)), jnp.ones((4, 1))))
>>> int(state.step)
1

To run many epochs over the same arrays, put them onto the devices once:

>>> epoch = fnn.make_epoch(fnn.make_step(network, fnn.squared_error, optimizer), 2, sharding=layout)
>>> rows = fnn.sharding.place(layout, (jnp.ones((4, 3)), jnp.ones((4, 1))))
>>> state, costs = epoch(state, rows)
>>> costs.shape
(2,)

`tests/sharding/test_sharding.py` and `test_fully_sharded.py` compare 20 steps on 1, 2, 4 and 8 virtual devices with one
device. They agree to 1e-5 in float32 and to 1e-12 in float64. They also count what is communicated.

Several processes
-----------------

A cluster runs the same script in every process, and `initialize` at its top connects them:

    import fnn, jax

    fnn.sharding.initialize()
    layout = fnn.sharding.data_parallel(jax.sharding.Mesh(fnn.sharding.devices(), ("data",)))
    rows = fnn.sharding.rows_of_process(layout, len(x))
    result = fnn.fit(network, loss, optimizer, (x[rows], y[rows]), epochs=100, batch_size=50, key=key,
                     sharding=layout, checkpoint_dir="runs/a", resume=True)
    if fnn.sharding.is_main_process():
        fnn.checkpoint.export_params("params.safetensors", jax.device_get(result.state.params))

- The address of process 0, the number of processes and the index of this one come from the arguments of `initialize`,
  from the environment variables FNN_COORDINATOR, FNN_PROCESSES and FNN_PROCESS_ID, or from JAX's detection (SLURM,
  Open MPI, Kubernetes, TPU pods).
- `devices` orders the devices by process, so that each process holds adjacent rows.
- Each process passes only its own rows (`rows_of_process`) to `fit`, `evaluate` and `predict`. It may have none.
- Process 0 reports and writes. If the processes pass different values, all of them raise a ValueError.
- `fail_together` makes all processes fail if one of them does, for example at reading its data:

      with fnn.sharding.fail_together("read"):
          x, y = read(path)

To try this on one machine, start the processes from a shell:

    export FNN_COORDINATOR=localhost:9876 FNN_PROCESSES=2
    for i in 0 1; do FNN_PROCESS_ID=$i python -m experiments digits --distributed & done; wait

**When a process dies**, the others stop within 30 seconds: `fit` and `evaluate` raise LostProcessError, or JAX ends
the process. Started again with `resume=True`, the same number of processes ends with the same parameters bit for bit.
Ctrl-C or SIGTERM to one process stops all of them after the same step, with a checkpoint.

**Checkpoints** are written by all processes into a folder that all of them see. Leaves that are sharded over the
processes go through orbax (`pip install 'fnn[distributed]'`). `fnn.checkpoint.restore` reads them on any number of
devices and processes. `tests/sharding/test_processes.py` shows all of this with real processes.

**Data larger than the devices** (`fnn.data`) are read by each process for its own devices. No row is sent twice, and a
step communicates no rows, only the sums of the gradient and of the cost, but for the smaller batch that ends an epoch.
The result is that of one process up to rounding.

- With `device_memory`, and with `fnn.data.from_files`, every process passes all rows: the same files, or copies of
  them. It reads its own rows of each batch, or all rows if the dataset of `from_files` is mapped. Sizes may be uneven;
  a process may have no rows of the last batch. 256 rows are compared at the start, and all processes raise a ValueError
  if they differ.
- Of another stream (a dataset of Grain, a function of the epoch), each process yields its share of each batch. The
  shares of a step make its batch, process after process: `batch_size` rows in all, fewer only in the last batch of an
  epoch, of which a process may have none. Otherwise all processes raise a ValueError. For example:

      process, count = jax.process_index(), jax.process_count()
      data = dataset.shuffle(seed=0)[process::count].batch(batch_size // count)

  If the shares are not those of the mesh (batch_size / devices rows for each device), the rows of each batch are
  communicated. `window` is refused: the stream brings its rows in the order of training.
- If a process fails while it reads, all of them raise. While one waits for its data, a signal to any stops all of them.
- A restart inside an epoch needs as many processes, unless every process passes all rows.
"""

from fnn.sharding.agreement import LostProcessError as LostProcessError
from fnn.sharding.agreement import fail_together as fail_together
from fnn.sharding.agreement import is_main_process as is_main_process
from fnn.sharding.agreement import mark_failed as mark_failed
from fnn.sharding.dense_rules import dense_pairs as dense_pairs
from fnn.sharding.initialize import initialize as initialize
from fnn.sharding.layout import Layout as Layout
from fnn.sharding.layout import auto_mesh as auto_mesh
from fnn.sharding.layout import batch_sharding as batch_sharding
from fnn.sharding.layout import data_parallel as data_parallel
from fnn.sharding.layout import fully_sharded as fully_sharded
from fnn.sharding.layout import replicated as replicated
from fnn.sharding.layout import tensor_parallel as tensor_parallel
from fnn.sharding.layout import with_auto_axes as with_auto_axes
from fnn.sharding.placement import constrained as constrained
from fnn.sharding.placement import place_params as place_params
from fnn.sharding.placement import place_state as place_state
from fnn.sharding.process_rows import devices as devices
from fnn.sharding.process_rows import rows_of_process as rows_of_process
from fnn.sharding.rows import Rows as Rows
from fnn.sharding.rows import place as place
from fnn.sharding.specs import shardings as shardings
