"""Checkpoints whose split leaves are written shard by shard with orbax.

`fnn.checkpoint.save` does the same with several processes. With one process it writes every leaf whole, which needs
no orbax. `restore` is that of `fnn.checkpoint`; it reads the checkpoints of both.
"""

from pathlib import Path

from jaxtyping import PyTree

from fnn.checkpoint import store
from fnn.checkpoint.finding import newest as newest
from fnn.checkpoint.regular_files import DamagedError as DamagedError
from fnn.checkpoint.split import is_split as is_split
from fnn.checkpoint.store import restore as restore


def save(folder: str | Path, tree: PyTree, *, step: int | None = None) -> Path:
    """Save a tree as `fnn.checkpoint.save(…, sharded=True)` does.

    >>> import fnn, jax, tempfile
    >>> layout = fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))
    >>> state = fnn.init_state(fnn.dense(3, 2), fnn.sgd(0.1), jax.random.key(0), sharding=layout)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder, state).name, restore(folder, state).params.w.shape
    ('step-00000000', (3, 2))
    """
    return store.save(folder, tree, step=step, sharded=True)
