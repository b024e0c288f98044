"""What each of several processes passes to `fit` as data, and what they agree on."""

from typing import Any

import numpy as np

from fnn.data import streams
from fnn.data.arrays import unpack_batch
from fnn.data.files import arrays_of, is_from_files
from fnn.data.identity import describe_sample
from fnn.data.streams import Source
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
      ValueError: in every process, if they pass different arrays: dtypes, shapes, or any of 256 rows.
    """
    with agreement.fail_together("fit"):
        source = streams.source(data, batch_size, device_memory, window, vocabulary, layout)
    if layout is None or not agreement.is_multiprocess():
        return source, data
    arrays = device_memory is not None and isinstance(data, tuple | list)
    with agreement.fail_together("fit"):
        given: Any = arrays_of("fit", "data: ", unpack_batch("fit", tuple(data))) if arrays else ()
        given = (data[0] if len(data) else None) or () if is_from_files(data) else given
        found = list(map(describe_sample, given))
    agreement.assert_same("fit", _ADVICE, data=found)
    if not arrays or source is not None:
        return source, data
    return None, tuple(np.asarray(array[rows_of_process(layout, len(given[0]))]) for array in given)
