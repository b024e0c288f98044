"""The device that a program is written for while it is traced, which decides how attention is computed."""

from typing import Any

import jax


def default_device() -> Any:
    """Return the device on which JAX computes unless arrays say otherwise: `jax.default_device`, or the first."""
    chosen: Any = jax.config.values["jax_default_device"]
    return jax.devices(chosen)[0] if chosen is None or isinstance(chosen, str) else chosen
