"""`pytest --gradcheck MODULE`: one test for each function and example."""

import pytest

pytest_plugins = ["pytester"]

OPS = """
import jax, jax.numpy as jnp
from fnn.gradcheck import example

def rule(factor):
    @example(2 * jnp.arange(3.0), checks=("reference",), num_points=1)
    @example(jnp.arange(3.0), checks=("reference",), num_points=1)
    @jax.custom_vjp
    def square(x):
        return x * x
    square.defvjp(lambda x: (x * x, x), lambda x, ct: (factor * x * ct,))
    return square

right, wrong = rule(2), rule(3)
bare = jax.custom_vjp(lambda x: x)
"""
TEST = "def test_nothing():\n    pass\n"
PLUGIN = ("-p", "fnn_pytest_plugin")


@pytest.fixture
def run(pytester: pytest.Pytester, request: pytest.FixtureRequest):
    """Return a function that runs pytest on a file beside the module `ops`, which can be imported."""
    plugin = () if request.config.pluginmanager.has_plugin("fnn_pytest_plugin") else PLUGIN
    pytester.makepyfile(ops=OPS, test_it=TEST)

    def running(*options: str, distribute: bool = False):
        options = (*plugin, "-p", "no:cacheprovider", "-rs", *options)
        if distribute:
            return pytester.runpytest_subprocess(*options)
        return pytester.runpytest_inprocess("-p", "no:xdist", *options)

    return running


def test_a_test_for_each_function_and_example(run):
    result = run("--gradcheck", "ops", "--gradcheck", "ops.py:right", "-v", "--grad-key=41")
    result.assert_outcomes(passed=3, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "gradcheck::ops::right[[]0] PASSED*",
            "gradcheck::ops::right[[]1] PASSED*",
            "gradcheck::ops::wrong[[]0] FAILED*",
            "gradcheck::ops::wrong[[]1] FAILED*",
            "gradcheck::ops::bare SKIPPED*",
            "*= gradients =*",
            "gradcheck::ops::wrong[[]0]",
            "*1 of 1 leaves wrong (float64, key 41)",
            "SKIPPED*no example: add @fnn.gradcheck.example(...)*",
        ]
    )
    result.stdout.no_fnmatch_line("*fnn/gradcheck/run.py*")  # the report, and no traceback through the checker


def test_selected_by_name(run):
    result = run("--gradcheck", "ops", "-k", "right and not test_nothing", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["gradcheck::ops::right[[]0]", "gradcheck::ops::right[[]1]", "*4 deselected*"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("op", "*--gradcheck: no module 'op'; did you mean 'ops'?*"),
        ("test_it", "*--gradcheck: no custom_vjp*in test_it*"),
        ("broken", "*ZeroDivisionError*broken raised ZeroDivisionError when it was imported*"),
    ],
)
def test_wrong_names(run, pytester, name, message):
    pytester.makepyfile(broken="1 / 0")
    result = run("--gradcheck", name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(message.strip("*").split("*")[-1] in line for line in result.errlines), result.errlines


@pytest.mark.slow
def test_distributed_over_processes(run):
    pytest.importorskip("xdist")
    result = run("--gradcheck", "ops", "-n2", "--dist", "load", distribute=True)
    result.assert_outcomes(passed=3, failed=2, skipped=1)


@pytest.mark.slow
def test_submodules_that_need_an_absent_module_are_skipped(run, pytester):
    pytester.mkpydir("pack").joinpath("optional.py").write_text("import a_module_that_is_not_there\n")
    pytester.path.joinpath("pack", "ops.py").write_text(OPS)
    result = run("--gradcheck", "pack")
    result.stdout.fnmatch_lines(["SKIPPED*pack.optional needs a_module_that_is_not_there, which is not installed"])
    result.assert_outcomes(passed=3, failed=2, skipped=2)
