"""The pytest plugin of fnn.gradcheck: a fixture seeded from the name of a test, and a list of the failing leaves.

    def test_my_rule(gradcheck):
        gradcheck.custom_vjp(my_function, (x,))

`pytest --gradcheck MODULE` adds one test for every function that `python -m fnn.gradcheck MODULE` would check, and for
each of its examples. Their names begin with "gradcheck::MODULE", so `-k gradcheck::MODULE` selects them.

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
    custom_jvp: Callable[..., Any]
    layer: Callable[..., Any]
    loss: Callable[..., Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --grad-key N, the key of every check, and --gradcheck MODULE, whose gradients become tests."""
    group = parser.getgroup("gradcheck", "gradient checks (fnn)")
    group.addoption(
        "--grad-key", type=int, default=None, metavar="N", help="key of every gradient check, to replay a failure"
    )
    group.addoption(
        "--gradcheck",
        action="append",
        default=[],
        metavar="MODULE[:function]",
        help="add a test for every custom_vjp, custom_jvp, layer and loss of a module (see python -m fnn.gradcheck); "
        "may be repeated",
    )


class _Module(pytest.Collector):
    """A module whose gradients are checked."""

    def collect(self) -> list[pytest.Item]:
        """Return nothing: `pytest_collection_modifyitems` makes the items."""
        return []


class _Check(pytest.Item):
    """The check of one function at one example."""

    run: Callable[[int | None], Any]
    """key -> the report of the check. It skips the test if there is no example."""

    def runtest(self) -> None:
        """Check the gradient. Raises GradientError if it is wrong."""
        from fnn.gradcheck.report import GradientError

        report = self.run(self.config.getoption("--grad-key"))
        if not report.ok:
            self.stash[_FAILED] = [report.summary()]
            raise GradientError(report.summary())

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the report alone, without a traceback through the checker."""
        if type(excinfo.value).__name__ == "GradientError":
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, None, str]:
        """Return where the test is said to be, and its name."""
        return self.path, None, self.nodeid


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests of --gradcheck, before other plugins select among the tests."""
    names = config.getoption("--gradcheck")
    if not names:
        return
    from fnn.gradcheck.importing import ImportFailedError, NamingError
    from fnn.gradcheck.named import named

    try:
        found = named(names)
    except (NamingError, ImportFailedError) as error:
        raise pytest.UsageError(f"--gradcheck: {error}") from None
    modules: dict[str, _Module] = {}

    def add(module: str, name: str, run: Callable[[int | None], Any]) -> None:
        nodeid = f"gradcheck::{module}"
        if module not in modules:
            modules[module] = _Module.from_parent(session, name=nodeid, nodeid=nodeid)
        item = _Check.from_parent(modules[module], name=name, nodeid=f"{nodeid}::{name}")
        item.run = run
        items.append(item)

    for case in found.cases:
        missing = partial(_skip, f"no example: {case.missing}")
        add(case.module, case.name, case.check if case.arguments else missing)
    for module, needed in found.absent:
        add(module, "import", partial(_skip, f"{module} needs {needed}, which is not installed"))


def _skip(reason: str, key: int | None) -> None:
    pytest.skip(reason)


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Gradcheck:
    """Provide the assertions of fnn.gradcheck, with a key made from the test's node id, or given by --grad-key."""
    from fnn.gradcheck import check, jvp_rules
    from fnn.gradcheck.report import GradientError

    given = request.config.getoption("--grad-key")
    key = zlib.crc32(request.node.nodeid.encode()) >> 1 if given is None else given

    def recording(assertion: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return assertion(*args, **{"key": key, **options})
        except GradientError as error:
            request.node.stash.setdefault(_FAILED, []).append(str(error))
            raise

    return Gradcheck(
        key=key,
        vjp=partial(recording, check.assert_vjp),
        grad=partial(recording, check.assert_grad),
        custom_vjp=partial(recording, check.assert_custom_vjp),
        custom_jvp=partial(recording, jvp_rules.assert_custom_jvp),
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
