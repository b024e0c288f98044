"""Gradient checks of PyTorch functions by the algorithm for JAX functions."""

import subprocess
import sys

import numpy as np
import pytest

from fnn.gradcheck import GradientError
from fnn.gradcheck.torch import assert_, assert_module, check, check_module
from tests.support.slow import slow_except

torch = pytest.importorskip("torch")

X = torch.linspace(-2.0, 2.0, 6, requires_grad=True)


def cube(backward):
    """Return an autograd.Function of x³ with the backward (x, dy) -> dx."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, dy):
            return backward(ctx.saved_tensors[0], dy)

    return Cube


RIGHT = cube(lambda x, dy: 3 * x**2 * dy)
ONE_ELEMENT = cube(lambda x, dy: 3 * x**2 * dy * torch.tensor([1, 1, 1, 1, -1, 1.0], dtype=x.dtype))
WRONG = {
    "one element": (ONE_ELEMENT, {}, "1/6 wrong, worst [4]"),
    "one element, by its twin": (ONE_ELEMENT, {"twin": lambda x: x**3}, "reference: 1/6 elements, worst [4]"),
    "cotangent": (cube(lambda x, dy: 3 * x**2 * dy.clamp(-0.3, 0.3)), {}, "linearity: 5/6 elements"),
    "half precision": (cube(lambda x, dy: (3 * x**2 * dy).half().to(x)), {}, "PyTorch rounds to float16 in"),
    "random": (
        cube(lambda x, dy: 3 * x**2 * dy * (1 + 1e-12 * torch.rand((), dtype=x.dtype))),
        {},
        "not deterministic",
    ),
    "NaN at an edge": (cube(lambda x, dy: 3 * x**3 / x * dy), {"points": "edges"}, "zeros in"),
    "value": (RIGHT, {"twin": lambda x: 2 * x**3}, "the forward rule differs from fun"),
    "second order": (cube(lambda x, dy: 3 * x.detach() ** 2 * dy), {"order": 2}, "second order: zero in every"),
    "once": (
        cube(torch.autograd.function.once_differentiable(lambda x, dy: 3 * x**2 * dy)),
        {"order": 2},
        "second order: FAIL: the backward cannot be differentiated",
    ),
}


@pytest.mark.parametrize("name", slow_except(WRONG, "one element, by its twin"))
def test_wrong_gradients(name):
    function, options, message = WRONG[name]
    report = check(function, X, key=7, **options)
    assert not report.ok
    assert message in report.summary(), report.summary()


OPTIONS = {
    "alone": {},
    "twin": {"twin": lambda x: x**3},
    "edges": {"points": "edges"},
    "second order": {"order": 2, "twin": lambda x: x**3},
    "native": {"precision": "native", "twin": lambda x: x**3},
    "domain": {"domain": lambda x: x > -3},
}


@pytest.mark.parametrize("name", slow_except(OPTIONS, "twin"))
def test_right_gradients(name):
    report = check(RIGHT, X, key=7, **OPTIONS[name])
    assert [leaf.status for leaf in report.leaves] == ["PASS"], report.summary()
    assert report.ok
    assert report.leaves[0].dtype == "float32"


def test_trees_constants_and_outputs_that_are_not_floating_point():
    function = lambda tree, index, scale, n: {"y": [tree["w"][index] * scale * n], "index": index, "unused": tree["v"]}
    tree = {"w": torch.randn(4, 3, requires_grad=True), "v": torch.ones(2), "u": torch.ones(2, requires_grad=True)}
    report = check(function, (tree, torch.tensor([0, 2]), torch.randn(3), 2), key=7, checks=("differences",))
    assert [(leaf.path, leaf.status) for leaf in report.leaves] == [("[0]['u']", "PASS"), ("[0]['w']", "PASS")]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["x64", "native"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtypes(dtype, precision):
    x = torch.linspace(-2, 2, 6, dtype=dtype, requires_grad=True)
    report = check(torch.sin, x, twin=torch.sin, key=7, precision=precision)
    assert report.ok, report.summary()
    assert report.leaves[0].dtype == str(dtype).removeprefix("torch.")


@pytest.mark.slow
def test_modules():
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    net[3].bias.requires_grad_(False)
    before = [v.clone() for v in net.state_dict().values()]
    report = check_module(net, torch.randn(8, 5, requires_grad=True), key=7)
    assert report.ok, report.summary()
    assert [leaf.path for leaf in report.leaves] == [
        *(f"[0]['{name}']" for name in ("0.bias", "0.weight", "1.bias", "1.weight", "3.weight")),
        "[1]",
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Dropout())
    assert "not deterministic" in check_module(net, torch.randn(8, 5), key=7).summary()


@pytest.mark.slow
def test_exceptions_at_points_of_the_check_skip_them():
    a = torch.eye(3, requires_grad=True)
    report = check(lambda a: torch.linalg.cholesky(a @ a.T), a, key=7, points="edges")
    assert report.ok, report.summary()
    assert "Skipped, because fun is not finite there" in report.summary()
    assert "Raised at points that the check chose: _LinAlgError" in report.summary()


@pytest.mark.slow
def test_a_large_leaf_in_a_single_core_does_not_hang(tmp_path):
    (tmp_path / "large.py").write_text(
        "import os\nif hasattr(os, 'sched_setaffinity'):\n    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import torch\nfrom fnn.gradcheck.torch import check\n"
        "x = torch.randn(3_000_000, requires_grad=True)\n"
        "print(check(torch.sin, x, key=7, checks=('differences',), num_points=1, num_directions=1).ok)\n"
    )
    command = [sys.executable, str(tmp_path / "large.py")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout == "True\n"


@pytest.mark.slow
def test_importing_the_checker_does_not_import_torch():
    code = "import sys, fnn, fnn.gradcheck; print('fnn.gradcheck.torch' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"


@pytest.mark.parametrize(
    ("function", "inputs", "options", "message"),
    [
        (3, X, {}, "function must be a function, got int"),
        (RIGHT, [X], {}, "inputs must be a tensor or a tuple of arguments, got list"),
        (RIGHT, torch.ones(3), {}, "inputs must contain a tensor with requires_grad=True, got 1 without it"),
        (RIGHT, X + 0j, {}, "inputs that require a gradient must be real, got torch.complex64"),
        (RIGHT, X, {"reference": None}, "reference is not available; pass twin="),
        (RIGHT, X, {"checks": ("vmap",)}, "checks must be a tuple of names among ('structure', 'reference', "),
        (RIGHT, X, {"checks": None}, "checks must be a tuple of names among ('structure', 'reference', "),
        (RIGHT, X, {"twin": 3}, "twin must be a function, got int"),
        (lambda x: 3.0, X, {}, "function must return tensors, got float"),
        (lambda x: x.long(), X, {}, "function must return a floating-point tensor, got torch.int64"),
        (lambda x: (x, torch.fft.fft(x)), X, {}, "function must return real tensors, got torch.complex64; use"),
        (RIGHT, X, {"twin": lambda x: (x, x)}, "twin must return PyTreeDef(*) of floating-point shapes [(6,)] like"),
        (RIGHT, X, {"cotangent": np.ones(6)}, "cotangent must be a tensor or a tree of tensors, got ndarray"),
        (RIGHT, X, {"cotangent": (X, X)}, "cotangent must have the tree of the output, got 2 tensors"),
    ],
)
def test_misuse(function, inputs, options, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        check(function, inputs, key=7, **options)
    assert message in str(caught.value)
    assert str(caught.value).startswith("fnn.gradcheck.torch.check: ")


def test_misuse_with_a_module():
    with pytest.raises(TypeError, match=r"torch\.check_module: module must be a torch\.nn\.Module, got int"):
        check_module(3, X)
    with pytest.raises(TypeError, match=r"torch\.check_module: inputs must be a tensor or a tuple .*, got dict"):
        check_module(torch.nn.Linear(6, 2), {"input": X})


def test_inference_mode_does_not_hide_the_gradient():
    with torch.inference_mode():
        assert check(torch.sin, X, key=7, checks=("structure", "differences"), num_points=1).ok


def test_the_names_of_the_assertions():
    assert (assert_.__name__, assert_module.__name__) == ("assert_", "assert_module")
    assert str(assert_.__doc__).startswith("Run `check` and return its report")


def test_what_the_function_raises_is_raised():
    with pytest.raises(RuntimeError, match="invalid gradient at index 0"):
        check(cube(lambda x, dy: dy[:2]), X)
    with pytest.raises(RuntimeError) as caught:
        check(lambda x: x[None] @ torch.ones(6, 2), X)
    assert "precision='native' keeps the dtypes" in caught.value.__notes__[0]
    with pytest.raises(GradientError, match=r"0\.666667 × expected"):
        assert_(cube(lambda x, dy: 2 * x**2 * dy), X, twin=lambda x: x**3, key=7, checks=("reference",))


def test_the_cotangent_is_that_of_the_user():
    seen = []
    function = cube(lambda x, dy: seen.append(dy.numpy().copy()) or 3 * x**2 * dy)
    assert check(function, X, key=7, cotangent=torch.full((6,), 2.5), checks=("structure",), num_points=1).leaves
    assert any(np.all(dy == 2.5) for dy in seen)
