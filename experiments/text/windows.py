"""Windows of a text: what a step trains on, and what the validation reads."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int32

Ids = Int32[np.ndarray, " time"]
Windows = tuple[Int32[np.ndarray, "batch block"], Int32[np.ndarray, "batch block"]]


def split(ids: Ids, fraction: float = 0.9) -> tuple[Ids, Ids]:
    """Split a text into its beginning, to train on, and its end, for the validation."""
    size = int(fraction * len(ids))
    return ids[:size], ids[size:]


def windows(ids: Ids, starts: Int32[np.ndarray, " batch"], block: int) -> Windows:
    """Return `block` ids from each start on, and for each of them the id after it.

    >>> windows(np.arange(10, dtype=np.int32), np.array([0, 6]), 3)
    (array([[0, 1, 2],
           [6, 7, 8]], dtype=int32), array([[1, 2, 3],
           [7, 8, 9]], dtype=int32))
    """
    positions = starts[:, None] + np.arange(block)[None]
    return ids[positions], ids[positions + 1]


def in_a_row(ids: Ids, block: int) -> Windows:
    """Return windows that cover the whole text, without the ids after the last whole window.

    >>> in_a_row(np.arange(10, dtype=np.int32), 4)[0].tolist()
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    """
    return windows(ids, np.arange(0, len(ids) - block, block), block)


def random_batches(
    ids: Ids, block: int, batch_size: int, steps: int, per_epoch: int, seed: int, text: str
) -> Callable[[int], Iterator[Windows]]:
    """Return a stream of batches of random windows.

    Args:
      ids: the text.
      block: the length of a window.
      batch_size: windows in a batch.
      steps: batches in all.
      per_epoch: batches in an epoch; the last epoch may have fewer.
      seed: decides the windows.
      text: names the text. `fit` compares the name of a stream when it resumes, and not the batches.

    Returns:
      epoch -> iterator of batches (x, y), as `fnn.fit` takes it. The same epoch always has the same batches.
    """

    def batches(epoch: int) -> Iterator[Windows]:
        generator = np.random.default_rng((seed, epoch))
        for _ in range(min(per_epoch, steps - epoch * per_epoch)):
            yield windows(ids, generator.integers(0, len(ids) - block, batch_size), block)

    batches.__qualname__ = f"windows of {text}, seed {seed}"
    return batches
