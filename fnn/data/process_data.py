"""What each of several processes passes to `fit` as data, and what they agree on."""

from typing import Any

import numpy as np

from fnn.data import streams
from fnn.data.arrays import unpack_batch
from fnn.data.files import arrays_of, files_of
from fnn.data.identity import describe_sample
from fnn.data.streams import Source
from fnn.hashing import hash_array
from fnn.sharding import agreement
from fnn.sharding.layout import Layout
from fnn.sharding.process_rows import rows_of_process

_ADVICE = "Each process passes all rows, and reads those that it needs."


def agree(
    data: Any,
    batch_size: int,
    device_memory: int | None,
    window: int | None,
    vocabulary: int | None,
    layout: Layout | None,
) -> tuple[Source | None, Any]:
    """Return the data of `fit` as a Source (None if they are for the devices), and what of them this process passes on.

    With `device_memory`, and with a dataset of `from_files`, every process passes all rows: the order of training is
    one order of all rows, and nobody need divide files by hand. A process then reads only its own rows of each batch;
    of a mapped dataset all of them, since a function of many rows may need them. Arrays that fit into the memory of the
    devices are divided here.

    Raises:
      ValueError: in every process, if they pass different arrays: dtypes, shapes, or any of 256 rows; or different
        windows, keys or first elements of `from_files`.
    """
    with agreement.fail_together("fit"):
        source = streams.source(data, batch_size, device_memory, window, vocabulary, layout)
    if layout is None or not agreement.is_multiprocess():
        return source, data
    arrays = device_memory is not None and isinstance(data, tuple | list)
    with agreement.fail_together("fit"):
        given: Any = arrays_of("fit", "data: ", unpack_batch("fit", tuple(data))) if arrays else ()
        found = list(map(describe_sample, given))
        if files := files_of(data):
            first = map(np.asarray, (data[0] if len(data) else None) or ())
            found = [f"window {files.window}", hash_array(files.key), *map(describe_sample, (*files.arrays, *first))]
    agreement.assert_same("fit", _ADVICE, data=found)
    if not arrays or source is not None:
        return source, data
    return None, tuple(np.asarray(array[rows_of_process(layout, len(given[0]))]) for array in given)


def record(source: Source) -> list[str]:
    """Return what a checkpoint records of the data: what process 0 says of them.

    In others a stream may have another name, and a copy of a file another time of change. Every process must call it.
    """
    with agreement.fail_together("fit"):
        own = source.about() if agreement.is_main_process() else []
    return agreement.all_gather_json(own)[0]
