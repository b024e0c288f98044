"""Reports on terminals whose encoding lacks mathematical letters."""

from pathlib import Path

import pytest

from fnn.gradcheck.text import encodable
from tests.gradcheck.test_plugin_start import python
from tests.support.slow import slow_except

ROOT = Path(__file__).parents[2]

WRONG = """
import jax.numpy as jnp, numpy as np, sys
from fnn.gradcheck import check_vjp
report = check_vjp(lambda p: jnp.sin(p["\\u03b8"]), lambda args, ct: ({"\\u03b8": -ct * jnp.cos(args[0]["\\u03b8"])},),
                   ({"\\u03b8": np.linspace(-2, 2, 5, dtype=np.float32)},), key=1)
print(report.summary())
print(report)
"""


@pytest.mark.parametrize("encoding", slow_except(["cp1252", "ascii", "utf-8"], "cp1252"))
def test_a_report_on_a_terminal_without_greek(tmp_path, encoding):
    result = python(tmp_path, "-c", WRONG + "import rich\nrich.print(report)\n", PYTHONIOENCODING=encoding)
    assert result.returncode == 0, result.stderr
    assert "sign flipped" in result.stdout
    assert ("⟨ĝ, v⟩" if encoding == "utf-8" else "<g, v>") in result.stdout
    assert ("≥" if encoding == "utf-8" else ">=") in result.stdout


def test_every_letter_of_a_report_has_a_plain_form():
    letters = {c for path in (ROOT / "fnn" / "gradcheck").glob("*.py") for c in path.read_text("utf-8") if ord(c) > 127}
    unreadable = sorted(c for c in letters if "\\" in encodable(c, "ascii"))
    assert set(unreadable) <= set("φρσΣ∘²³½·ᵢ⁺₊"), unreadable
