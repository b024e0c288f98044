"""Check the gradients that a module defines: `python -m fnn.gradcheck MODULE[:function]`.

Finds every jax.custom_vjp, jax.custom_jvp, layer and loss of a module, and of the submodules of a package, and checks
each at the examples that the decorator @fnn.gradcheck.example(...) attaches to it, or at arguments drawn from
annotations with shapes. A function that has neither is listed, and not checked.

exit code: 0 if every gradient is right, 1 if one is wrong or cannot be checked, 2 for wrong usage or a module that
cannot be imported, 130 if interrupted
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from fnn.gradcheck.discover import Case
from fnn.gradcheck.importing import ImportFailedError, NamingError
from fnn.gradcheck.interrupts import INTERRUPTED, leave, redeliver_interrupts
from fnn.gradcheck.named import named
from fnn.gradcheck.text import for_stdout

PROGRAM = "python -m fnn.gradcheck"


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    flags = _parser().parse_args(arguments)
    try:
        with redeliver_interrupts():
            return _run(flags)
    except NamingError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 2
    except ImportFailedError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    description, _, epilog = (__doc__ or "").partition("\n\nexit code: ")
    parser = argparse.ArgumentParser(
        PROGRAM,
        description=description,
        epilog=f"exit code: {epilog}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "modules", nargs="+", metavar="MODULE[:function]", help="a dotted name, or the path of a .py file or a package"
    )
    parser.add_argument("--points", choices=("random", "edges"), default="random", help="points: see check_vjp")
    parser.add_argument("--order", type=int, choices=(1, 2), default=1, help="2 also checks second derivatives")
    parser.add_argument("--key", type=int, help="key of every check. Default: one made from the function's name")
    parser.add_argument("--strict", action="store_true", help="fail if a function has no example")
    parser.add_argument("--list", action="store_true", help="list the functions, and check none")
    return parser


def _run(flags: argparse.Namespace) -> int:
    found = named(flags.modules)
    for name, needed in found.absent:
        _print(f"{'no import':12}{name}", f"needs {needed}, which is not installed")
    options = {"points": flags.points, "order": flags.order}
    right, wrong, missing, reports = 0, 0, 0, []
    for case in found.cases:
        missing += case.arguments is None
        if case.arguments is None or flags.list:
            _print(f"{'no example' if case.missing else 'example':12}{_shown(case)}", case.missing)
            continue
        ok, line, report = _check(case, flags.key, options)
        right, wrong = right + ok, wrong + (not ok)
        reports += [] if ok else [f"{case.label}\n{report}"]
        _print(line)
    for report in reports:
        _print(f"\n{report}")
    if not flags.list:
        print(f"\n{right} right, {wrong} wrong or not checked, {missing} without an example")
    return int(wrong > 0 or (flags.strict and missing + len(found.absent) > 0))


def _print(line: str, advice: str = "") -> None:
    print(for_stdout(f"{line}: {advice}" if advice else line), flush=True)


def _check(case: Case, key: int | None, options: dict[str, Any]) -> tuple[bool, str, str]:
    """Check a case. Returns whether its gradient is right, a line of text, and the report."""
    start = time.perf_counter()
    try:
        report = case.check(key, **options)
    except Exception as error:  # an example that the function does not take, or a function that raises
        return False, f"{'ERROR':12}{_shown(case)}", f"{type(error).__name__}: {error}"
    line = f"{'PASS' if report.ok else 'FAIL':12}{_shown(case)}, {time.perf_counter() - start:.1f} s"
    return report.ok, line, report.summary()


def _shown(case: Case) -> str:
    return f"{case.label} ({case.kind})"


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
