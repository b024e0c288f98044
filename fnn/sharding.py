"""Training on many devices, as one imports it: `from fnn import sharding`.

    mesh = jax.make_mesh((8,), ("data",))
    result = fnn.fit(network, loss, optimizer, data, sharding=sharding.data_parallel(mesh), …)

`fnn.layout` says which array lies where, `fnn.placement` and `fnn.rows` put state and examples there.
"""

from fnn.layout import Layout as Layout
from fnn.layout import data_parallel as data_parallel
from fnn.layout import dense_pairs as dense_pairs
from fnn.layout import shardings as shardings
from fnn.layout import tensor_parallel as tensor_parallel
from fnn.placement import constrained as constrained
from fnn.placement import place_params as place_params
from fnn.placement import place_state as place_state
from fnn.process_rows import devices as devices
from fnn.process_rows import rows_of_process as rows_of_process
from fnn.processes import LostProcessError as LostProcessError
from fnn.rows import Rows as Rows
from fnn.rows import place as place
from fnn.start import initialize as initialize
