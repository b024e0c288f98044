"""The pytest plugin is loaded at every start of pytest: it imports nothing, and a conftest can still set up JAX."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.slow import slow_except

ROOT = Path(__file__).parents[2]


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    env = (
        os.environ
        | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
        | environment
    )
    env.pop("JAX_ENABLE_X64", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, encoding="utf-8", errors="replace"
    )  # fmt: skip


def plugin() -> str:
    """Return the module that pytest loads at every start."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (module,) = project["project"]["entry-points"]["pytest11"].values()
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert (ROOT / f"{module}.py").exists()
    assert f"{module}.py" in wheel["force-include"]
    return module


def test_the_plugin_imports_no_jax(tmp_path):
    (tmp_path / "test_empty.py").write_text("def test_nothing():\n    pass\n")
    (tmp_path / "conftest.py").write_text(
        "import sys\n\ndef pytest_unconfigure():\n    print('loaded', {'jax', 'numpy', 'fnn'} & set(sys.modules))\n"
    )
    result = python(tmp_path, "-m", "pytest", "-p", plugin(), "--collect-only", "-q", "-p", "no:cacheprovider")
    assert "loaded set()" in result.stdout, result.stdout + result.stderr
    assert "test_nothing" in result.stdout


@pytest.mark.parametrize("name", slow_except([None, "fnn.gradcheck.pytest_plugin"], None))
def test_a_conftest_can_enable_x64_before_jax_is_imported(tmp_path, name):
    (tmp_path / "conftest.py").write_text("import os\n\nos.environ['JAX_ENABLE_X64'] = '1'\n")
    (tmp_path / "test_it.py").write_text(
        "def test_sin(gradcheck):\n    import jax, jax.numpy as jnp\n"
        "    rule = lambda args, ct: ct * jnp.cos(args[0])\n"
        "    gradcheck.vjp(jnp.sin, rule, (jnp.arange(4.0),), checks=('reference',))\n"
        f"    assert {name is not None} or jnp.arange(4.0).dtype == 'float64'\n"
    )
    result = python(tmp_path, "-m", "pytest", "-p", name or plugin(), "-q", "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout + result.stderr
