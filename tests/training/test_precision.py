"""`precision`: every matrix product of a compiled program has it, whoever set it, and no program is compiled twice."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import fnn
from fnn.sweeps import sweep as sweeping
from fnn.training import epoch, evaluation, programs
from fnn.training.arguments import check_program
from fnn.training.compiled import compiled
from fnn.training.numerics import NAMES, Numerics, check_precision, computing, describe_precision
from tests.layers.test_layers import LAYERS
from tests.support.oracles import normal
from tests.support.slow import slow_except
from tests.support.training import LOSS, NETWORK, SGD, SMALL, TRAIN, X, Y, bits, small_fit

IDS = np.array([[1, 0, 3]], "int32")
INPUTS = {name: (layer, normal(1, shape)) for name, (layer, shape) in LAYERS.items()} | {
    "embedding": (fnn.embedding(5, 4), IDS),
    "gpt": (fnn.gpt(5, 4, layers=1, heads=2, d=4), IDS),
}


def lowered(function, *args) -> str:
    """The text of a program for an NVIDIA GPU."""
    return jax.jit(function).trace(*args).lower(lowering_platforms=("cuda",)).as_text()


def precisions(text: str) -> set[str]:
    """The precisions of both operands of each matrix product and convolution in the text of a program."""
    found = set()
    for line in text.splitlines():
        if "stablehlo.dot_general" in line or "stablehlo.convolution" in line:
            found |= set(re.findall(r"\b(DEFAULT|HIGHEST|HIGH)\b", line)) or {"not given"}
    return found


def all_gradients(xs):
    """The gradients of all layers, as one program."""
    out = {}
    for name, (layer, _) in INPUTS.items():
        params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), jax.eval_shape(layer.init, KEY))
        y, residuals = layer.forward(params, xs[name], KEY)
        out[name] = layer.backward(params, residuals, jnp.ones_like(y))[0]
    return out


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("precision", "expected"), [(None, "HIGHEST"), pytest.param("default", "DEFAULT", marks=pytest.mark.slow)]
)
def test_every_layer_follows_the_precision(precision, expected):
    def gradients(xs):
        with computing(Numerics(precision)):
            return all_gradients(xs)

    text = lowered(gradients, {name: x for name, (_, x) in INPUTS.items()})
    assert precisions(text) == {expected}
    assert text.count("stablehlo.dot_general") > 50
    assert text.count("stablehlo.convolution") > 5


WIDE, DATA = fnn.dense(32, 16), (normal(2, (32, 32)), np.zeros(32, "int32"))  # small products are written as sums


def texts(precision) -> dict[str, str]:
    """The lowered programs of fit, make_epoch, predict, evaluate, make_run and sweep."""
    numerics, state, size = Numerics(check_precision("fit", precision)), fnn.init_state(WIDE, SGD, KEY), np.int32(32)
    options = {"l2": 0.0, "metrics": None, "batch_size": 16, "patience": None, "micro_batch_size": None}
    program = check_program(WIDE, LOSS, SGD, **options, is_weight=fnn.is_weight, numerics=numerics)
    run = fnn.make_run(WIDE, LOSS, fnn.sgd, DATA, epochs=1, batch_size=16, precision=precision)
    carry = programs.init_carry(program, state, DATA, None)
    return {
        "fit": programs.run_epochs.lower(program, carry, DATA, None, np.int32(1)).as_text(),
        "make_epoch": epoch._epoch.lower(numerics, fnn.make_step(WIDE, LOSS, SGD), 16, state, DATA).as_text(),
        "predict": evaluation._predict.lower(numerics, WIDE, None, state.params, DATA[:1]).as_text(),
        "evaluate": evaluation._evaluate.lower(numerics, WIDE, LOSS, (), None, state.params, DATA, size).as_text(),
        "make_run": run.func.one.lower(*run.args, 0.1, KEY).as_text(),
        "sweep": sweeping._run_on_one_device.lower(True, run, jnp.ones(2), KEY[None]).as_text(),
    }


@pytest.mark.parametrize(
    ("setting", "precision", "expected"),
    slow_except(
        [
            (None, None, "HIGHEST"),
            ("high", None, "HIGH"),
            ("default", "tf32", "HIGH"),
            ("highest", "bfloat16", "DEFAULT"),
        ],
        (None, None, "HIGHEST"),
        ("highest", "bfloat16", "DEFAULT"),
    ),
)
def test_the_argument_counts_then_the_setting_of_jax_then_full_float32(setting, precision, expected):
    with jax.default_matmul_precision(setting):
        for name, text in texts(precision).items():
            means = set() if name == "predict" else {"HIGHEST"}  # always in full
            assert precisions(text) == {expected} | means, name


def test_a_step_of_ones_own_and_a_value_and_gradient_follow_jax_alone():
    state = fnn.init_state(WIDE, SGD, KEY)
    assert "DEFAULT" in precisions(lowered(fnn.make_step(WIDE, LOSS, SGD), state, DATA))
    assert "DEFAULT" in precisions(lowered(fnn.value_and_grad(WIDE, LOSS), state.params, *DATA))


def test_a_change_of_precision_compiles_anew_and_the_same_does_not():
    traced = []

    @compiled(static=1, numerics=lambda numerics, x: numerics)
    def product(numerics, x):
        traced.append(numerics)
        return x @ x

    x = jnp.ones((3, 3))
    for _ in range(2):
        product(Numerics("highest"), x)
        product(Numerics("high"), x)
    assert traced == [Numerics("highest"), Numerics("high")]
    product(Numerics(), x)
    with jax.default_matmul_precision("default"):
        product(Numerics(), x)
        product(Numerics(), x)
    product(Numerics(), x)
    assert traced[2:] == [Numerics(), Numerics()]


def test_the_setting_of_the_caller_is_left_as_it_was_and_the_same_precision_compiles_nothing():
    seen = []
    small_fit()
    before = programs.run_epochs._cache_size()
    small_fit(precision="highest")
    with jax.default_matmul_precision("high"):
        small_fit(precision="highest")
    assert programs.run_epochs._cache_size() == before
    with jax.default_matmul_precision("high"):
        small_fit(precision="highest", callback=lambda *_: seen.append(jax.config.jax_default_matmul_precision))
        assert jax.config.jax_default_matmul_precision == "high"
    assert set(seen) == {"high"}


def test_none_and_the_name_of_what_it_means_share_a_program():
    state, params = fnn.init_state(SMALL, SGD, KEY), SMALL.init(KEY)
    step, data = fnn.make_step(SMALL, LOSS, SGD), (X[:32], Y[:32])
    for program, call in (
        (evaluation._predict, lambda name: fnn.predict(SMALL, params, data[0], precision=name)),
        (evaluation._evaluate, lambda name: fnn.evaluate(SMALL, LOSS, params, data, precision=name)),
        (epoch._epoch, lambda name: fnn.make_epoch(step, 16, precision=name)(jax.tree.map(jnp.copy, state), data)),
    ):
        call(None)
        before = list(program._jitted.values()), program._cache_size()
        call("highest")
        with jax.default_matmul_precision("high"):
            call("highest")
        assert (list(program._jitted.values()), program._cache_size()) == before


def test_names():
    for name in NAMES:
        with jax.default_matmul_precision(check_precision("fit", name)):
            pass
    data = X[:32], Y[:32]
    params = SMALL.init(KEY)
    for wrong in ("hihgest", "TF32", 3, True, jax.lax.Precision.HIGH, ["highest"]):
        for function in (
            lambda precision: small_fit(precision=precision),
            lambda precision: fnn.make_epoch(fnn.make_step(SMALL, LOSS, SGD), 4, precision=precision),
            lambda precision: fnn.make_run(SMALL, LOSS, fnn.sgd, data, epochs=1, batch_size=4, precision=precision),
            lambda precision: fnn.predict(SMALL, params, X, precision=precision),
            lambda precision: fnn.evaluate(SMALL, LOSS, params, data, precision=precision),
        ):
            with pytest.raises(ValueError, match="precision must be None or one of 'highest', 'tf32', 'bfloat16', "):
                function(wrong)


def test_on_a_cpu_the_levels_compute_the_same_bits(key):
    params = NETWORK.init(key)
    one, *others = (
        bits(fnn.predict(NETWORK, params, X, precision=precision)) for precision in (None, "tf32", "bfloat16")
    )
    assert others == [one, one]
    assert {describe_precision(name, "cpu") for name in (None, "tf32", "high", "bfloat16")} - {"tf32"} == {"highest"}


@pytest.mark.parametrize("dtype", slow_except(["float64", "bfloat16", "float16"], "bfloat16"))
def test_products_of_other_dtypes_are_computed_with_any_precision(dtype, key, x64):
    network = fnn.mixed_precision(WIDE, dtype)
    params, x = network.init(key), DATA[0].astype("float64" if dtype == "float64" else "float32")
    one, *others = (bits(fnn.predict(network, params, x, precision=name)) for name in ("highest", "tf32", "bfloat16"))
    assert others == [one, one]


@pytest.mark.slow
@pytest.mark.parametrize("axes", [AxisType.Auto, AxisType.Explicit])
def test_over_two_devices(axes):
    layout = fnn.sharding.data_parallel(jax.make_mesh((2,), ("data",), axis_types=(axes,)))
    one, two = (small_fit(epochs=1, precision="tf32", sharding=sharding).state for sharding in (None, layout))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 3, 17, 74])
def test_an_output_depends_on_the_number_of_rows_by_rounding_only(rows, key):
    params, x = NETWORK.init(key), TRAIN[0]
    whole = np.asarray(fnn.predict(NETWORK, params, x))
    limits = {"rtol": 0, "atol": 1e-6 * abs(whole).max()}
    np.testing.assert_allclose(fnn.predict(NETWORK, params, x[:rows]), whole[:rows], **limits)
    np.testing.assert_allclose(fnn.predict(NETWORK, params, x, rows), whole, **limits)
