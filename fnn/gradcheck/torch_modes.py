"""How PyTorch is loaded and run during a check: in how many threads, and what it rounds."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def load() -> Any:
    """Import PyTorch. Raises ImportError with advice if it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError("fnn.gradcheck.torch: needs PyTorch; install it with `pip install fnn[bench]`") from error


@contextlib.contextmanager
def narrowest_operation() -> Iterator[list[tuple[str, str]]]:
    """Provide a list whose last entry is the narrowest dtype to which PyTorch rounds wider values, and by what.

    The entry is ("", "") if no operation does.
    """
    torch, found = load(), [("", "")]
    mode = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode
    tensors = lambda tree: [
        v for v in jax.tree_util.tree_leaves(tree) if isinstance(v, torch.Tensor) and v.dtype.is_floating_point
    ]

    class Recorder(mode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            widest = min((torch.finfo(v.dtype).eps for v in tensors((args, kwargs))), default=np.inf)
            for value in tensors(result):
                known = torch.finfo(getattr(torch, found[-1][0])).eps if found[-1][0] else 0.0
                if torch.finfo(value.dtype).eps > max(widest, known):
                    found.append((str(value.dtype).removeprefix("torch."), str(operation)))
            return result

    with Recorder():
        yield found


@contextlib.contextmanager
def one_thread(size: int) -> Iterator[None]:
    """Let PyTorch compute in one thread if its inputs have few elements.

    Its threads wait for each other: on two busy cores, a call of a small network took 30 ms instead of 0.7 ms.
    """
    torch = load()
    before = torch.get_num_threads()
    if size > 2**16:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
