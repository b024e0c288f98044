"""A small training on data larger than the device: momentum, dropout, early stopping, a smaller last batch."""

import jax
import numpy as np

from fnn.data import prefetch
from fnn.data.order import epoch_key
from fnn.data.prefetch import Place
from fnn.sharding.tiles import tiles_of
from tests.support import training
from tests.support.oracles import normal

SIZE, BATCH = 330, 16  # 330 = 20 · 16 + 10: 21 steps an epoch
X = normal(0, (SIZE + 60, 4))
Y = (X[:, 0] + 0.5 * normal(1, (SIZE + 60,)) > 0).astype("int32")
DATA, VALIDATION = (X[:SIZE], Y[:SIZE]), (X[SIZE:], Y[SIZE:])
BUDGET = 4 * 2 * BATCH * (5 * 4 + 4)  # chunks of 4 steps
KEY = jax.random.key(0)


def fit(data=DATA, **options):
    """Train for 3 epochs."""
    return training.fit(data=data, **({"epochs": 3, "validation": VALIDATION, "patience": 2} | options))


def streamed(data=DATA, **options):
    return fit(data, **({"device_memory": BUDGET, "window": SIZE} | options))


def batches(epoch, data=DATA, order=None):
    """Yield the batches that training in memory uses in this epoch."""
    order = np.asarray(jax.random.permutation(epoch_key(KEY, epoch), len(data[0]))) if order is None else order
    for begin in range(0, len(order), BATCH):
        yield tuple(part[order[begin : begin + BATCH]] for part in data)


def rows_of(source, epoch, position=0, place=None):
    """x and y in the order of training, from a step of an epoch or from a place."""
    place = Place(rows=position * BATCH) if place is None else place
    elements = source.elements(KEY, epoch, place, None, True)
    chunks = list(prefetch.cut(elements, source.like, tiles_of(None, BATCH), source.steps, place.rows))
    assert [chunk.ends for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    return [np.concatenate([chunk.arrays[i][: chunk.rows] for chunk in chunks]) for i in (0, 1)]


class Read:
    """Like a dataset of h5py: not a NumPy array, and indices must ascend."""

    def __init__(self, array, watch=lambda: None):
        self.array, self.shape, self.dtype, self.watch = array, array.shape, array.dtype, watch

    def __getitem__(self, index):
        self.watch()
        assert isinstance(index, slice) or (np.diff(index) > 0).all()
        return self.array[index]
