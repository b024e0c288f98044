"""The package as a whole: the imports of `import fnn`, hash seeds, and annotations checked at run time."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fnn
from tests.support.public_names import PUBLIC

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
HOOK = """
from jaxtyping import install_import_hook, TypeCheckError
install_import_hook("fnn", "beartype.beartype")
import jax, jax.numpy as jnp, fnn

key = jax.random.key(0)
"""
LAYERS = """
from tests.layers.test_layers import LAYERS

for layer, shape in LAYERS.values():
    def both(x):
        params = layer.init(key)
        y, residuals = layer.forward(params, x, key)
        return layer.backward(params, residuals, y)
    jax.eval_shape(both, jnp.ones(shape))
"""
TRAINING = """
x, y = jax.random.normal(key, (20, 4)), jnp.arange(20) % 3
(train, test) = fnn.data.split(key, (fnn.data.standardize(x), y), (0.5, 0.5), stratify=y)
network = fnn.serial(fnn.dense(4, 5), fnn.batch_norm(5), fnn.relu, fnn.dense(5, 3))
for loss, target in ((fnn.softmax_cross_entropy, y), (fnn.sigmoid_cross_entropy, fnn.data.one_hot(y, 3))):
    for optimizer in (fnn.sgd, fnn.momentum, fnn.heavy_ball, fnn.nesterov, fnn.adam):
        state = jax.eval_shape(lambda: fnn.init_state(network, optimizer(0.1), key))
        jax.eval_shape(fnn.make_step(network, loss, optimizer(0.1), l2=0.1), state, (x, target))
result = fnn.fit(network, fnn.softmax_cross_entropy, fnn.adam(0.1), train, validation=test, patience=2, epochs=3,
                 batch_size=4, key=key, progress=False)
fnn.predict(network, result.state.params, x)
fnn.evaluate(network, fnn.softmax_cross_entropy, result.state.params, test)
run = fnn.make_run(network, fnn.softmax_cross_entropy, fnn.sgd, train, epochs=1, batch_size=10)
jax.vmap(run, in_axes=(0, None))(jnp.array([0.1, 0.2]), key)
"""
SEQUENCES = """
ids, each = jnp.array([[1, 2, 3], [4, 5, 0]]), fnn.embedding(9, 4)
network, gpt = fnn.serial(each, fnn.lstm(4, 4), fnn.dense(4, 9)), fnn.gpt(9, 8, 1, 2, 4)
ragged = fnn.ragged(each, fnn.last(), fnn.data.lengths_of)
wrapped = fnn.remat(network), fnn.mixed_precision(network, "bfloat16"), fnn.autodiff(network)
for layer in (network, gpt, ragged, fnn.residual(each, each), *wrapped):
    params = layer.init(key)
    y, residuals = layer.forward(params, ids, key)
    layer.backward(params, residuals, y)
loss, optimizer = fnn.token_cross_entropy(), fnn.adam(0.1)
state = fnn.init_state(network, optimizer, key)
fnn.sample(gpt, gpt.init(key), ids, 3, key, top_k=2, top_p=0.9)
fnn.beam_search(network, state.params, ids, 3, 2)
memory = fnn.start_memory(network, state.params, 2)
fnn.make_stream_step(network, loss, optimizer)(state, memory, (ids, ids), jnp.array([True, False]))
data = ids, ids, fnn.data.token_weights(ids)
fnn.fit(network, loss, optimizer, data, epochs=2, batch_size=2, key=key, progress=False)
fnn.evaluate(network, fnn.smoothed_cross_entropy(0.1), state.params, (ids, ids))
x, lengths = fnn.data.pad([[3, 1, 2], [4]])
fnn.predict(ragged, ragged.init(key), x)
fnn.data.buckets(lengths, 2, key)
fnn.summary(gpt, (1, 8))
"""
REFUSED = """
try:
    fnn.data.one_hot("labels", 3)
except TypeCheckError:
    print("the hook is active")
"""
IMPORT = """
import sys, jax, jax.numpy
before = set(sys.modules)
import fnn
assert {"plot", "mlp"} <= set(dir(fnn))
from fnn import *
new = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
new |= {name for name in vars(fnn) if name in fnn._LAZY}
print(*sorted(new))
"""


def python(*args, **env):
    """Run Python in a process of its own and return what it prints."""
    command, env = [sys.executable, *args], os.environ | env
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_importing_fnn_loads_nothing_heavy():
    """`import fnn` loads JAX and jaxtyping; rich, optax, safetensors and others load when they are used.

    Neither completion of names after `fnn.` nor `from fnn import *` loads more.
    """
    assert set(python("-c", IMPORT).split()) <= {"fnn", "jaxtyping", "numpy", "wadler_lindig", "typing_extensions"}


@pytest.mark.slow
def test_hash_seeds_change_nothing():
    assert python("-c", TRAIN, PYTHONHASHSEED="1") == python("-c", TRAIN, PYTHONHASHSEED="2")


@pytest.mark.parametrize(
    "code",
    [LAYERS, *(pytest.param(code, marks=pytest.mark.slow) for code in (TRAINING, SEQUENCES))],
    ids=["layers", "training", "sequences"],
)
def test_annotations_hold_at_run_time(code):
    """Everything runs with jaxtyping's checks of shapes and dtypes switched on; the layers are only traced."""
    assert python("-c", HOOK + code + REFUSED).strip() == "the hook is active"


def test_dir_shows_the_public_names_and_no_others():
    shown = {name for name in dir(fnn) if not name.startswith("_")}
    modules = {"callbacks", "checkpoint", "data", "estimators", "gradcheck", "init", "interchange", "plot", "search"}
    tree = ast.parse(Path(fnn.__file__).read_text("utf-8"))
    names = {node.names[0].asname for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert shown == modules | {"sharding"} | names
    assert PUBLIC["fnn"].keys() <= shown
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fnn.nonsense


def test_estimators_are_shown_where_they_can_be_imported(monkeypatch):
    pytest.importorskip("sklearn")
    assert "estimators" in dir(fnn)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "estimators" not in dir(fnn)
    assert "plot" in dir(fnn)


def test_public_names_are_those_of_the_readme_and_documented():
    for name in ("dense", "serial", "fit", "value_and_grad", "summary", "make_epoch", "softmax_cross_entropy"):
        assert hasattr(fnn, name)
    functions = [value for name, value in vars(fnn).items() if callable(value) and not name.startswith("_")]
    assert [f for f in functions if not f.__doc__] == []
