"""The pytest plugin: a fixture keyed from the test's name, an option to replay a key, failing leaves in the report.

    def test_my_rule(gradcheck):
        gradcheck.custom_vjp(my_function, (x,))

The module itself needs pytest alone; the checker is imported when the fixture is used.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

_FAILED = pytest.StashKey[list[str]]()


class Gradcheck(NamedTuple):
    """The assertions of fnn.gradcheck with their key set: each raises GradientError, and returns its report if ok."""

    key: int
    vjp: Callable[..., Any]
    grad: Callable[..., Any]
    custom_vjp: Callable[..., Any]
    layer: Callable[..., Any]
    loss: Callable[..., Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """--grad-key N: the key of every check, in place of one made from the test's name."""
    group = parser.getgroup("gradcheck", "gradient checks (fnn)")
    group.addoption("--grad-key", type=int, default=None, metavar="N", help="key of the gradient checks, to replay one")


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Gradcheck:
    """The gradient checks, with a key made from the node id, or the one given by --grad-key."""
    from fnn.gradcheck import assertions

    given = request.config.getoption("--grad-key")
    key = zlib.crc32(request.node.nodeid.encode()) >> 1 if given is None else given

    def recording(assertion: Callable[..., Any], *args: Any, **choices: Any) -> Any:
        try:
            return assertion(*args, **{"key": key, **choices})
        except assertions.GradientError as error:
            request.node.stash.setdefault(_FAILED, []).append(str(error))
            raise

    names = ("assert_vjp", "assert_grad", "assert_custom_vjp", "assert_layer", "assert_loss")
    return Gradcheck(key, *(partial(recording, getattr(assertions, name)) for name in names))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """The failing leaves travel with the test's report, also from xdist's workers."""
    report = yield
    if report.when == "call" and report.failed:
        report.user_properties.extend(("gradcheck", text) for text in item.stash.get(_FAILED, []))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A section with the failing leaves of every test that checked a wrong gradient."""
    lines = [
        (report.nodeid, str(text))
        for report in terminalreporter.getreports("failed")
        for name, text in report.user_properties
        if name == "gradcheck"
    ]
    if not lines:
        return
    terminalreporter.section("gradients")
    for nodeid, text in lines:
        terminalreporter.line(nodeid, bold=True)
        for line in text.splitlines():
            terminalreporter.line(f"  {line}", red=": FAIL" in line)
