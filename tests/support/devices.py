"""Devices for tests that need two of them, wherever the tests run."""

from typing import Any

import jax
import pytest


def two_devices() -> list[Any]:
    """Return two devices of the default platform, or two CPU devices beside a single accelerator.

    Skip the test if there are not two of either.
    """
    found = jax.devices()
    if len(found) < 2 and jax.default_backend() != "cpu":
        try:
            found = jax.devices("cpu")
        except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
            found = []
    if len(found) < 2:
        pytest.skip(f"two devices are needed, found {len(jax.devices())} of the platform {jax.default_backend()}")
    return found[:2]
