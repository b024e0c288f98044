"""How long a checkpoint of 300 MB stops a training.

    python -m experiments.benchmarks.saves

Trains a network of 300 MB in float32 by `fit`, with a checkpoint after every epoch, and measures how long `fit` itself
spends on each save, and on which part: copying the state to the host, waiting for the save before, the rest. Beside it,
the same state is saved with `fnn.checkpoint.save`, which returns when the checkpoint is durable, and is copied into
memory that is in use already, which is the least that any save must do as long as programs write into that of the
state.

Prints medians over the saves, and the seconds of an epoch with and without them: on the CPU, a thread that hashes and
writes takes a core from the training. A save waits for the one before only if an epoch is shorter than a save.
Expected: `fit` is stopped for less than 0.1 s beside the copy.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn

SIDE, LAYERS, SAVES, STEPS = 2500, 12, 6, 12  # 12 layers of 25 MB
NETWORK = fnn.mlp([SIDE] * (LAYERS + 1))
DATA = jnp.ones((STEPS, SIDE)) / SIDE, jnp.ones((STEPS, SIDE))
OPTIMIZER = fnn.sgd(1e-6)


def seconds(function: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class Stopwatch:
    """Measures the calls of functions of these names in this thread, without changing them: a profile of Python's."""

    def __init__(self, *names: str) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self.begun: dict[str, float] = {}

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        """Record an event of the interpreter, as `sys.setprofile` passes it."""
        name = frame.f_code.co_qualname
        if name in self.seconds and event == "call":
            self.begun[name] = time.perf_counter()
        elif name in self.seconds and event == "return":
            self.seconds[name].append(time.perf_counter() - self.begun[name])


def train(folder: str | None, watch: Stopwatch | None = None) -> list[float]:
    """Train for as many epochs as saves, with checkpoints in a folder or without, and return the seconds of each."""
    ends = []
    callback = lambda epoch, logs, state: ends.append(time.perf_counter())
    options = {} if folder is None else {"checkpoint_dir": folder, "keep": 1}
    sys.setprofile(watch)
    try:
        fnn.fit(
            NETWORK,
            fnn.squared_error,
            OPTIMIZER,
            DATA,
            epochs=SAVES,
            batch_size=1,
            key=jax.random.key(0),
            progress=False,
            callback=callback,
            callback_every=1,
            **options,
        )
    finally:
        sys.setprofile(None)
    return np.diff(ends).tolist()


def measure_alone() -> tuple[int, list[float], list[float]]:
    """Return the bytes of the state, and the seconds of saves and of copies without a training."""
    state = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(0))
    leaves = jax.tree.leaves(state.params)
    memory = [np.array(leaf) for leaf in leaves]
    copy = lambda: [np.copyto(array, leaf) for array, leaf in zip(memory, leaves, strict=True)]
    copies = [seconds(copy) for _ in range(SAVES)]
    with tempfile.TemporaryDirectory() as folder:
        saves = [seconds(lambda i=i: fnn.checkpoint.save(folder, state, step=i)) for i in range(SAVES)]
    return sum(leaf.nbytes for leaf in leaves), saves, copies


def main() -> None:
    """Print the table."""
    size, saves, copies = measure_alone()
    watch, plain = Stopwatch("save_checkpoint", "copy_to_host", "Saves.wait"), train(None)
    with tempfile.TemporaryDirectory() as folder:
        epochs = train(folder, watch)
    whole, copied, waits = (np.array(watch.seconds[name][: 2 * SAVES]) for name in watch.seconds)
    copied, (waits, last) = copied.reshape(SAVES, 2).sum(1), (waits[:SAVES], waits[SAVES])  # a save copies two trees
    print(f"a state of {size / 1e6:.0f} MB; seconds, medians of {SAVES} saves\n")
    print(f"{np.median(saves):7.3f}  fnn.checkpoint.save, which returns when the checkpoint is durable")
    print(f"{np.median(copies):7.3f}  a copy of the state into memory that is in use")
    print(f"{np.median(whole - waits):7.3f}  a save of fit, without waiting for the one before")
    print(f"{np.median(copied):7.3f}    of it the copy of the state (the first, into new memory: {copied[0]:.3f})")
    print(f"{np.median(whole - waits - copied):7.3f}    beside the copy")
    print(f"{np.median(waits[1:]):7.3f}  waiting for the save before (at most {max(waits):.3f})")
    print(f"{last:7.3f}  waiting for the last save, at the end of fit")
    print(f"{np.median(plain):7.3f}  an epoch without a checkpoint")
    print(f"{np.median(epochs):7.3f}  an epoch with a checkpoint")


if __name__ == "__main__":
    main()
