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

HDF5 datasets of h5py are read in the same way. Windows much larger than a chunk have single rows read from all over the
file, which HDF5 does slowly.

If `fit` saves checkpoints, they record what the data were, and a resume with other data is refused. Arrays in memory
are hashed as a whole. Of a file, 256 rows are hashed, and its size and the time of its last change are compared:
another change of the file that keeps all of these is not noticed, and a copy must keep the time (`cp -p`). Of a stream,
only its name and the shapes and dtypes of a row are compared.

Streams. `data` may also be a source of elements, each `(x, y)` or `(x, y, weight)` with any number of rows, which `fit`
cuts into batches of `batch_size`. An epoch is one pass. `pip install 'fnn[streams]'` installs Grain.

    dataset = fnn.data.from_files(x, y).map(augment)        groups of rows of arrays or files, shuffled
    dataset = grain.MapDataset.source(records).seed(0).shuffle().map(decode).batch(32)
    dataset = …to_iter_dataset(), or any iterable whose iterators have get_state and set_state
    iterator with get_state and set_state                   set to its first state for each epoch, and at the end
    def stream(epoch): yield from map(load, paths)          a function from the epoch (from 0) to an iterable

- A `grain.MapDataset` has another order in each epoch: element i of epoch e is `dataset[e * len(dataset) + i]`. What a
  filter removed is left out. Grain's threads read 16 elements ahead; for other numbers pass a function of the epoch e:
  `dataset.repeat(e + 1)[e * len(dataset):].to_iter_dataset(grain.ReadOptions(…))`.
- An `IterDataset` has the same order in each pass, unless its own steps draw random numbers. One that repeats forever
  has no end of an epoch: training goes on inside the first until it is stopped. A MapDataset that does is refused.
  Grain reads 500 elements ahead unless told otherwise, which costs it 0.15 ms for each element (Grain 0.2.18): of
  batches of few rows, `to_iter_dataset(grain.ReadOptions(num_threads=16, prefetch_buffer_size=16))` trains faster.
- A function is called once per epoch, and once before training to inspect the first element. Each call must return a
  new iterator. Elements may reuse the same memory.
- Rows keep the order in which they come. With `window`, the rows of as many elements as make about `window` rows are
  held in memory and shuffled. Epochs may have different numbers of rows; each new size of a last batch is compiled.

A checkpoint inside an epoch records the state of the iterator before the element that comes next, and a resume sets it
and reads only what was not trained on. It must be what JSON can hold: dicts, lists, texts, numbers, and bytes. Without
get_state and set_state, the elements before are read again.

Early stopping and Ctrl-C work as for arrays. If the network has batch_norm, the first chunk of an epoch calibrates it.
Over the devices of a mesh each gets its own rows, and no row is communicated between them, except those of a smaller
last batch and those that calibrate. Several processes train on all of these sources; `fnn.sharding` says what each of
them passes. A stream of shares takes no `window`. Checkpoints record what process 0 says of the data.
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
