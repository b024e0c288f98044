"""The package as a whole: what importing it costs, that hash seeds change nothing, and its annotations at run time."""

import os
import subprocess
import sys
from pathlib import Path

import fnn

ROOT = Path(fnn.__file__).parents[1]
TRAIN = """
import jax, jax.numpy as jnp, numpy as np, fnn, hashlib
x = np.random.default_rng(0).standard_normal((50, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int32")
network = fnn.serial(fnn.dense(4, 8), fnn.relu, fnn.dropout(0.3), fnn.dense(8, 2))
metrics = {"a": lambda p, t: p[:, 0], "b": lambda p, t: p[:, 1], "c": lambda p, t: p[:, 0] * 2}
result = fnn.fit(network, fnn.softmax_cross_entropy, fnn.adam(0.01), (x, y), epochs=3, batch_size=16,
                 key=jax.random.key(0), metrics=metrics, progress=False)
digest = hashlib.sha256()
for leaf in jax.tree.leaves((result.state.params, result.history)):
    digest.update(np.asarray(leaf).tobytes())
print(digest.hexdigest())
"""
IMPORT = """
import sys, jax, jax.numpy
before = set(sys.modules)
import fnn
new = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(new))
"""


def python(*args, **env):
    command, env = [sys.executable, *args], os.environ | env
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_importing_fnn_loads_nothing_heavy():
    """Beyond jax: fnn itself and jaxtyping. rich, optax, safetensors and the like load when they are used."""
    assert set(python("-c", IMPORT).split()) <= {"fnn", "jaxtyping", "wadler_lindig", "typing_extensions"}


def test_hash_seeds_change_nothing():
    assert python("-c", TRAIN, PYTHONHASHSEED="1") == python("-c", TRAIN, PYTHONHASHSEED="2")


def test_annotations_hold_at_run_time():
    """The same tests again with jaxtyping's checks of shapes and dtypes switched on."""
    tests = ["tests/test_train.py", "tests/test_losses.py", "tests/test_data.py"]
    options = ["-n0", "-q", "-p", "no:cacheprovider", "-k", "step or metrics or split or epoch or ten_thousand"]
    assert " passed" in python("-m", "pytest", *tests, *options, FNN_TYPECHECK="1")


def test_public_names_are_those_of_the_readme_and_documented():
    for name in ("dense", "serial", "fit", "value_and_grad", "summary", "make_epoch", "softmax_cross_entropy"):
        assert hasattr(fnn, name)
    functions = [value for name, value in vars(fnn).items() if callable(value) and not name.startswith("_")]
    assert [f for f in functions if not f.__doc__] == []
