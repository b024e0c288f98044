"""The pytest plugin of fnn.gradcheck: a fixture seeded from the name of a test, and a list of the failing leaves.

    def test_my_rule(gradcheck):
        gradcheck.custom_vjp(my_function, (x,))

pytest loads this module at every start, before it reads a conftest.py. The module is outside the package `fnn`, whose
import takes JAX with it. The fixture imports the checker when a test first uses it, so that a conftest.py can still set
`JAX_ENABLE_X64`, and pytest runs that check no gradient take no longer.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

_FAILED = pytest.StashKey[list[str]]()


class Gradcheck(NamedTuple):
    """The assertions of fnn.gradcheck with a key. Each returns its report, or raises GradientError."""

    key: int
    vjp: Callable[..., Any]
    grad: Callable[..., Any]
    custom_vjp: Callable[..., Any]
    layer: Callable[..., Any]
    loss: Callable[..., Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --grad-key N, the key of every check."""
    group = parser.getgroup("gradcheck", "gradient checks (fnn)")
    group.addoption(
        "--grad-key", type=int, default=None, metavar="N", help="key of every gradient check, to replay a failure"
    )


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Gradcheck:
    """Provide the assertions of fnn.gradcheck, with a key made from the test's node id, or given by --grad-key."""
    from fnn.gradcheck import check

    given = request.config.getoption("--grad-key")
    key = zlib.crc32(request.node.nodeid.encode()) >> 1 if given is None else given

    def recording(assertion: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return assertion(*args, **{"key": key, **options})
        except check.GradientError as error:
            request.node.stash.setdefault(_FAILED, []).append(str(error))
            raise

    return Gradcheck(
        key=key,
        vjp=partial(recording, check.assert_vjp),
        grad=partial(recording, check.assert_grad),
        custom_vjp=partial(recording, check.assert_custom_vjp),
        layer=partial(recording, check.assert_layer),
        loss=partial(recording, check.assert_loss),
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Store the failing leaves in the test's report, which xdist sends from its workers."""
    report = yield
    if report.when == "call" and report.failed:
        report.user_properties.extend(("gradcheck", text) for text in item.stash.get(_FAILED, []))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a section with the failing leaves of every test that found a wrong gradient."""
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
