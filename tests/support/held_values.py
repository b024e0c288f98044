"""Functions and optimizers that hold a rate in every way in which Python can hold one."""

import collections
import dataclasses
import datetime
import enum
import functools
import re
import weakref

import jax
import jax.numpy as jnp
import numpy as np
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


class Named(list):
    def __init__(self, rate):
        super().__init__([1, 2])
        self.rate = rate


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


def with_rule(rate):
    @jax.custom_vjp
    def schedule(step):
        return step

    schedule.defvjp(lambda step: (step, None), lambda residuals, dy: (dy * rate,))
    return schedule


class Decorator:
    def __init__(self, function, rate):
        functools.update_wrapper(self, function)
        self.function, self.rate = function, rate

    def __call__(self, step):
        return self.rate * self.function(step)


def with_special_method(rate):
    class Table:
        def __getitem__(self, step):
            return rate

    table = Table()
    return lambda step: table[0]


class NotPickled(Falling):
    def __reduce_ex__(self, protocol):
        raise TypeError


def with_enum(rate):
    return closing_over(enum.Enum("Rates", {"FAST": rate}, module=__name__).FAST)


def with_weak_reference(rate):
    referred = Falling(rate)
    schedule = closing_over(weakref.ref(referred))
    KEPT.append(referred)
    return schedule


KEPT = []


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
    "deque": lambda rate: closing_over(collections.deque([rate])),
    "date": lambda rate: closing_over(datetime.timedelta(rate)),
    "object in an object": lambda rate: closing_over([Falling(Falling(rate))]),
    "attribute of a function": with_attribute,
    "global": reading_global,
    "keyword default": with_default,
    "rule of a custom derivative": with_rule,
    "decorator": lambda rate: Decorator(Falling(0.5).method, rate),
    "special method": with_special_method,
    "object that cannot be pickled": NotPickled,
    "value of an enum": with_enum,
    "weak reference": with_weak_reference,
    "default of a dictionary": lambda rate: closing_over(collections.defaultdict(lambda: rate)),
    "attribute of a list": lambda rate: closing_over(Named(rate)),
    "pattern": lambda rate: closing_over(re.compile(str(rate))),
    "view of memory": lambda rate: closing_over(memoryview(str(rate).encode())),
    "mask": lambda rate: closing_over(np.ma.array([1.0, 2.0], mask=[rate == 0.9, False])),
    "array of objects": lambda rate: closing_over(np.array([str(rate * 7), "a", None], object)),
    "generator of random numbers": lambda rate: closing_over(np.random.default_rng(int(rate * 10))),
    "negative zero": lambda rate: closing_over(0.0 if rate == 0.9 else -0.0),
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
