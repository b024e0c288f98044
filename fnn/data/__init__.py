"""Data: preparing arrays, shuffling them, and streams of data larger than the device.

Arrays. `fnn.fit` takes `(x, y)` or `(x, y, weight)`, with one row per example. A row with weight 0 contributes nothing
to costs and gradients.

    fitted = fnn.data.fit_standardization(train_x)          mean and standard deviation of the training data
    x = fnn.data.standardize(test_x, fitted)                applied to other data
    y = fnn.data.one_hot(labels, k)
    train, test = fnn.data.split(key, (x, y), (0.8, 0.2), stratify=y)
    for x, y in fnn.data.batches(key, (x, y), 32): …        one shuffled epoch, for a loop of your own
    x, lengths = fnn.data.pad(sequences)                    sequences of different lengths as one array
    groups = fnn.data.buckets(lengths, 32)                  indices of sequences of similar lengths
    weight = fnn.data.token_weights(y)                      tokens per sequence: (x, y, weight) gives the token mean

Data larger than the device. With `fit(..., device_memory=2**30)`, arrays of more bytes than that stay on the host or
in a file (`np.load(..., mmap_mode="r")`). A background thread reads and sends the next chunk of steps while the device
computes on the current one, so two chunks are on the device at a time.

    window   Blocks of adjacent rows are read in random order, and rows are shuffled within windows of `window` rows.
             Default: the rows of one chunk. A window of all rows gives the same bits as training in memory.

If `fit` saves checkpoints, they record what the data were, and a resume with other data is refused. Arrays in memory
are hashed as a whole. Of a file, 256 rows are hashed, and its size and the time of its last change are compared:
another change of the file that keeps all of these is not noticed, and a copy must keep the time (`cp -p`). Of a stream,
only its name and the shapes and dtypes of a row are compared.

Streams. `data` may also be a function from the epoch (from 0) to an iterator of batches, each `(x, y)` or
`(x, y, weight)` of `batch_size` rows; only the last batch may be smaller. `fit` calls it whenever it needs an epoch,
and once before training to inspect the first batch. Every call must return a new iterator. Rows keep their order
unless `window` is given. Batches may reuse the same memory.

    def stream(epoch):
        for path in paths:
            yield load(path)

Checkpoints, resuming inside an epoch, early stopping and Ctrl-C work as for arrays. If the network has batch_norm, the
first chunk of an epoch calibrates it. Over the devices of a mesh each gets its own rows, and no row is communicated
between them, except those of a smaller last batch and those that calibrate. `fnn.sharding` says what each of several
processes passes.
"""

from fnn.data.arrays import batches as batches
from fnn.data.arrays import one_hot as one_hot
from fnn.data.arrays import split as split
from fnn.data.files import from_files as from_files
from fnn.data.ragged import buckets as buckets
from fnn.data.ragged import lengths_of as lengths_of
from fnn.data.ragged import pad as pad
from fnn.data.standardization import Standardization as Standardization
from fnn.data.standardization import fit_standardization as fit_standardization
from fnn.data.standardization import standardize as standardize
from fnn.data.tokens import token_weights as token_weights
