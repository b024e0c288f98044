"""Where the tests run: on the CPU, except the tests of accelerators; two devices, of the CPU if there is only one."""

import os

import jax
import pytest

from tests import conftest
from tests.support import devices

NAMES = (
    "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION",
    "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION",
)  # fmt: skip
ON_ACCELERATOR = {
    "XLA_FLAGS": conftest.XLA_FLAGS, "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.075",
}  # fmt: skip


@pytest.mark.parametrize(
    ("accelerator", "given", "expected", "updates"),
    [
        (False, {}, {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}, {"jax_platforms": "cpu"}),
        (True, {}, ON_ACCELERATOR, {"jax_default_matmul_precision": "highest"}),
        (False, {"JAX_PLATFORMS": "cuda"}, {"JAX_PLATFORMS": "cuda"} | ON_ACCELERATOR, {
            "jax_default_matmul_precision": "highest"
        }),
        (True, {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "1"},
         {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "1"}, {"jax_platforms": "cpu"}),
        (True, {"JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32", "XLA_FLAGS": "--xla_dump_to=x"},
         ON_ACCELERATOR | {"JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32", "XLA_FLAGS": "--xla_dump_to=x"},
         {"jax_default_matmul_precision": "tensorfloat32"}),
    ],
    ids=["default", "accelerator", "platform given", "CPU given", "options given"],
)  # fmt: skip
def test_the_platform_is_chosen_unless_the_user_has(accelerator, given, expected, updates, monkeypatch):
    changed = {}
    for name in NAMES:
        monkeypatch.setenv(name, "")  # restored at the end, whatever it was
        del os.environ[name]
    os.environ.update(given)
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    conftest.choose_platform(accelerator, 12)
    assert {name: os.environ[name] for name in NAMES if name in os.environ} == expected
    assert changed == updates


@pytest.mark.parametrize(
    ("default", "beside", "expected"),
    [
        (["gpu 0"], ["cpu 0", "cpu 1"], ["cpu 0", "cpu 1"]),
        (["gpu 0", "gpu 1", "gpu 2"], ["cpu 0"], ["gpu 0", "gpu 1"]),
        (["gpu 0"], ["cpu 0"], None),
        (["gpu 0"], None, None),
        (["cpu 0"], ["cpu 0"], None),
    ],
    ids=["one GPU", "three GPUs", "one CPU device", "no CPU device", "one device in all"],
)
def test_two_devices_are_found_or_the_test_is_skipped(default, beside, expected, monkeypatch):
    def find(platform=None):
        if platform is not None and beside is None:
            raise RuntimeError("no platform cpu")
        return default if platform is None else beside

    monkeypatch.setattr(jax, "devices", find)
    monkeypatch.setattr(jax, "default_backend", lambda: default[0].split()[0])
    if expected is None:
        with pytest.raises(pytest.skip.Exception, match="two devices are needed, found 1 of the platform"):
            devices.two_devices()
    else:
        assert devices.two_devices() == expected


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ("accelerator", True),
        ("accelerator and not slow", True),
        ("slow and (accelerator or exhaustive)", True),
        ("not (not accelerator)", True),
        ("not accelerator", False),
        ("not  accelerator", False),
        ("not (accelerator)", False),
        ("not (slow or accelerator)", False),
        ("slow and not (accelerator or exhaustive)", False),
        ("accelerators", False),
        ("accelerator and", False),
        ("slow", False),
        ("", False),
    ],
)
def test_which_marker_expressions_ask_for_accelerators(expression, selected):
    assert conftest.selects_accelerator(expression) is selected
