"""Run an experiment by name: `python -m experiments NAME [flags]`.

Without a name, list the experiments.
"""

import ast
import difflib
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from experiments import cache, flags
from experiments.errors import ExperimentError, UsageError, needs
from experiments.studies import NAMES

PROGRAM = "python -m experiments"
INTERRUPTED = 130  # exit code of a command that Ctrl-C ended

# Each module has a frozen dataclass `Config`, whose fields are the flags, and main(config).
# A module without `Config` has main(arguments) and parses its own flags.
EXPERIMENTS = {
    "digits": "experiments.examples.digits",
    "sweep": "experiments.examples.sweep",
    "data": "experiments.data.datasets",
    "train": "experiments.tabular.train",
    "predict": "experiments.tabular.predict",
    "text": "experiments.text.text",
    "tutorials": "experiments.tutorials.tutorials",
    "planar": "experiments.examples.planar",
    "housing": "experiments.examples.housing",
    "animals": "experiments.examples.animals",
    "ball": "experiments.examples.ball",
    "cats": "experiments.examples.cats",
    "mnist": "experiments.examples.mnist",
    "gradcheck": "experiments.benchmarks.gradcheck",
    "audit": "experiments.audit.audit",
    "bench": "experiments.benchmarks.bench",
    "accelerator": "experiments.benchmarks.accelerator",
    "speedrun": "experiments.benchmarks.speedrun",
    "tables": "experiments.benchmarks.tables",
    "estimators": "experiments.benchmarks.estimators",
    "plan": "experiments.planning.plan",
    "plan gpt": "experiments.planning.gpt",
    "nielsen": "experiments.nielsen.nielsen",
    "all": "experiments.claims.all",
    "report": "experiments.claims.report",
    "claims": "experiments.claims.claims",
} | {name: f"experiments.studies.{name}" for name in NAMES}


def first_line(module: str) -> str:
    """Return the first line of a module's docstring without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ExperimentError(f"the module {module} does not exist")
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def format_list(names: Iterable[str]) -> str:
    """Format one line per experiment."""
    width = max(map(len, EXPERIMENTS))
    return "\n".join(f"  {name:{width}}  {first_line(EXPERIMENTS[name])}" for name in names)


def overview() -> str:
    """Return the text shown without a name and for --help."""
    others = [name for name in EXPERIMENTS if name not in NAMES]
    return (
        f"usage: {PROGRAM} NAME [flags]\n\nexperiments:\n{format_list(others)}\n\n"
        f"studies of the notes' claims (to run all of them: `{PROGRAM} all`):\n{format_list(NAMES)}\n\n"
        f"`{PROGRAM} NAME --help` lists the flags of an experiment."
    )


def split_name(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the name of an experiment, which may have two words, and its flags.

    >>> name, arguments = split_name(["plan", "gpt", "--layers", "2"])
    >>> name
    'plan gpt'
    >>> arguments
    ['--layers', '2']
    """
    words = 2 if " ".join(arguments[:2]) in EXPERIMENTS else 1
    return " ".join(arguments[:words]), arguments[words:]


def unknown_name(name: str) -> UsageError:
    """Return the error for an unknown name, with the closest known name as a hint."""
    close = difflib.get_close_matches(name, EXPERIMENTS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose from: {', '.join(EXPERIMENTS)}"
    return UsageError(f"no experiment {name!r}; {hint}")


def run(name: str, arguments: Sequence[str]) -> None:
    """Import the experiment and run it with these flags."""
    if name not in EXPERIMENTS:
        raise unknown_name(name)
    needs("tyro")
    import tyro

    cache.enable()
    module = importlib.import_module(EXPERIMENTS[name])
    from fnn.gradcheck import redeliver_interrupts  # the experiments import JAX, which can lose Ctrl-C

    if not hasattr(module, "Config"):
        with redeliver_interrupts():
            module.main(list(arguments))
        return
    if {"-h", "--help"} & set(arguments):
        print(module.__doc__)  # tyro's `description` would join its lines
    spelled = flags.spell_choices(module.Config, arguments)
    config = tyro.cli(module.Config, prog=f"{PROGRAM} {name}", description="", args=spelled)
    flags.check_numbers(config)
    with redeliver_interrupts():
        module.main(config)


def out_of_memory(error: Exception) -> bool:
    """Return whether Python, NumPy or XLA ran out of memory."""
    by_xla = type(error).__name__ in ("XlaRuntimeError", "JaxRuntimeError") and "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError) or by_xla


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code.

    0: success, 1: the experiment failed, 2: wrong flags, 130: interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # texts may hold what a terminal cannot show
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(overview())
        else:
            run(*split_name(arguments))
    except ExperimentError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe, as in `… --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0].strip()
        print(f"{PROGRAM}: error: not enough memory for these flags: {reason}"[:300], file=sys.stderr)
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End the process with this exit code: at once, if it was interrupted and threads of XLA may still compile."""
    if code == INTERRUPTED and "jax" in sys.modules:
        from fnn.gradcheck import leave

        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
