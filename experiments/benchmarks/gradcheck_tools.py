"""Gradient checkers with one interface: each takes a function with its backward, and returns an Answer."""

import importlib
import importlib.util
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck import LeafReport, check_vjp


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
    return _answer(case, report.ok, [(leaf.path, leaf) for leaf in report.leaves if leaf.status == "FAIL"])


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


def in_torch(case: Case) -> tuple[Any, tuple]:
    """Return an autograd.Function with the function and backward of a case, and its inputs in float64."""
    torch = importlib.import_module("torch")
    with jax.enable_x64(True):
        f, leaves = differentiable(case)
        inputs = tuple(torch.from_numpy(np.array(v)).requires_grad_() for v in leaves)
    to_jax = lambda v: jnp.asarray(v.detach().numpy())

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *values):
            ctx.save_for_backward(*values)
            with jax.enable_x64(True):
                return torch.from_numpy(np.array(f(*map(to_jax, values))))

        @staticmethod
        def backward(ctx, *grad_outputs):
            with jax.enable_x64(True):
                grads = jax.vjp(f, *map(to_jax, ctx.saved_tensors))[1](to_jax(grad_outputs[0]))
                return tuple(torch.from_numpy(np.array(g)) for g in grads)

    return Function, inputs


def with_torch(fast: bool) -> Callable[[Case, int], Answer]:
    """Return a tool that runs torch.autograd.gradcheck on the same function and backward in an autograd.Function."""

    def run(case: Case, seed: int) -> Answer:
        torch = importlib.import_module("torch")

        torch.manual_seed(seed)
        function, inputs = in_torch(case)
        return _refusal(case, lambda: torch.autograd.gradcheck(function.apply, inputs, fast_mode=fast))

    return run


def with_fnn_torch(case: Case, seed: int) -> Answer:
    """Run fnn.gradcheck.torch.check with defaults on the autograd.Function that torch's own checker receives."""
    from fnn.gradcheck import torch as checker

    function, inputs = in_torch(case)
    report = checker.check(function, inputs, key=seed)
    named = jax.tree_util.tree_flatten_with_path(case.args)[0]
    start = 0 if len(case.args) > 1 else 1
    paths = [jax.tree_util.keystr(p[start:]) for p, leaf in named if np.issubdtype(leaf.dtype, np.floating)]
    wrong = [(path, leaf) for path, leaf in zip(paths, report.leaves, strict=True) if leaf.status == "FAIL"]
    return _answer(case, report.ok, wrong)


def _answer(case: Case, ok: bool, wrong: list[tuple[str, LeafReport]]) -> Answer:
    """Return the answer of a report with these wrong leaves, whose paths are those in the case."""
    names = [path for path, _ in wrong] == [case.leaf] if case.leaf else bool(wrong)
    at = wrong[0][1].worst_index or () if len(wrong) == 1 else ()
    return Answer(not ok, names, case.at is not None and at[: len(case.at)] == case.at)


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
        Tool("fnn.gradcheck.torch", with_fnn_torch, torch),
    ]
