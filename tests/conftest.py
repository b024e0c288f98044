"""The strictest settings that JAX has, and two CPU devices."""

import os
import signal

import jax
import pytest
from hypothesis import settings

os.environ["FNN_CACHE"] = ""  # what is tested is compiled here and now, and the user's cache stays as it is
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# as in a terminal: started in the background, the suite would ignore Ctrl-C, and so would what it starts
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("fnn", deadline=None, max_examples=20, derandomize=True, database=None)
settings.load_profile("fnn")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(20)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
