"""Fixtures and settings of all tests: platform, JAX's strictest settings, two CPU devices, time and memory limits.

Tests run on the CPU wherever they run, as two devices. `-m accelerator` runs a subset on the devices that JAX finds:

    python -m pytest -m accelerator -n 12 --maxprocesses 12 --dist worksteal

JAX_PLATFORMS, if it is set, decides in both cases.
"""

import faulthandler
import gc
import itertools
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable

import jax
import pytest
from _pytest.mark.expression import Expression
from hypothesis import settings

from tests.support import children

os.environ["FNN_CACHE"] = ""  # tests neither read nor change the user's compilation cache
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A process started in the background ignores Ctrl-C, and so would its children; restore the handler of a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("fnn", deadline=None, max_examples=20, derandomize=True, database=None)
settings.load_profile("fnn")


class _TimeLimits:
    """End a process whose test hangs, with a traceback of each thread; xdist then reports which test it was.

    This is a plugin because the hooks of a conftest only see the tests below it, not the doctests.
    """

    seconds, slow_seconds = 600.0, 2400.0  # for the setup, the call and the teardown of a test, each

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


class _CompiledPrograms:
    """Release the compiled programs of a test file after its last test.

    Each program holds several memory mappings. Linux allows a process 65,530 of them by default (vm.max_map_count);
    beyond that XLA ends the process with a segmentation fault in whichever test compiles next.
    """

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        if nextitem is None or nextitem.path != item.path:
            jax.clear_caches()
            gc.collect()  # programs in reference cycles


# Autotuning chooses kernels by their times, which differ from process to process. Without it, XLA finds no tiles for
# some products of Triton's (jax 0.10): the others are cuBLAS's.
XLA_FLAGS = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"


def choose_platform(accelerator: bool, processes: int) -> None:
    """Set the environment of JAX and of its child processes, before JAX looks for devices.

    On the CPU nothing else is changed, so that the default run compiles what users get there. On an accelerator the
    matrix products of float32 are computed in full, the same program gives the same bits, and this many processes
    share the memory. What the user has set remains.
    """
    if not accelerator:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # PyTorch, in the tests of the benchmarks
        jax.config.update("jax_platforms", "cpu")
        return
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    jax.config.update("jax_default_matmul_precision", os.environ["JAX_DEFAULT_MATMUL_PRECISION"])
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / processes:.3f}")


def selects_accelerator(expression: str) -> bool:
    """Return whether a marker expression asks for the tests of accelerators: some test is selected for that mark."""
    try:
        selects = Expression.compile(expression).evaluate
    except Exception:  # of a type that depends on the version of pytest, which says later what is wrong
        return False
    others = set(re.findall(r"[^\s()]+", expression)) - {"accelerator", "and", "or", "not"}
    subsets = (set(some) for n in range(len(others) + 1) for some in itertools.combinations(others, n))
    return any(selects(_matcher(marks | {"accelerator"})) and not selects(_matcher(marks)) for marks in subsets)


def _matcher(marks: set[str]) -> Callable[..., bool]:
    return lambda name, /, **kwargs: name in marks


def pytest_configure(config: pytest.Config) -> None:
    choose_platform(
        selects_accelerator(config.option.markexpr), processes=len(getattr(config.option, "tx", None) or [0])
    )
    config.pluginmanager.register(_TimeLimits(os.dup(2)), "limits")  # a copy, because pytest redirects 2 during a test
    config.pluginmanager.register(_CompiledPrograms(), "programs")
    os.environ[children.CACHE] = tempfile.mkdtemp(prefix="fnn-tests-")  # one per worker: JAX's writes are not atomic


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(os.environ[children.CACHE], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark exhaustive tests slow too, so that `-m "not slow"` leaves them out and `-m slow` runs them."""
    for item in items:
        if item.get_closest_marker("exhaustive"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(20)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def slow_cases_compile_quickly(request: pytest.FixtureRequest):
    """Compile the slow cases of a test on the CPU with few of XLA's optimizations, in about half the time.

    For tests of formulas, whose results differ only by rounding. The cases of the default run compile what users get.
    """
    quickly = request.node.get_closest_marker("slow") is not None and jax.config.jax_platforms == "cpu"
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", before or quickly)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def no_stream_is_left():
    yield
    assert "fnn stream" not in [thread.name for thread in threading.enumerate()]
