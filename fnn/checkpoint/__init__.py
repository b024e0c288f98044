"""Checkpoints, exact resumption, and parameters as safetensors files.

Checkpoints of `fit`
--------------------

    result = fnn.fit(network, loss, optimizer, data, epochs=100, batch_size=50, key=key,
                     checkpoint_dir="runs/a", resume=True)

continues from the newest good checkpoint in the folder, or starts a new training if there is none. With
`resume=False`, the default, a folder that holds checkpoints is refused.

| argument of `fit` | meaning |
|---|---|
| `checkpoint_dir` | the folder of checkpoints; created if it is missing |
| `checkpoint_every` | epochs between two checkpoints; the last epoch is always saved |
| `checkpoint_every_steps` | steps between two checkpoints inside epochs |
| `keep` | how many of the newest checkpoints to keep; the one with the lowest cost is kept as well |
| `resume` | continue from the newest good checkpoint |

Ctrl-C and SIGTERM let the running call on the device end. Then `fit` saves and says how to continue.

`fit` copies the state to the host when a checkpoint is due, and goes on while a thread writes the copy. The checkpoint
of an epoch may therefore appear after the callback of that epoch, and an older one, which `keep` does not keep, may be
removed while a callback reads it. `fit` does not end before the last checkpoint is durable, whether it returns, raises
or is stopped. (A second Ctrl-C, while it waits for that, gives the checkpoint up.) `save` returns when its checkpoint
is durable.

Checkpoints of your own loop
----------------------------

>>> import fnn, jax, tempfile
>>> state = fnn.init_state(fnn.dense(3, 2), fnn.sgd(0.1), jax.random.key(0))
>>> with tempfile.TemporaryDirectory() as folder:
...     path = fnn.checkpoint.save(folder, state)
...     newest = fnn.checkpoint.latest(folder)
...     restored = fnn.checkpoint.restore(folder, state)
>>> newest.name, bool((restored.params.w == state.params.w).all())
('step-00000000', True)

`save`, `restore` and `latest` work in one process and in several. With several, all processes call them with the same
arguments, and the folder must be one that all of them see. `restore` also reads the state that `fit` saved, on any
number of devices and processes. `export_params` and `import_params` write and read the parameters alone, as a
safetensors file for other tools; `architecture` reads what network they are of, if `export_params` was given it.

What is promised
----------------

| promise | shown by |
|---|---|
| After a resume from any step, the run ends with the same bits as an uninterrupted one: parameters, optimizer state, \
history, best checkpoint. | `tests/training/test_resume.py`: 30 of 30 steps |
| A process killed by `kill -9` loses at most the checkpoint that is being written and the work since: with \
`checkpoint_every_steps=1` two steps. | `tests/checkpoint/test_kills.py`, `test_background_kills.py`: 300 kills each |
| A full disk, a quota, missing permissions, a failing fsync or rename raise an error, from `fit` at the next \
checkpoint or at the end, and the previous checkpoint still loads. | `tests/checkpoint/test_faults.py`: every write; \
`test_background_faults.py` |
| A checkpoint of 300 MB stops the training for less than 0.1 s besides one copy of the state. | \
`python -m experiments.benchmarks.saves`; `tests/checkpoint/test_background.py` |
| A damaged file is never loaded. `fit` warns, renames the damaged checkpoint to `damaged-…` and uses the previous \
one. If none is good, it raises DamagedError; it never starts over silently. | `tests/checkpoint/test_damage.py`: \
2,000 flipped bits, 500 truncations |
| A cost or gradient that is not finite ends `fit` with the epoch, the step, the first leaf, and the last good \
checkpoint. | `tests/training/test_failures.py`; the check costs less than 1 % \
(`python -m experiments.benchmarks.finite`) |
| A file of another program (IDX, NPZ, CSV, HDF5) is read, or refused with one typed error before much memory is \
allocated. | `tests/experiments/data/test_readers.py`: 20,000 generated files |
| Two processes compute the same bits, with a cold or a warm compilation cache. | `tests/training/test_resume.py`, \
`tests/experiments/test_cache.py` |
| When one of several processes dies, the others stop within 30 s. A restart with `resume=True` ends with the same \
bits. | `tests/sharding/test_processes.py` |
| Memory does not grow over 1,000 epochs. | `tests/training/test_resume.py` |

The counts are those of `python -m pytest -m slow`; the default run has short forms.

Not promised: anything after a power loss, on a disk whose fsync does not reach the platter; the same bits on another
layout of devices, on another kind of device, or with another version of JAX (`fit` warns of other versions).

How it works
------------

A checkpoint is a folder `step-00000042` of safetensors files and a JSON manifest, with a SHA-256 of every file
(`fnn/checkpoint/manifest.py` describes the format). It is written under a temporary name, flushed, read back, compared
with the hash of the values in memory, and renamed, so a visible checkpoint is complete. Every hash is verified before
any value is used. Nothing is pickled: loading runs no code from a file. A lock keeps a second training out of the
folder.

In several processes, process 0 writes in the background what every device holds whole. Leaves that are split over the
processes are written by all of them with orbax before the training goes on, since orbax communicates, and only one
thread of a process may do that at a time.
"""

from fnn.checkpoint.lock import CheckpointWarning as CheckpointWarning
from fnn.checkpoint.lock import LockedError as LockedError
from fnn.checkpoint.params_file import architecture as architecture
from fnn.checkpoint.params_file import export_params as export_params
from fnn.checkpoint.params_file import import_params as import_params
from fnn.checkpoint.regular_files import DamagedError as DamagedError
from fnn.checkpoint.schema import NewerFormatError as NewerFormatError
from fnn.checkpoint.store import latest as latest
from fnn.checkpoint.store import restore as restore
from fnn.checkpoint.store import save as save
