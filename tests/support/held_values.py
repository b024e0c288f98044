"""Functions and optimizers that hold a rate in every way in which Python can hold one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

import fnn

RATE = 0.9


class Falling:
    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start / (1.0 + step)

    def method(self, step):
        return self.start

    @classmethod
    def of_class(cls, step):
        return cls.default

    default = 0.9


class Slots:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate


class ByClass:
    rate = 0.9

    def __call__(self, step):
        return self.rate


class ByOtherClass(ByClass):
    rate = 0.1


ByOtherClass.__qualname__ = "ByClass"


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    rate: float
    names: frozenset = frozenset()


def closing_over(value):
    def schedule(step):
        return value and 0.5

    return schedule


def with_attribute(rate):
    def schedule(step):
        return schedule.rate

    schedule.rate = rate
    return schedule


def reading_global(rate):
    def schedule(step):
        return RATE / (1 + step)

    names = dict(schedule.__globals__, RATE=rate)
    return type(schedule)(schedule.__code__, names, "schedule")


def with_default(rate):
    schedule = lambda step, *, value: value(step)
    schedule.__kwdefaults__ = {"value": Falling(rate)}
    return schedule


def nested(rate):
    return functools.partial(jax.jit(Falling(rate).method))


MADE = {  # functions of a rate, whose results are told apart by the rate alone
    "object": Falling,
    "object with slots": Slots,
    "attribute of the class": lambda rate: ByClass() if rate == 0.9 else ByOtherClass(),
    "bound method": lambda rate: Falling(rate).method,
    "jitted bound method": nested,
    "method of a C type": lambda rate: {0: rate}.get,
    "dataclass": lambda rate: closing_over(Options(rate)),
    "set": lambda rate: closing_over({rate, "a", None}),
    "frozenset in a dataclass": lambda rate: closing_over(Options(0.5, frozenset([rate]))),
    "range": lambda rate: closing_over(range(int(rate * 10))),
    "deque": lambda rate: closing_over(__import__("collections").deque([rate])),
    "date": lambda rate: closing_over(__import__("datetime").timedelta(rate)),
    "object in an object": lambda rate: closing_over([Falling(Falling(rate))]),
    "attribute of a function": with_attribute,
    "global": reading_global,
    "keyword default": with_default,
}

OPTIMIZERS = {
    "MultiSteps": lambda rate: optax.MultiSteps(optax.sgd(rate), 2),
    "inject_hyperparams": lambda rate: optax.inject_hyperparams(optax.adam)(learning_rate=rate),
    "inject_hyperparams in a chain": lambda rate: optax.chain(
        optax.clip(1.0), optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    ),
    "user's init": lambda rate: fnn.GradientTransformation(
        lambda params: jax.tree.map(lambda leaf: jnp.full_like(leaf, rate), params), fnn.sgd(0.1).update
    ),
}
