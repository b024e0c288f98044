"""Descriptions: equal for the same choices of the user, wherever the code lives, and different for other choices."""

import dataclasses
import enum
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training.fingerprint import describe

NETWORK = fnn.mlp([4, 8, 3])


def module(source: str, name: str) -> types.SimpleNamespace:
    """The functions that a module of this name and source would have."""
    names = {"__name__": name}
    exec(source, names)
    return types.SimpleNamespace(**names)


# pairs of different choices, by what differs
DIFFERENT = {
    "learning rate": (fnn.sgd(0.5), fnn.sgd(0.25)),
    "learning rate and momentum exchanged": (fnn.momentum(0.5, 0.25), fnn.momentum(0.25, 0.5)),
    "kind of momentum": (fnn.momentum(0.5, 0.9), fnn.heavy_ball(0.5, 0.9)),
    "nesterov": (fnn.nesterov(0.5, 0.9), fnn.heavy_ball(0.5, 0.9)),
    "beta": (fnn.momentum(0.5, 0.9), fnn.momentum(0.5, 0.8)),
    "beta1": (fnn.adam(0.5, 0.8), fnn.adam(0.5)),
    "beta2": (fnn.adam(0.5, 0.9, 0.9), fnn.adam(0.5)),
    "betas exchanged": (fnn.adam(0.5, 0.8, 0.9), fnn.adam(0.5, 0.9, 0.8)),
    "epsilon of adam": (fnn.adam(0.5, epsilon=1e-6), fnn.adam(0.5)),
    "schedule": (fnn.sgd(optax.cosine_decay_schedule(0.1, 30)), fnn.sgd(optax.cosine_decay_schedule(0.1, 40))),
    "kind of schedule": (fnn.sgd(optax.cosine_decay_schedule(0.1, 30)), fnn.sgd(optax.linear_schedule(0.1, 0.0, 30))),
    "schedule or number": (fnn.sgd(optax.constant_schedule(0.1)), fnn.sgd(0.1)),
    "optax": (optax.adamw(0.1), optax.adamw(0.2)),
    "chain": (optax.chain(fnn.add_l2(0.1), fnn.sgd(0.1)), optax.chain(fnn.add_l2(0.2), fnn.sgd(0.1))),
    "is_weight of add_l2": (fnn.add_l2(0.1), fnn.add_l2(0.1, is_weight=lambda path, leaf: True)),
    "sizes": (fnn.mlp([4, 8, 3]), fnn.mlp([4, 9, 3])),
    "depth": (fnn.mlp([4, 8, 3]), fnn.mlp([4, 8, 8, 3])),
    "activation": (fnn.mlp([4, 8, 3], fnn.relu), fnn.mlp([4, 8, 3], fnn.tanh)),
    "slope": (fnn.leaky_relu(0.1), fnn.leaky_relu(0.2)),
    "elementwise": (fnn.elementwise(jnp.sin, jnp.cos), fnn.elementwise(jnp.sin, jnp.sin)),
    "w_init": (fnn.mlp([4, 3]), fnn.mlp([4, 3], w_init=fnn.init.xavier_normal)),
    "w_init or b_init": (fnn.dense(3, 3, w_init=fnn.init.zeros), fnn.dense(3, 3, b_init=fnn.init.zeros)),
    "scale of w_init": (fnn.dense(4, 3, fnn.init.normal(0.1)), fnn.dense(4, 3, fnn.init.normal(0.2))),
    "distribution of w_init": (fnn.dense(4, 3, fnn.init.normal(0.1)), fnn.dense(4, 3, fnn.init.uniform(0.1))),
    "rate of dropout": (fnn.dropout(0.2), fnn.dropout(0.8)),
    "epsilon of batch_norm": (fnn.batch_norm(4), fnn.batch_norm(4, 1e-3)),
    "epsilon of layer_norm": (fnn.layer_norm(4), fnn.layer_norm(4, 1e-3)),
    "normalisation": (fnn.batch_norm(4), fnn.layer_norm(4)),
    "kernel": (fnn.conv2d(1, 2, (3, 5)), fnn.conv2d(1, 2, (5, 3))),
    "channels": (fnn.conv2d(1, 2, 3), fnn.conv2d(2, 1, 3)),
    "strides": (fnn.conv2d(1, 2, 3, (1, 2)), fnn.conv2d(1, 2, 3, (2, 1))),
    "kernel or strides": (fnn.conv2d(1, 2, 3, 2), fnn.conv2d(1, 2, 2, 3)),
    "padding": (fnn.conv2d(1, 2, 3), fnn.conv2d(1, 2, 3, padding="SAME")),
    "pooling": (fnn.max_pool2d(2), fnn.avg_pool2d(2)),
    "window or strides": (fnn.max_pool2d(2, 3), fnn.max_pool2d(3, 2)),
    "strides of avg_pool2d": (fnn.avg_pool2d(2, 1), fnn.avg_pool2d(2, 2)),
    "order": (fnn.serial(fnn.dense(4, 4), fnn.relu), fnn.serial(fnn.relu, fnn.dense(4, 4))),
    "residual": (fnn.residual(fnn.dense(4, 4)), fnn.residual(fnn.dense(4, 4), fnn.dense(4, 4))),
    "branch or shortcut": (fnn.residual(fnn.dense(4, 4), fnn.relu), fnn.residual(fnn.relu, fnn.dense(4, 4))),
    "copies": (fnn.repeat(fnn.dense(4, 4), 2), fnn.repeat(fnn.dense(4, 4), 3)),
    "autodiff": (fnn.relu, fnn.autodiff(fnn.relu)),
    "remat": (NETWORK, fnn.remat(NETWORK)),
    "dtype": (fnn.mixed_precision(NETWORK, jnp.bfloat16), fnn.mixed_precision(NETWORK, jnp.float16)),
    "loss scale": (fnn.mixed_precision(NETWORK, jnp.float16), fnn.mixed_precision(NETWORK, jnp.float16, 8.0)),
    "dynamic loss scale": (
        fnn.mixed_precision(NETWORK, jnp.float16, fnn.dynamic_loss_scale(2.0)),
        fnn.mixed_precision(NETWORK, jnp.float16, fnn.dynamic_loss_scale(4.0)),
    ),
    "loss": (fnn.squared_error, fnn.softmax_cross_entropy),
    "threshold": (fnn.binary_accuracy(0.0), fnn.binary_accuracy(0.5)),
    "a layer's function": (fnn.relu, fnn.relu._replace(forward=lambda params, x, key=None: (x, None))),
    "a loss's function": (fnn.squared_error, fnn.squared_error._replace(backward=lambda residuals, dvalue: dvalue)),
    "calibrate": (fnn.batch_norm(4), fnn.batch_norm(4)._replace(calibrate=lambda params, x: (params, x))),
    "numbers and strings": (1, "1"),
    "arrays": (np.zeros(3), np.ones(3)),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_choices_have_different_descriptions(name):
    first, second = map(describe, DIFFERENT[name])
    assert first != second


def test_equal_choices_have_equal_descriptions():
    """The same values, built twice."""
    pairs = [
        (fnn.mlp([4, 8, 3]), NETWORK),
        (fnn.adam(0.5, 0.8), DIFFERENT["beta1"][0]),
        (optax.adamw(0.1), DIFFERENT["optax"][0]),
        (fnn.sgd(optax.cosine_decay_schedule(0.1, 30)), DIFFERENT["schedule"][0]),
        (fnn.sgd(np.float32(0.5)), fnn.sgd(jnp.float32(0.5))),
        (fnn.sgd(1), fnn.sgd(1.0)),
        (fnn.conv2d(1, 2, 3, (1, 2)), DIFFERENT["strides"][0]),
        (fnn.mixed_precision(fnn.mlp([4, 8, 3]), jnp.bfloat16), DIFFERENT["dtype"][0]),
    ]
    for one, other in pairs:
        assert describe(one) == describe(other)


BEFORE = """
def builder(rate, size, activation=None):
    shape = (size, size + 1)
    def scale(x):
        return rate * x
    def update(x):
        return scale(x), shape
    return update
"""
RENAMED = """
def builder(rate, size, activation=None):
    dims = (size, size + 1)
    def _inner(x):
        a_new_name = lambda x: x * rate
        return a_new_name(x), dims
    return lambda x: _inner(x)
"""


def test_private_names_inside_fnn_do_not_count():
    """Inner functions and local variables of a module of fnn were renamed, and the module was moved."""
    before = module(BEFORE, "fnn.optimizers").builder
    for name in ("fnn.optimizers", "fnn.other.module"):
        renamed = module(RENAMED, name).builder
        assert describe(renamed(0.5, 3)) == describe(before(0.5, 3)) == "builder(rate=0.5, tuple(3, 4))"
        assert describe(renamed(0.25, 3)) != describe(before(0.5, 3))
        assert describe(renamed(0.5, 4)) != describe(before(0.5, 3))


def test_a_layer_built_by_hand_like_a_builder_of_fnn_is_the_same():
    """The closures of `fnn.dropout` with other names."""
    source = """
import jax
import jax.numpy as jnp
from fnn import Layer
def dropout(rate):
    kept = 1.0 - rate
    def run(params, x, key=None):
        mask = jax.random.bernoulli(key, kept, x.shape)
        return jnp.where(mask, x / kept, rate), mask
    def pull_back(params, mask, dy):
        return (), jnp.where(mask, dy / kept, 0)
    return Layer(lambda key: (), run, pull_back, name=f"dropout({rate})")
"""
    layers = module(source, "fnn.elsewhere")
    assert describe(layers.dropout(0.25)) == describe(fnn.dropout(0.25)) != describe(layers.dropout(0.5))


def test_the_module_of_a_users_function_does_not_count():
    """A script becomes a module: functions, schedules, layers and losses of one's own stay the same."""
    source = """
def schedule(start):
    return lambda step: start / (1 + step)
def metric(prediction, target):
    return prediction
class Callable:
    def method(self, step):
        return step
"""
    script, imported = module(source, "__main__"), module(source, "package.module")
    for get in (lambda m: m.schedule(0.5), lambda m: m.metric, lambda m: m.Callable, lambda m: m.Callable().method):
        assert describe(get(script)) == describe(get(imported))
    assert describe(fnn.sgd(script.schedule(0.5))) == describe(fnn.sgd(imported.schedule(0.5)))
    assert describe(fnn.sgd(script.schedule(0.5))) != describe(fnn.sgd(imported.schedule(0.25)))
    assert describe(script.metric) != describe(script.schedule)


def test_a_users_functions_are_told_apart_by_name_and_closure():
    def first(a, b):
        return lambda step: a + b * step

    def second(a, b):
        return lambda step: a + b * step

    texts = {describe(first(1, 2)), describe(first(2, 1)), describe(second(1, 2)), describe(jax.jit(second(2, 1)))}
    assert len(texts) == 4
    assert describe(first(1, 2)) in texts


class Kind(enum.Enum):
    A, B = 1, 2


@dataclasses.dataclass
class Schedule:
    start: float

    def __call__(self, step):
        return self.start


def test_instances_of_dataclasses_and_enums_are_described_by_their_values():
    assert describe(Schedule(0.1)) == describe(Schedule(0.1)) != describe(Schedule(0.2))
    assert describe(Kind.A) != describe(Kind.B)
    assert describe(np.dtype("float32")) != describe(np.dtype("float16"))


def test_a_description_ends_where_values_hold_themselves():
    held = []
    held.append(held)
    assert "itself" in describe(held)

    def recursive(n):
        return n and recursive(n - 1)

    assert describe(recursive) == describe(recursive)


def test_a_description_is_short():
    assert len(describe(fnn.mlp([3] * 40))) < 200
    assert describe(fnn.mlp([3] * 40)) != describe(fnn.mlp([3] * 41))
