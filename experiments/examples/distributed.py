"""What `--distributed` means: this process is one of several that train one network; process 0 alone speaks and writes.

Where all run on one machine, two lines of shell start them, here four:

    export FNN_COORDINATOR=localhost:9876 FNN_PROCESSES=4
    for i in 0 1 2 3; do FNN_PROCESS_ID=$i python -m experiments digits --distributed & done; wait

Under SLURM, `srun python -m experiments digits --distributed`, and on a TPU pod, where the same command is started on
every host, JAX finds out by itself who is there.
"""

import contextlib
import os
from collections.abc import Iterator

from jax.sharding import Mesh

from experiments.errors import ExperimentError, UsageError
from fnn import sharding
from fnn.sharding import Layout, agreement


@contextlib.contextmanager
def started(distributed: bool) -> Iterator[Layout | None]:
    """The layout to train with, over the devices of all processes; None where this one is alone.

    UsageError if the processes do not find each other. What one of them then cannot do ends all of them.
    """
    if not distributed:
        yield None
        return
    try:
        sharding.initialize()
    except (ValueError, RuntimeError, TimeoutError) as error:
        raise UsageError(f"--distributed: {error}") from None
    with contextlib.ExitStack() as stack:
        if not agreement.is_main_process():
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        try:
            yield sharding.data_parallel(Mesh(sharding.devices(), ("data",)))
        except ExperimentError as error:
            agreement.mark_failed(error.code)
            raise
