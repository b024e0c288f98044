"""Training on many devices, as one imports it: `from fnn import sharding`.

    mesh = jax.make_mesh((8,), ("data",))
    result = fnn.fit(network, loss, optimizer, data, sharding=sharding.data_parallel(mesh), …)

`fnn.layout` says which array lies where, `fnn.placement` and `fnn.rows` put state and examples there.
"""

from fnn.sharding.agreement import LostProcessError as LostProcessError
from fnn.sharding.initialize import initialize as initialize
from fnn.sharding.layout import Layout as Layout
from fnn.sharding.layout import data_parallel as data_parallel
from fnn.sharding.layout import dense_pairs as dense_pairs
from fnn.sharding.layout import shardings as shardings
from fnn.sharding.layout import tensor_parallel as tensor_parallel
from fnn.sharding.placement import constrained as constrained
from fnn.sharding.placement import place_params as place_params
from fnn.sharding.placement import place_state as place_state
from fnn.sharding.process_rows import devices as devices
from fnn.sharding.process_rows import rows_of_process as rows_of_process
from fnn.sharding.rows import Rows as Rows
from fnn.sharding.rows import place as place
