"""The device that a program is written for while it is traced."""

from typing import Any

import jax


def default_device() -> Any:
    """Return the device on which JAX computes, and to which it sends arrays of the host, unless arrays say otherwise.

    It is `jax.default_device`, or the first device of this process.
    """
    chosen: Any = jax.config.values["jax_default_device"]
    return jax.local_devices(backend=chosen)[0] if chosen is None or isinstance(chosen, str) else chosen
