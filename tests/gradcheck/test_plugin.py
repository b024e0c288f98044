"""The pytest plugin: the key of the fixture, --grad-key, and the section with failing leaves."""

import zlib

import pytest

pytest_plugins = ["pytester"]

RIGHT = """
import jax.numpy as jnp

def test_sin(gradcheck):
    report = gradcheck.vjp(jnp.sin, lambda args, ct: ct * jnp.cos(args[0]), (jnp.arange(4.0),), checks=("reference",))
    print("key", gradcheck.key)
"""
WRONG = RIGHT.replace("ct * jnp.cos", "-ct * jnp.cos")
PLUGIN = ("-p", "fnn_pytest_plugin", "-p", "no:cacheprovider", "-p", "no:xdist")


@pytest.fixture
def run(pytester: pytest.Pytester, request: pytest.FixtureRequest):
    """Return a function that runs a test file in this process, with the plugin even if it is not installed."""
    plugin = () if request.config.pluginmanager.has_plugin("fnn_pytest_plugin") else PLUGIN

    def running(text: str, *options: str):
        pytester.makepyfile(test_it=text)
        return pytester.runpytest_inprocess(*plugin, "-s", *options)

    return running


def test_the_key_comes_from_the_name(run):
    result = run(RIGHT)
    result.assert_outcomes(passed=1)
    key = zlib.crc32(b"test_it.py::test_sin") >> 1
    result.stdout.fnmatch_lines([f"*key {key}"])


def test_grad_key(run):
    result = run(RIGHT, "--grad-key=41")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*key 41"])


def test_failing_leaves_in_the_report(run):
    result = run(WRONG, "--grad-key=41")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*= gradients =*",
            "test_it.py::test_sin",
            "*1 of 1 leaves wrong*",
            "*FAIL*",
            "*hint: sign flipped",
            "*Reproduce: *(41))",
        ]
    )


def test_no_section_without_a_failure(run):
    assert "gradients" not in run(RIGHT).stdout.str()
