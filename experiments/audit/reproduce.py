"""Code that shows a finding with the audited library alone, and the number that it prints.

import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
x = jnp.array(0.0)
print(jax.grad(lambda x: jnp.ldexp(x, 2))(x))  # 1.0, expected 4.0
"""

import contextlib
import importlib
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.audit import symbols
from experiments.audit.call import Call, arguments
from experiments.audit.findings import Finding
from experiments.audit.judge import MODES, VALUE
from experiments.audit.symbols import Symbol

X64 = 'jax.config.update("jax_enable_x64", True)'


class Code(NamedTuple):
    """A reproduction of a finding."""

    text: str
    shown: str
    """What it prints, or why it does not run."""
    reproduced: bool
    """Whether it prints a number that is wrong in the same way."""
    ran: bool = True
    """Whether it prints a number."""


def reproduce(call: Call, finding: Finding) -> Code:
    """Write the code of a finding and run it: on one entry if that suffices, eagerly, else compiled."""
    tried = Code("", "no code was written", False, ran=False)
    for args, output, entry in _forms(call, finding):
        for compiled in (False, True):
            try:
                with jax.enable_x64(True):
                    tried = _tried(call, finding, args, output, entry, compiled)
            except Exception as error:
                why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]
                tried = tried if tried.ran else Code(tried.text, why, False, ran=False)
            if tried.reproduced:
                return tried
    return tried


def run(text: str) -> str:
    """Execute code and return the last line that it prints. The setting of float64 is the caller's."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text.replace(X64, ""), "<reproduction>", "exec"), {"__name__": "reproduction"})
    return out.getvalue().strip().rpartition("\n")[2]


def same_error(shown: float, got: float, expected: Sequence[float]) -> bool:
    """Return whether a number is wrong as another one is: not finite as well, or at least half as far off.

    >>> same_error(float("nan"), float("inf"), [1.0]), same_error(1.0, 0.0, [1.0]), same_error(0.01, 0.0, [1.0])
    (True, False, True)
    """
    if not (math.isfinite(shown) and math.isfinite(got)):
        return math.isfinite(shown) == math.isfinite(got)
    far = lambda v: min(abs(v - e) for e in expected)
    return far(shown) >= 0.5 * far(got)


def _forms(call: Call, finding: Finding) -> Iterator[tuple[tuple, int, int]]:
    """Yield arguments, the output's entry and the leaf's entry: first with single numbers, then as they were."""
    args = arguments(call, finding.x)
    arrays = [args[number] for number in call.numbers]
    shapes = {np.shape(a) if isinstance(a, np.ndarray) else None for a in arrays}
    if finding.alone and len(shapes) == 1 and shapes.isdisjoint({None, ()}) and finding.output == finding.entry:
        at = lambda a: np.asarray(a).ravel()[finding.entry] if np.shape(a) in shapes else a
        yield tuple(map(at, args)), 0, 0
    yield args, finding.output, finding.entry


def _tried(call: Call, finding: Finding, args: tuple, output: int, entry: int, compiled: bool) -> Code:
    text = _code(call, finding, args, output, entry, compiled)
    shown = run(text)
    reproduced = same_error(float(shown), finding.got, finding.expected)
    expected = " or ".join(f"{v:.10g}" for v in finding.expected)
    return Code(f"{text}  # {float(shown):.10g}, expected {expected}", shown, reproduced)


def _code(call: Call, finding: Finding, args: tuple, output: int, entry: int, compiled: bool) -> str:
    target = call.target
    number = int(finding.argument[1:].partition("]")[0])
    shown = [n for n, arg in enumerate(args) if n == number or symbols_array(arg)]
    names = {n: "x" if len(shown) == 1 else f"x{n}" for n in shown}
    module = target.path.rpartition(".")[0]
    public = Symbol(target.path.replace("jax.numpy.", "jnp."))
    values = [Symbol(names[n]) if n in names else arg for n, arg in enumerate(args)]
    if target.call:
        body, modules = symbols.text(target.call, public, *values, **target.options)
    else:
        body, modules = public(*values, **target.options).code, ()
    y = call.function(*jax.tree.map(lambda v: jnp.asarray(v) if symbols_array(v) else v, args))
    body = _selected(y, body, output)
    x, path = names[number], finding.argument.partition("]")[2]
    module = "jax.numpy" if public.code.startswith("jnp.") else module
    lines = [_imports([module, *modules, "jax", "jax.numpy"]), X64]
    lines += [f"{', '.join(names.values())} = {', '.join(symbols.show(_wide(args[n])) for n in names)}"]
    function = public.code if body == f"{public.code}({x})" else f"lambda {x}: {body}"
    if finding.kind == VALUE:
        return "\n".join([*lines, f"print({body})"])
    place = _entry(args[number], path, entry)
    if finding.kind == MODES and not path and not np.iscomplexobj(args[number]):
        tangent = f"jnp.zeros_like({x}).at{place}.set(1)" if place else f"jnp.ones_like({x})"
        forward = f"lambda {x}, t: jax.jvp({function}, ({x},), (t,))[1]"
        return "\n".join([*lines, f"print({f'jax.jit({forward})' if compiled else f'({forward})'}({x}, {tangent}))"])
    derivative = f"jax.{'jacfwd' if finding.kind == MODES else 'grad'}({function})"
    derivative = f"jax.jit({derivative})" if compiled else derivative
    return "\n".join([*lines, f"print({derivative}({x}){place})"])


def symbols_array(arg: Any) -> bool:
    """Return whether an argument is an array or a number of NumPy's."""
    return isinstance(arg, np.ndarray | np.generic | jax.Array) and not jnp.issubdtype(arg.dtype, jax.dtypes.prng_key)


def _wide(arg: Any) -> Any:
    """Return an argument whose numbers are float64, as they are when the code runs."""
    return jax.tree.map(lambda v: np.asarray(v) if symbols_array(v) else v, arg)


def _imports(modules: Sequence[str]) -> str:
    """Return the line of imports.

    >>> _imports(["jax.scipy.special", "jax", "jax.numpy", "optax"])
    'import jax, jax.numpy as jnp, jax.scipy.special, optax'
    """
    used = sorted({_module(module) for module in modules})
    return "import " + ", ".join(f"{m} as {symbols.SHORT[m]}" if m in symbols.SHORT else m for m in used)


def _module(path: str) -> str:
    """Return the module that holds a path, which may name a class in it."""
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        return path.rpartition(".")[0]
    return path


def _selected(y: Any, body: str, output: int) -> str:
    """Return the code of one entry of the output, counted as in `call.flat_output`."""
    leaves = [(k, v) for k, v in enumerate(jax.tree.leaves(y)) if jnp.issubdtype(jnp.result_type(v), np.inexact)]
    for k, leaf in leaves:
        parts = 2 if jnp.iscomplexobj(leaf) else 1
        size = np.size(leaf) * parts
        if output < size:
            whole = body if jax.tree.structure(y) == jax.tree.structure(0) else f"jax.tree.leaves({body})[{k}]"
            index = _index(np.shape(leaf), output // parts)
            return whole + index + ("" if parts == 1 else (".real", ".imag")[output % 2])
        output -= size
    raise IndexError("the output has fewer entries")


def _entry(arg: Any, path: str, entry: int) -> str:
    leaf = next(v for p, v in jax.tree_util.tree_flatten_with_path(arg)[0] if jax.tree_util.keystr(p) == path)
    parts = 2 if np.iscomplexobj(leaf) else 1
    return path + _index(np.shape(leaf), entry // parts) + ("" if parts == 1 else (".real", ".imag")[entry % 2])


def _index(shape: tuple[int, ...], flat: int) -> str:
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(flat, shape))}]" if shape else ""
