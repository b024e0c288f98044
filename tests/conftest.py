"""The strictest settings that JAX has, two CPU devices, room for what is compiled, and an end to what hangs."""

import faulthandler
import gc
import os
import signal
import threading

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


class _Limits:
    """Ends a process whose test hangs, and says where each of its threads is; xdist then says in which test that was.

    A plugin: what a conftest has of hooks is asked about the tests beside it, not about doctests.
    """

    seconds, slow_seconds = 600.0, 2400.0  # for what is set up, the test, and what follows it

    def __init__(self, stderr: int) -> None:
        self.stderr = stderr

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item):
        seconds = self.slow_seconds if item.get_closest_marker("slow") else self.seconds
        faulthandler.dump_traceback_later(seconds, exit=True, file=self.stderr)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    pytest_runtest_call = pytest_runtest_teardown = pytest_runtest_setup


class _Programs:
    """Lets go of what a file's tests compiled when its last one ends.

    Each program keeps some mappings of memory. Linux gives a process 65,530 by default (vm.max_map_count), which the
    whole suite could use up; then XLA ends the process with a segmentation fault in whichever test compiles next.
    """

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        if nextitem is None or nextitem.path != item.path:
            jax.clear_caches()
            gc.collect()  # what is in a cycle too


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Limits(os.dup(2)), "limits")  # a copy: 2 is captured while a test runs
    config.pluginmanager.register(_Programs(), "programs")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(20)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def no_stream_is_left():
    yield
    assert "fnn stream" not in [thread.name for thread in threading.enumerate()]
