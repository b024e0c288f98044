"""The flag `--distributed`: train one network in several processes.

Only process 0 prints and writes.

On one machine, two lines of shell start the processes, here four:

    export FNN_COORDINATOR=localhost:9876 FNN_PROCESSES=4
    for i in 0 1 2 3; do FNN_PROCESS_ID=$i python -m experiments digits --distributed & done; wait

Under SLURM (`srun python -m experiments digits --distributed`), and on a TPU pod with the same command on every host,
JAX detects the processes itself.
"""

import contextlib
import os
from collections.abc import Iterator

from jax.sharding import Mesh

from experiments.errors import ExperimentError, UsageError
from fnn import sharding
from fnn.sharding import Layout


@contextlib.contextmanager
def process_layout(distributed: bool) -> Iterator[Layout | None]:
    """Yield a data-parallel layout over the devices of all processes.

    Yield None if not `distributed`.

    If one process fails, it ends the others too.

    Raises:
      UsageError: if the processes do not find each other.
    """
    if not distributed:
        yield None
        return
    try:
        sharding.initialize()
    except (ValueError, RuntimeError, TimeoutError) as error:
        raise UsageError(f"--distributed: {error}") from None
    with contextlib.ExitStack() as stack:
        if not sharding.is_main_process():
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        try:
            yield sharding.data_parallel(Mesh(sharding.devices(), ("data",)))
        except ExperimentError as error:
            sharding.mark_failed(error.code)
            raise
