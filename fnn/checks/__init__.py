"""Checks of arguments: errors say what a function expects and what it got.

All checks run while a program is traced, so they cost nothing when it runs.

    errors        the error `function: argument must be …, got …`
    scalars       numbers
    arrays        arrays, and their conversion
    values        layers, losses, parameters, keys and paths
    host_values   scalars, byte orders and integers before JAX casts them
    targets       the targets of losses
    protocol      what the functions of a layer take and return
"""

from fnn.checks.arrays import array as array
from fnn.checks.arrays import floating as floating
from fnn.checks.arrays import floats as floats
from fnn.checks.arrays import not_an_array as not_an_array
from fnn.checks.arrays import on_host as on_host
from fnn.checks.arrays import per_example as per_example
from fnn.checks.arrays import shaped as shaped
from fnn.checks.errors import describe as describe
from fnn.checks.errors import fail as fail
from fnn.checks.scalars import fraction as fraction
from fnn.checks.scalars import integer as integer
from fnn.checks.scalars import number as number
from fnn.checks.scalars import pair as pair
from fnn.checks.scalars import positive_int as positive_int
from fnn.checks.scalars import step_of as step_of
from fnn.checks.values import fields as fields
from fnn.checks.values import key as key
from fnn.checks.values import key_axes as key_axes
from fnn.checks.values import layer as layer
from fnn.checks.values import loss as loss
from fnn.checks.values import no_params as no_params
from fnn.checks.values import params as params
from fnn.checks.values import path as path
