"""The command `python -m fnn.gradcheck MODULE[:function]`: what it prints, its exit codes, and how it imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from fnn.gradcheck import importing
from fnn.gradcheck.__main__ import main

HEAD = """
import jax, jax.numpy as jnp
from jax.nn import relu
from fnn.gradcheck import example
"""
RULE = """
@example(jnp.arange(3.0), checks=("structure", "reference"), num_points=1)
@jax.custom_vjp
def {name}(x):
    return x * x
{name}.defvjp(lambda x: (x * x, x), lambda x, ct: ({factor} * x * ct,))
"""
RIGHT, WRONG = RULE.format(name="right", factor=2), RULE.format(name="wrong", factor=3)
BARE = "bare = jax.custom_vjp(lambda x: x)\nbare.defvjp(lambda x: (x, None), lambda r, ct: (ct,))\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a file into the current folder, which is empty at first and importable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def writing(name: str, *parts: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(parts), "utf-8")
        importing.importlib.invalidate_caches()
        return path

    yield writing
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_right_and_wrong_gradients(write, capsys):
    write("ops.py", HEAD, RIGHT, WRONG, BARE)
    assert main(["ops"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("PASS        ops::right[0] (custom_vjp), ")
    assert lines[1].startswith("FAIL        ops::wrong[0] (custom_vjp), ")
    assert lines[2].startswith("no example  ops::bare (custom_vjp): add @fnn.gradcheck.example(...)")
    assert lines[4] == "ops::wrong[0]"
    assert lines[5].startswith("1 of 1 leaves wrong (float64, key ")
    assert lines[-1] == "1 right, 1 wrong or not checked, 1 without an example"
    assert not any("relu" in line for line in lines), "imported functions are not the module's"


def test_one_function_of_several_modules_with_a_key(write, capsys):
    write("ops.py", HEAD, RIGHT, WRONG)
    write("more.py", HEAD, WRONG)
    assert main(["ops:right", "ops.py:right", "--key", "3"]) == 0
    assert capsys.readouterr().out.endswith("\n1 right, 0 wrong or not checked, 0 without an example\n")
    assert main(["ops:right", "more", "--key", "3"]) == 1
    assert "Reproduce: check_custom_vjp(..., key=jax.random.key(3))" in capsys.readouterr().out


def test_a_function_without_an_example_fails_if_strict(write, capsys):
    write("ops.py", HEAD, BARE)
    assert (main(["ops"]), main(["ops", "--strict"]), main(["ops:bare", "--list"])) == (0, 1, 0)
    assert capsys.readouterr().out.count("no example  ops::bare (custom_vjp): add @") == 3


def test_a_package_with_its_submodules(write, capsys):
    write("pack/__init__.py", "from pack.inner.ops import right\n")
    write("pack/inner/__init__.py", "")
    write("pack/inner/ops.py", HEAD, RIGHT)
    write("pack/optional.py", "import a_module_that_is_not_there\n")
    write("pack/__main__.py", "raise SystemExit('not to be run')\n")
    for name in ("pack", str(Path("pack").absolute()), "pack/inner/ops.py"):
        assert main([name]) == 0, name
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "no import   pack.optional: needs a_module_that_is_not_there, which is not installed"
    assert sum(line.startswith("PASS        pack.inner.ops::right[0]") for line in lines) == 3


def test_an_example_that_does_not_fit_is_an_error(write, capsys):
    write("ops.py", HEAD, "f = example(1.0, 2.0)(lambda x: x)\ng = example(1.0, nokey=1)(lambda x: x)\n")
    assert main(["ops"]) == 1
    out = capsys.readouterr().out
    assert "ERROR       ops::f[0] (function)" in out
    assert "TypeError: check_vjp: fun must take 2 arguments by position, got (x)" in out
    assert "keyword arguments must be among" in out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("op", "no module 'op'; did you mean 'ops'?"),
        ("ops:rigth", "ops has no function 'rigth'; did you mean 'right'?"),
        ("ops.right", "no module 'ops.right'; did you mean 'ops:right'?"),
        ("my-ops", "a module must be a dotted name or the path of a .py file, got 'my-ops'"),
        ("folder/oops.py", "did you mean 'oops2.py'?"),
        ("folder/json.py", "has the name of another module, 'json'; rename the file"),
        ("empty", "no custom_vjp, custom_jvp, layer, loss or function with an example in empty"),
    ],
)
def test_wrong_names(write, capsys, name, message):
    write("ops.py", HEAD, RIGHT)
    write("empty.py", "")
    write("folder/oops2.py", "")
    write("folder/json.py", "")
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m fnn.gradcheck: error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("name", ["broken", "pack", "broken.py"])
@pytest.mark.parametrize("code", ["1 / 0", "import sys; sys.exit(3)", "import broken.inner", "from ops import nothing"])
def test_the_exception_of_a_module_is_shown(write, capsys, name, code):
    write("ops.py", "")
    write("broken.py", "\n", code, "\n")
    write("pack/__init__.py", "")
    write("pack/sub.py", "import broken\n")
    if name == "pack" and "inner" in code:
        pytest.skip("a package may need a module that is not installed")
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert f'broken.py", line 2, in <module>\n    {code}' in error
    assert "importlib" not in error
    assert error.splitlines()[-1].endswith("when it was imported")


def test_names_that_star_imports_and_blocks_bind(write):
    write("source.py", "a = b = c = 1\n")
    path = write(
        "target.py",
        "from source import *\nimport os.path\ntry:\n    import json as text\nexcept ImportError:\n    text = None\n"
        "from source import a\na = 2\ndef f():\n    from source import d\nb2 = b\n",
    )
    (module,) = importing.import_all(str(path)).modules
    assert importing.imported_names(module) == {"b", "c", "os"}
    path = write("lazy.py", "if False:\n    from absent_source import *\nglobals()['a'] = 1\n")
    (module,) = importing.import_all(str(path)).modules
    assert importing.imported_names(module) == set()


def test_a_file_that_cannot_be_imported_is_not_known_afterwards(write):
    path = write("not-a-name.py", "raise ValueError\n")
    for _ in range(2):
        with pytest.raises(importing.ImportFailedError, match="not-a-name raised ValueError when it was imported"):
            importing.import_all(str(path))


@pytest.mark.slow
def test_ctrl_c_ends_the_command(write):
    write("ops.py", HEAD, "import os, signal\n", BARE, "os.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, "-m", "fnn.gradcheck", "ops"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "python -m fnn.gradcheck: interrupted\n")


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "exit code: 0 if every gradient is right" in capsys.readouterr().out
