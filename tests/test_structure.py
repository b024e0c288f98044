"""The structure of the packages: imports, sizes of modules, how records are read, and the public names."""

import ast
import functools
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.public_names import PUBLIC

ROOT = Path(__file__).parents[1]

# Each group may import from itself and from the groups above it.
GROUPS = (
    ("types", "dtypes", "checks", "hashing", "display", "split_params"),
    ("init", "weights", "descent", "row_weights", "losses", "metrics", "optimizers", "backprop"),
    ("layers",),
    ("sharding",),
    ("data",),
    ("checkpoint", "sharded_checkpoint"),
    ("training",),
    ("sweeps", "generation"),
    ("search",),
    ("plot", "callbacks", "interchange"),
    ("estimators",),
)
LEVELS = {name: level for level, names in enumerate(GROUPS) for name in names}
# What experiments may import of fnn besides the names of `import fnn` itself.
PUBLIC_MODULES = {"types", "init", "losses", "optimizers", "data", "checkpoint", "sharding", "gradcheck"} | {
    "callbacks",
    "estimators",
    "interchange",
    "plot",
    "search",
}
LIMIT = 250  # lines of a module


@functools.cache
def modules(package: str) -> dict[str, ast.Module]:
    """Parse every module of a package; the keys are dotted names, a package's is that of its `__init__`."""
    parsed = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parsed[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return parsed


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted names that a module imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports must be absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


@functools.cache
def graph(package: str) -> dict[str, set[str]]:
    """Return the modules of the package that each of its modules imports."""
    known = modules(package)
    edges = {}
    for name, tree in known.items():
        found = ((target if target in known else target.rpartition(".")[0]) for target in imported(tree))
        edges[name] = {target for target in found if target in known and target != name}
    return edges


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""

    def reach(start: str) -> set[str]:
        seen, todo = set(), list(edges[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += edges[name]
        return seen

    reached = {name: reach(name) for name in edges}
    together = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in edges if a in reached[a]}
    return [list(names) for names in sorted(together)]


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize("package", ["fnn", "experiments"])
def test_no_modules_import_each_other(package):
    assert circles(graph(package)) == [], "move what they share into a module that both import"


def test_packages_import_in_one_direction():
    names = {name.split(".")[1] for name in modules("fnn") if "." in name} - {"gradcheck"}
    assert names <= LEVELS.keys(), "give the new module a place in GROUPS"
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph("fnn").items()
        for target in targets
        if "." in name and not name.startswith("fnn.gradcheck")
        if "." not in target or LEVELS.get(target.split(".")[1], len(GROUPS)) > LEVELS[name.split(".")[1]]
    ]
    assert wrong == [], "a module may only import from its own group in GROUPS and from those above it"


def test_gradcheck_imports_nothing_else_of_fnn():
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules("fnn").items()
        if name.startswith("fnn.gradcheck")
        for target in imported(tree)
        if target.split(".")[0] == "fnn" and not target.startswith("fnn.gradcheck")
    ]
    assert wrong == [], "the checker must work on any JAX function without the rest of fnn"


def test_layers_know_nothing_of_training_or_devices():
    forbidden = {"training", "sharding", "checkpoint", "sharded_checkpoint", "data", "sweeps"}
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph("fnn").items()
        for target in targets
        if name.startswith("fnn.layers") and forbidden & set(target.split(".")[1:2])
    ]
    assert wrong == [], "a layer is its init, forward and backward"


def test_experiments_import_only_public_names_of_fnn():
    wrong = []
    for name, tree in modules("experiments").items():
        for target in imported(tree):
            parts = target.split(".")
            if parts[0] != "fnn" or len(parts) == 1:
                continue
            module = importlib.import_module(f"fnn.{parts[1]}") if parts[1] in PUBLIC_MODULES else None
            is_name = len(parts) == 2 and (module is not None or hasattr(importlib.import_module("fnn"), parts[1]))
            is_member = len(parts) == 3 and module is not None and not parts[2].startswith("_")
            if not (is_name or is_member) or (len(parts) == 2 and module is None and f"fnn.{parts[1]}" in graph("fnn")):
                wrong.append(f"{name} imports {target}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "fnn" and node.attr not in PUBLIC_MODULES:
                wrong += [f"{name} uses fnn.{node.attr}"] * (f"fnn.{node.attr}" in graph("fnn"))
    assert wrong == [], "make public what experiments need, or move it there"


@pytest.mark.parametrize(("package", "most"), [("fnn", 13), ("experiments", 12)])
def test_few_modules_lie_directly_in_a_package(package, most):
    names = [path.name for path in (ROOT / package).glob("*.py")]
    assert len(names) <= most, "put modules of one subject into a package of their own"


@pytest.mark.parametrize("package", ["fnn", "experiments"])
def test_modules_are_short(package):
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > LIMIT} == {}, "split the module by subject"


def positional(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the code of each place that seems to read a record's fields by position.

    These are assignments with a thrown-away rest (`a, *_ = record`) or with several thrown-away fields of a plain
    name (`a, _, _ = record`), and calls with the first fields of a record as arguments (`f(*record[:5])`).
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = [ast.unparse(e) for e in getattr(target, "elts", ())]
                record = isinstance(node.value, ast.Name | ast.Attribute)
                if any(name.startswith("*_") for name in names) or (record and names.count("_") > 1):
                    yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call):
            for value in [argument.value for argument in node.args if isinstance(argument, ast.Starred)]:
                plain = isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name)
                until = value.slice.upper if plain and isinstance(value.slice, ast.Slice) else None
                if isinstance(until, ast.Constant) and not value.value.id.isupper():
                    yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("program, data, *_ = training", True),
        ("program, _, _, saving = training", True),
        ("f(*program[:5], 3)", True),
        ("weights, _, rank, _ = lstsq(a, b)", False),
        ("a.reshape(-1, *a.shape[1:])", False),
        ("serial(*layers[:-1])", False),
    ],
)
def test_reading_by_position_is_found(code, found):
    assert bool([*positional(ast.parse(code))]) == found


@pytest.mark.parametrize("package", ["fnn", "experiments"])
def test_records_are_read_by_field_name(package):
    wrong = [f"{name}:{line}: {code}" for name, tree in modules(package).items() for line, code in positional(tree)]
    assert wrong == [], "read the fields by name (`training.saving`): a new field must not shift an old one"


def parameters(value: Any) -> tuple[list[str], set[str]]:
    """Return the positional parameters of a function, or the fields of a record, and the names of all of them."""
    if not callable(value) or (inspect.isclass(value) and issubclass(value, Exception)):
        return [], set()
    if hasattr(value, "_fields"):
        return list(value._fields), set(value._fields)
    kinds = inspect.Parameter
    all_of_them = inspect.signature(value).parameters.values()
    named = [("*" if p.kind is kinds.VAR_POSITIONAL else "") + p.name for p in all_of_them]
    by_position = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD, kinds.VAR_POSITIONAL)
    return [name for name, p in zip(named, all_of_them, strict=True) if p.kind in by_position], set(named)


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_and_their_parameters_stay(module):
    for name, listed in PUBLIC[module].items():
        value = getattr(importlib.import_module(module), name, None)
        assert value is not None, f"{module}.{name} is public and must stay importable"
        words = listed.split()
        ordered = words[: words.index("*")] if "*" in words else words
        positions, names = parameters(value)
        assert positions[: len(ordered)] == ordered, f"{module}.{name}: the order of parameters must stay {ordered}"
        assert set(words) - {"*"} <= names, f"{module}.{name}: these parameters must stay: {listed}"
