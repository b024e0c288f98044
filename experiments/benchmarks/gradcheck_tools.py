"""Gradient checkers with one interface: each takes a function with its backward, and returns an Answer."""

import importlib
import importlib.util
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck import check_vjp


class Case(NamedTuple):
    """A function, a backward, and the leaf and index that are wrong, if any."""

    name: str
    kind: str
    fun: Callable
    backward: Callable
    args: tuple
    wrong: bool
    leaf: str = ""
    at: tuple[int, ...] | None = None


class Answer(NamedTuple):
    """Whether a tool rejected a gradient, and whether it named the wrong leaf and the wrong index."""

    refused: bool
    names_leaf: bool = False
    names_index: bool = False
    error: str = ""


class Tool(NamedTuple):
    """A checker: run(case, seed) -> Answer. `missing` says why it cannot run."""

    name: str
    run: Callable[[Case, int], Answer]
    missing: str = ""


def decorated(case: Case) -> Callable:
    """Return the function with the backward attached by jax.custom_vjp."""
    f = jax.custom_vjp(case.fun)
    f.defvjp(lambda *args: (case.fun(*args), args), lambda args, ct: tuple(case.backward(args, ct)))
    return f


def differentiable(case: Case) -> tuple[Callable, list]:
    """Return the decorated function of its inexact leaves, and those leaves in float64. Requires x64 to be enabled."""
    f = decorated(case)
    leaves, treedef = jax.tree_util.tree_flatten(case.args)
    inexact = [np.issubdtype(leaf.dtype, np.floating) for leaf in leaves]

    def flat(*values):
        parts = iter(values)
        filled = [next(parts) if ok else leaf for leaf, ok in zip(leaves, inexact, strict=True)]
        return f(*jax.tree_util.tree_unflatten(treedef, filled))

    return flat, [jnp.asarray(leaf, np.float64) for leaf, ok in zip(leaves, inexact, strict=True) if ok]


def with_fnn(case: Case, seed: int) -> Answer:
    """Run fnn.gradcheck.check_vjp with defaults. It alone receives the function without the backward attached."""
    report = check_vjp(case.fun, case.backward, case.args, key=seed)
    wrong = [leaf for leaf in report.leaves if leaf.status == "FAIL"]
    named = [leaf.path for leaf in wrong] == [case.leaf] if case.leaf else bool(wrong)
    at = case.at is not None and len(wrong) == 1 and (wrong[0].worst_index or ())[: len(case.at)] == case.at
    return Answer(not report.ok, named, at)


def with_jax(case: Case, seed: int) -> Answer:
    """Run jax.test_util.check_grads: order 1, reverse mode, default tolerances."""
    import jax.test_util

    with jax.enable_x64(True):
        f, leaves = differentiable(case)
        return _refusal(case, lambda: jax.test_util.check_grads(f, tuple(leaves), 1, modes=("rev",)))


def with_chex(case: Case, seed: int) -> Answer:
    """Run chex.assert_numerical_grads: order 1, reverse mode, default tolerances."""
    import chex

    with jax.enable_x64(True):
        f, leaves = differentiable(case)
        return _refusal(case, lambda: chex.assert_numerical_grads(f, tuple(leaves), 1, modes=("rev",)))


def with_torch(fast: bool) -> Callable[[Case, int], Answer]:
    """Return a tool that runs torch.autograd.gradcheck on the same function and backward in an autograd.Function."""

    def run(case: Case, seed: int) -> Answer:
        torch = importlib.import_module("torch")

        torch.manual_seed(seed)
        with jax.enable_x64(True):
            f, leaves = differentiable(case)
            flat = lambda *values: f(*(jnp.asarray(v.numpy()) for v in values))

            class Function(torch.autograd.Function):
                @staticmethod
                def forward(ctx, *values):
                    ctx.save_for_backward(*values)
                    return torch.from_numpy(np.array(flat(*(v.detach() for v in values))))

                @staticmethod
                def backward(ctx, *grad_outputs):
                    values = [jnp.asarray(v.detach().numpy()) for v in ctx.saved_tensors]
                    grads = jax.vjp(f, *values)[1](jnp.asarray(grad_outputs[0].detach().numpy()))
                    return tuple(torch.from_numpy(np.array(g)) for g in grads)

            inputs = tuple(torch.from_numpy(np.array(v)).requires_grad_() for v in leaves)
            check = lambda: torch.autograd.gradcheck(Function.apply, inputs, fast_mode=fast)
            return _refusal(case, check)

    return run


def _refusal(case: Case, check: Callable) -> Answer:
    """Run a checker that raises. A leaf or an index counts as named if the message contains it."""
    try:
        check()
    except Exception as error:
        text = str(error)
        path = case.leaf and case.leaf in text
        index = case.at is not None and bool(re.search(r"\b" + r",\s*".join(map(str, case.at)) + r"\b\]", text))
        return Answer(True, bool(path), index, f"{type(error).__name__}: {text[:200]}")
    return Answer(False)


def tools() -> list[Tool]:
    """Return the checkers to compare, including those that are not installed."""
    torch = "" if importlib.util.find_spec("torch") else "torch is not installed"
    chex = "" if importlib.util.find_spec("chex") else "chex is not installed"
    return [
        Tool("fnn.gradcheck", with_fnn),
        Tool("jax check_grads", with_jax),
        Tool("chex numerical_grads", with_chex, chex),
        Tool("torch gradcheck, fast", with_torch(True), torch),
        Tool("torch gradcheck, slow", with_torch(False), torch),
    ]
