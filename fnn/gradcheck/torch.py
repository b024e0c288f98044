"""Gradient checks of PyTorch functions: the same algorithm and the same report as for JAX.

>>> import pytest
>>> torch = pytest.importorskip("torch")  # in your own code: import torch
>>> class Cube(torch.autograd.Function):
...     @staticmethod
...     def forward(ctx, x):
...         ctx.save_for_backward(x)
...         return x**3
...     @staticmethod
...     def backward(ctx, dy):
...         (x,) = ctx.saved_tensors
...         return 2 * x**2 * dy
>>> report = check(Cube, torch.tensor([1.0, 2.0], requires_grad=True), twin=lambda x: x**3, key=7)
>>> print(report.leaves[0].status, report.leaves[0].hint)
FAIL 0.666667 × expected

This module imports PyTorch when a check runs. `import fnn.gradcheck.torch` makes it available; `import fnn` does not.
"""

from collections.abc import Callable
from typing import Any, Unpack

import jax
import numpy as np

from fnn.gradcheck.assertions import asserting
from fnn.gradcheck.build import Request
from fnn.gradcheck.options import Keywords
from fnn.gradcheck.report import GradReport
from fnn.gradcheck.torch_calls import TorchFunction, as_jax, on_host
from fnn.gradcheck.torch_modes import load, one_thread
from fnn.gradcheck.verdict import make_report

WHO = "fnn.gradcheck.torch.check"
CHECKS = ("structure", "reference", "differences", "linearity")


def check(
    function: Callable, inputs: Any, *, twin: Callable | None = None, cotangent: Any = None, **options: Unpack[Keywords]
) -> GradReport:
    """Check PyTorch's gradient of a function with respect to every input that requires one.

    The gradient is that of `torch.autograd.grad`, hence the backward of each `torch.autograd.Function` in the function.
    It is compared with differences, and element by element with autograd of the twin. It must be linear in the
    cotangent. Tensors on other devices stay there. If the function raises an exception at a point that the checker
    chose, it counts as not finite there.

    Args:
      function: a function of tensors that returns a tensor or a tree of tensors, none of them complex, or a
        `torch.autograd.Function`.
      inputs: its arguments: a tuple of tensors, trees of tensors and other objects, or a single tensor. Tensors with
        `requires_grad` are differentiated, and named in the report by their paths. The others are constants.
      twin: a function that computes the same without the backward under test, for example in plain PyTorch. Then it is
        checked, too, that both return the same values.
      cotangent: dy, a tensor or tree like the output. Default: random.
      **options: see `check_vjp`. `order=2` also checks the double backward. `precision="x64"`, the default, converts
        all floating-point tensors to float64. `domain` takes the arguments as tensors, and returns a bool. `argnums`
        and `reference` are not available, because `requires_grad` and `twin` take their places. `checks` are among
        "structure", "reference", "differences" and "linearity".

    Returns:
      A GradReport.

    Raises:
      ImportError: if PyTorch is not installed.
      TypeError, ValueError: if an argument is invalid. What the function raises at the inputs is raised, too.
    """
    torch = load()
    if isinstance(function, type) and issubclass(function, torch.autograd.Function):
        function = function.apply
    for name, value in (("function", function), ("twin", twin)):
        if not callable(value) and (name == "function" or value is not None):
            raise TypeError(f"{WHO}: {name} must be a function, got {type(value).__name__}")
    if "reference" in options:
        raise TypeError(f"{WHO}: reference is not available; pass twin=")
    if options.get("checks", CHECKS) is None or not set(options.get("checks", CHECKS)) <= set(CHECKS):
        raise ValueError(f"{WHO}: checks must be a tuple of names among {CHECKS}, got {options.get('checks')!r}")
    inputs = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
    if type(inputs) is not tuple:
        raise TypeError(f"{WHO}: inputs must be a tensor or a tuple of arguments, got {type(inputs).__name__}")
    wanted = _require_gradient(torch, inputs)
    dtype = "float64" if options.get("precision", "x64") == "x64" else None
    size = sum(leaf.numel() for leaf in jax.tree_util.tree_leaves(inputs) if isinstance(leaf, torch.Tensor))
    wide = dtype is not None or any(leaf.dtype == torch.float64 for leaf in wanted)
    standard = jax.numpy_dtype_promotion("standard")  # PyTorch has its own rules
    with jax.enable_x64(wide), jax.disable_jit(), standard, one_thread(size), torch.inference_mode(False):
        tested = TorchFunction(WHO, function, inputs, dtype)
        other = TorchFunction(WHO, twin, inputs, dtype) if twin else None
        if other and other.outputs() != tested.outputs():
            raise ValueError(f"{WHO}: twin must return {tested.outputs()} like function, got {other.outputs()}")
        no_second = tested.why_not_twice() if options.get("order") == 2 else ""
        request = _request(tested, other, no_second, cotangent)
        report = make_report(request, Keywords(**_options(tested, {"checks": CHECKS, **options}, twin)))
    return report._replace(notes=(*report.notes, *_notes([tested, *([other] if other else [])])))


def check_module(module: Any, inputs: Any, **options: Any) -> GradReport:
    """Check the gradients of a `torch.nn.Module` with respect to its parameters, and to inputs that require one.

    Args:
      module: the module. The parameters that require a gradient have paths such as [0]['0.weight'] in the report.
        Parameters and buffers become float64 unless `precision="native"`; the module itself is not changed.
      inputs: the arguments of its `forward`, a tuple or a single tensor. Their paths start with [1].
      **options: see `check`. A twin takes the dict of parameters and buffers, then the inputs.

    Returns:
      A GradReport.

    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> report = check_module(torch.nn.Linear(3, 2), torch.ones(4, 3), key=7)
    >>> [(leaf.path, leaf.status) for leaf in report.leaves]
    [("[0]['bias']", 'PASS'), ("[0]['weight']", 'PASS')]
    """
    torch = load()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"{WHO}_module: module must be a torch.nn.Module, got {type(module).__name__}")
    if not isinstance(inputs, (torch.Tensor, tuple, list)):
        raise TypeError(f"{WHO}_module: inputs must be a tensor or a tuple of arguments, got {type(inputs).__name__}")
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    call = lambda state, *inputs: torch.func.functional_call(module, state, inputs)
    report = check(call, (state, *((inputs,) if isinstance(inputs, torch.Tensor) else inputs)), **options)
    return report._replace(name=f"{WHO}_module")


assert_ = asserting(check)
assert_module = asserting(check_module)


def _require_gradient(torch: Any, inputs: tuple) -> list:
    tensors = [leaf for leaf in jax.tree_util.tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    wanted = [leaf for leaf in tensors if leaf.requires_grad]
    if not wanted:
        raise ValueError(f"{WHO}: inputs must contain a tensor with requires_grad=True, got {len(tensors)} without it")
    for leaf in wanted:
        if not leaf.dtype.is_floating_point:
            raise TypeError(f"{WHO}: inputs that require a gradient must be real, got {leaf.dtype}")
    return wanted


def _request(tested: TorchFunction, other: TorchFunction | None, no_second: str, cotangent: Any) -> Request:
    fun, vjp_fun = as_jax(tested, no_second)
    args = tested.arguments()
    numbers = tuple(n for n, arg in enumerate(args) if jax.tree_util.tree_leaves(arg))

    def backward(args, ct):
        found = vjp_fun(args, ct)
        return tuple(found[n] for n in numbers)

    if cotangent is not None:
        leaves = jax.tree_util.tree_leaves(cotangent)
        for leaf in leaves:
            if not isinstance(leaf, tested.torch.Tensor):
                raise TypeError(f"{WHO}: cotangent must be a tensor or a tree of tensors, got {type(leaf).__name__}")
        kept = [tested.to_numpy(c) for c, ok in zip(leaves, tested.floating, strict=False) if ok]
        if len(leaves) != len(tested.floating):
            raise ValueError(f"{WHO}: cotangent must have the tree of the output, got {len(leaves)} tensors")
        parts = iter(kept)
        cotangent = tested.tree.unflatten([next(parts) if ok else None for ok in tested.floating])
    primal = None
    if other is not None:
        primal, (fun, _) = fun, as_jax(other)
    return Request(WHO, fun, backward, args, numbers, cotangent, primal=primal)


def _options(tested: TorchFunction, options: dict[str, Any], twin: Callable | None) -> dict[str, Any]:
    """Return the options of the check in JAX: no reference without a twin, and the domain as a JAX function."""
    checks = [name for name in options["checks"] if twin or name != "reference"]
    chosen = {**options, "reference": "autodiff" if twin else None, "checks": tuple(checks)}
    domain = options.get("domain")
    if not callable(domain):
        return chosen

    def inside(*args):
        xs = jax.tree_util.tree_leaves(args)
        dtypes = tested.computed_in([str(x.dtype) for x in xs])
        ok = lambda arrays: [np.float32(_all(domain(*tested.inputs(arrays, dtypes))))]
        return on_host(ok, [jax.ShapeDtypeStruct((), np.float32)], xs)[0] > 0

    return {**chosen, "domain": inside}


def _notes(functions: list[TorchFunction]) -> list[str]:
    narrow, operation = max((f.narrowest for f in functions), key=lambda found: bool(found[0]))
    notes = [f"PyTorch rounds to {narrow} in {operation}."] if narrow else []
    raised = sorted({error for f in functions for error in f.errors})
    if raised:
        more = f", and {len(raised) - 1} more" if len(raised) > 1 else ""
        notes.append(f"Raised at points that the check chose: {raised[0].rstrip('.')}{more}.")
    return notes


def _all(found: Any) -> bool:
    return all(bool(part.all()) if hasattr(part, "all") else bool(part) for part in jax.tree_util.tree_leaves(found))
