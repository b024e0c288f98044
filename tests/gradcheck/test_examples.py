"""Example arguments: the decorator, and the cases that a module yields."""

import dataclasses
import functools
import types
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import example
from fnn.gradcheck.discover import case_named, cases_in
from fnn.gradcheck.examples import Example, examples_of
from fnn.gradcheck.importing import NamingError
from fnn.gradcheck.report import show_key
from tests.support.slow import slow_except

X = jnp.linspace(-2.0, 2.0, 5)
FAST = {"checks": ("structure", "reference", "differences"), "num_points": 1}


def cube(x):
    return x**3


def scaled_rule(f, factor=3.0):
    """Attach a rule to a custom_vjp of x³; it is right if `factor` is 3."""
    f.defvjp(lambda x: (x**3, x), lambda x, ct: (factor * x**2 * ct,))
    return f


def module(**members) -> types.ModuleType:
    """Return a module without source whose functions are its own."""
    made = types.ModuleType("made")
    for name, value in members.items():
        setattr(made, name, value)
    return made


def test_the_decorator_returns_the_function_itself_and_stacks():
    def f(x):
        return x

    assert example(1.0)(example(2.0, key=3)(f)) is f
    assert [(e.args, e.options) for e in examples_of(f)] == [((1.0,), {}), ((2.0,), {"key": 3})]


@pytest.mark.parametrize("wrap", [jax.custom_vjp, jax.custom_jvp, jax.jit, lambda f: jax.jit(jax.custom_vjp(f))])
def test_examples_above_and_below_a_wrapper(wrap):
    inner = example(2.0)(lambda x: x)
    outer = example(1.0)(wrap(inner))
    assert [e.args for e in examples_of(outer)] == [(1.0,), (2.0,)]
    assert [e.args for e in examples_of(inner)] == [(2.0,)]


def test_a_layer_has_examples_of_its_own():
    one, other = fnn.dense(3, 2), fnn.dense(3, 2)
    assert example(X)(one) is one
    assert len(examples_of(one)) == 1
    assert examples_of(other) == ()


def test_an_object_that_takes_no_attributes_has_examples():
    @dataclasses.dataclass(frozen=True)
    class Frozen:
        scale: float

    one, other = Frozen(1.0), Frozen(1.0)
    assert example(X)(one) is one
    assert len(examples_of(one)) == 1
    assert examples_of(other) == ()


def test_functions_made_of_a_function_do_not_have_its_examples():
    f = example(X)(lambda x: jnp.dot(x, x))
    assert [case.name for case in cases_in(module(f=f, mapped=jax.vmap(f), slope=jax.grad(f)))] == ["f[0]"]


def test_a_tree_that_can_be_called_is_an_argument():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Model:
        w: np.ndarray

        def __call__(self):
            return self.w

    made = Model(np.ones(3))
    assert Example((made,), {}).arguments() == (made,)


def test_arguments_are_made_when_they_are_needed():
    made = []
    f = example(lambda: made.append(1) or (X,))(scaled_rule(jax.custom_vjp(cube)))
    (case,) = cases_in(module(f=f))
    assert not made
    assert case.check(**FAST).ok
    assert made == [1]
    (case,) = cases_in(module(f=example(lambda: [X])(lambda x: x)))
    with pytest.raises(TypeError, match="must return their tuple, got list"):
        case.check()


def test_shapes_among_the_arguments_are_drawn():
    f = example({"x": jax.ShapeDtypeStruct((2, 3), jnp.float32)}, 2)(lambda tree, n: tree["x"] * n)
    report = case_named(module(f=f), "f")[0].check(**FAST)
    assert [(leaf.path, leaf.shape, leaf.status) for leaf in report.leaves] == [("[0]['x']", (2, 3), "PASS")]


def test_the_cases_of_a_module():
    class Rules:
        triple = staticmethod(example(X)(scaled_rule(jax.custom_vjp(cube))))

    Rules.__module__ = "made"
    known = module(
        vjp=example(X)(example(2 * X)(scaled_rule(jax.custom_vjp(cube)))),
        jvp=jax.custom_jvp(cube),
        layer=fnn.dense(3, 2),
        loss=fnn.softmax_cross_entropy,
        Rules=Rules,
        plain=cube,
        number=3,
        again=(vjp := jax.custom_vjp(cube)),
        twice=vjp,
    )
    cases = cases_in(known)
    assert [(c.name, c.kind, bool(c.missing)) for c in cases] == [
        ("vjp[0]", "custom_vjp", False),
        ("vjp[1]", "custom_vjp", False),
        ("jvp", "custom_jvp", True),
        ("layer", "layer", True),
        ("loss", "loss", True),
        ("Rules.triple[0]", "custom_vjp", False),
        ("again", "custom_vjp", True),
    ]
    with pytest.raises(ValueError, match="made::jvp: no example: add @fnn"):
        cases[2].check()


def test_a_loss_needs_a_prediction_and_a_target():
    def squares() -> fnn.Loss:
        return fnn.squared_error

    squares.__module__ = "made"
    for case in cases_in(module(squares=squares, loss=fnn.squared_error)):
        assert (case.kind, case.missing) == ("loss", "add @fnn.gradcheck.example(prediction, target)")


def test_the_key_of_a_case():
    f = scaled_rule(jax.custom_vjp(cube))
    (case,) = cases_in(module(f=example(X)(f)))
    (keyed,) = cases_in(module(f=example(X, key=5)(scaled_rule(jax.custom_vjp(cube)))))
    seeds = [show_key(c.check(key, checks=("structure",)).key) for c in (case, keyed) for key in (None, 3)]
    made = zlib.crc32(b"made::f[0]") >> 1
    assert seeds == [f"jax.random.key({seed})" for seed in (made, 3, 5, 3)]


KINDS = {
    "rule": (lambda: scaled_rule(jax.custom_vjp(cube)), {}, True),
    "wrong rule": (lambda: scaled_rule(jax.custom_vjp(cube), 2.0), {}, False),
    "compiled": (lambda: jax.jit(scaled_rule(jax.custom_vjp(cube), 2.0)), {}, False),
    "function": (lambda: lambda x: jnp.sin(x) * jax.lax.stop_gradient(x), {}, False),
    "second order": (lambda: cube, {"order": 2}, True),
    "layer": (lambda: fnn.dense(1, 2), {}, True),
    "builder": (lambda: lambda: fnn.dense(1, 2), {}, True),
    "builder with arguments": (lambda: lambda n_in, n_out=2: fnn.dense(n_in, n_out), {"build": (1,)}, True),
}


@pytest.mark.parametrize("name", slow_except(KINDS, "compiled", "function"))
def test_each_kind_is_checked(name):
    make, options, ok = KINDS[name]
    assert case_named(module(f=example(X[:, None], **options)(make())), "f")[0].check(**FAST).ok is ok


def test_options_reach_the_check():
    power = functools.partial(jax.custom_vjp, nondiff_argnums=(0,))(lambda n, x, w: w * x**n)
    power.defvjp(lambda n, x, w: (w * x**n, (x, w)), lambda n, r, ct: (r[1] * n * r[0] ** (n - 1) * ct, ct * 0))
    (case,) = cases_in(module(f=example(3, X, X, argnums=1)(power)))
    report = case.check(**FAST)
    assert [(leaf.path, leaf.status) for leaf in report.leaves] == [("[1]", "PASS")]
    _, case = cases_in(module(f=example(3, 2 * X, X)(power)))[::-1]
    assert [(leaf.path, leaf.status) for leaf in case.check(**FAST).leaves] == [("[1]", "PASS"), ("[2]", "FAIL")]


def test_wrong_arguments_of_a_layer():
    (case,) = cases_in(module(f=example(X, X, X)(fnn.dense(3, 2))))
    with pytest.raises(TypeError, match="must be x, or params and x, for a layer, got 3 arguments"):
        case.check()
    (case,) = case_named(module(f=example(X, build=())(lambda: 3)), "f")
    with pytest.raises(TypeError, match="must return a layer or a loss, got int"):
        case.check()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cub", "no function 'cub'; did you mean 'cube'?"),
        ("number", "must be a function, a layer or a loss, got an"),
        ("layer.forwards", "no function 'layer.forwards'; did you mean 'forward'?"),
    ],
)
def test_names_that_are_no_function(name, message):
    with pytest.raises(NamingError) as caught:
        case_named(module(cube=cube, number=3, layer=fnn.dense(1, 2)), name)
    assert message in str(caught.value)
