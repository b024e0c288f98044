"""A PyTorch function as a JAX function with PyTorch's derivatives, so that every check applies to it.

The checks run under `jax.disable_jit`, in which JAX calls PyTorch directly, in the same thread. A compiled program
would call it from a thread of XLA, and hang on a single core, where that thread waits for its own arguments (jax 0.10).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.gradcheck.text import first_line
from fnn.gradcheck.torch_modes import load, narrowest_operation


class TorchFunction:
    """A PyTorch function of the tensors among its inputs that require a gradient; the others are constants.

    A plain class, because the search for arrays to lift to float64 (see `lifting`) must not enter the user's function.
    """

    def __init__(self, who: str, function: Callable, inputs: tuple, dtype: str | None) -> None:
        """Evaluate the function, and its gradient, once at the inputs. What the function raises there is raised.

        `dtype` is that in which a check computes; None for the dtypes of the inputs.
        """
        self.torch = load()
        self.who, self.function = who, function
        self.leaves, self.treedef = jax.tree_util.tree_flatten(inputs)
        self.active = [k for k, leaf in enumerate(self.leaves) if self._is_tensor(leaf) and leaf.requires_grad]
        self.dtypes = [self.leaves[k].dtype for k in self.active]
        self.given = [self.to_numpy(self.leaves[k]) for k in self.active]
        self.errors: list[str] = []
        """What the function raised at points that the check chose."""
        self.known: dict[tuple, list[np.ndarray]] = {}
        values, self.tree = jax.tree_util.tree_flatten(self._call(self._tensors(self.given, self._own_dtypes())))
        for value in values:
            if not self._is_tensor(value):
                raise TypeError(f"{who}: function must return tensors, got {type(value).__name__}")
            if value.dtype.is_complex:
                raise TypeError(f"{who}: function must return real tensors, got {value.dtype}; use torch.view_as_real")
        self.floating = [bool(value.dtype.is_floating_point) for value in values]
        if not any(self.floating):
            got = ", ".join(str(value.dtype) for value in values) or "no tensor"
            raise TypeError(f"{who}: function must return a floating-point tensor, got {got}")
        dtypes = self._own_dtypes() if dtype is None else tuple(dtype for _ in self.given)
        try:
            ones = [np.ones_like(v, np.float64) for v in self.example(dtypes)]
        except Exception as error:
            error.add_note(f"{who}: function was called in float64; precision='native' keeps the dtypes of the inputs")
            raise
        with narrowest_operation() as found:
            self._gradient(self.given, ones, dtypes)
        self.narrowest = found[-1]
        """The narrowest dtype to which PyTorch rounds wider values, and the operation that does; ("", "") if none."""

    def arguments(self) -> tuple:
        """Return the inputs with arrays in place of the active tensors, and None in place of the other leaves."""
        arrays = iter(self.given)
        return self.treedef.unflatten([next(arrays) if k in self.active else None for k in range(len(self.leaves))])

    def example(self, dtypes: tuple) -> list[np.ndarray]:
        """Return the floating-point outputs at the inputs, computed in the given dtypes."""
        if dtypes not in self.known:
            self.known[dtypes] = self._outputs(self._call(self._tensors(self.given, dtypes)))
        return self.known[dtypes]

    def evaluate(self, arrays: Sequence[np.ndarray], dtypes: tuple) -> list[np.ndarray]:
        """Return the floating-point outputs; NaN if the function raises an exception at this point."""
        like = self.example(dtypes)
        return self._or_nan(lambda: self._outputs(self._call(self._tensors(arrays, dtypes))), like)

    def gradient(self, arrays: Sequence[np.ndarray], cotangents: Sequence, dtypes: tuple) -> list[np.ndarray]:
        """Return the vector-Jacobian product by PyTorch; NaN if it raises an exception at this point."""
        return self._or_nan(lambda: self._gradient(arrays, cotangents, dtypes), self.given)

    def second(self, arrays: Sequence, cotangents: Sequence, u: Sequence, dtypes: tuple) -> list[np.ndarray]:
        """Return the vector-Jacobian product of `gradient` for the cotangents u, by arrays and by cotangents."""
        return self._or_nan(lambda: self._second(arrays, cotangents, u, dtypes), [*self.given, *cotangents])

    def outputs(self) -> str:
        """Describe the outputs at the inputs."""
        shapes = [v.shape for v in self.example(self._own_dtypes())]
        return f"{self.tree} of floating-point shapes {shapes}"

    def why_not_twice(self) -> str:
        """Explain why PyTorch cannot differentiate the gradient; return "" if it can."""
        dtypes = self._own_dtypes()
        ones = [np.ones_like(v) for v in self.example(dtypes)]
        try:
            self._second(self.given, ones, [np.ones_like(v) for v in self.given], dtypes)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def to_numpy(self, tensor: Any) -> np.ndarray:
        """Copy a tensor to the host. NumPy's bfloat16 is that of JAX."""
        tensor = tensor.detach().cpu().resolve_conj()
        if tensor.dtype == self.torch.bfloat16:
            return np.array(tensor.float().numpy()).astype(jnp.bfloat16)
        return np.array(tensor.numpy())

    def inputs(self, arrays: Sequence, dtypes: tuple) -> tuple:
        """Return the inputs as tensors, with arrays in place of the active ones."""
        return self.treedef.unflatten(self._tensors(arrays, dtypes))

    def computed_in(self, dtypes: Sequence[str]) -> tuple:
        """Return the dtypes in which to compute for arrays of some dtypes: all float64, or those of the inputs."""
        return tuple(dtypes) if set(dtypes) == {"float64"} else self._own_dtypes()

    def _is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.torch.Tensor)

    def _own_dtypes(self) -> tuple:
        return tuple(str(v.dtype) for v in self.given)

    def _tensors(self, arrays: Sequence, dtypes: tuple) -> list:
        """Return fresh leaves. Constants become float64 where the check computes in float64 what was narrower."""
        lifted = dtypes != self._own_dtypes()
        leaves = [leaf.detach().clone() if self._is_tensor(leaf) else leaf for leaf in self.leaves]
        if lifted:
            floating = lambda leaf: self._is_tensor(leaf) and leaf.dtype.is_floating_point
            leaves = [leaf.to(self.torch.float64) if floating(leaf) else leaf for leaf in leaves]
        for k, array, dtype in zip(self.active, arrays, dtypes, strict=True):
            tensor = self.torch.from_numpy(np.array(array, np.float64)).to(getattr(self.torch, dtype))
            leaves[k] = tensor.to(self.leaves[k].device).requires_grad_()
        return leaves

    def _call(self, leaves: list) -> Any:
        with self.torch.enable_grad():  # another thread has its own modes
            return self.function(*self.treedef.unflatten(leaves))

    def _outputs(self, tree: Any) -> list[np.ndarray]:
        leaves = jax.tree_util.tree_leaves(tree)
        return [self.to_numpy(v) for v, ok in zip(leaves, self.floating, strict=True) if ok]

    def _pull(self, xs: list, leaves: list, cotangents: list, create_graph: bool) -> list:
        """Return the gradients of the active tensors `xs`; zeros where the outputs do not depend on them."""
        values = jax.tree_util.tree_leaves(self._call(leaves))
        outputs = [v for v, ok in zip(values, self.floating, strict=True) if ok]
        pairs = [(v, c.to(v)) for v, c in zip(outputs, cotangents, strict=True) if v.requires_grad]
        if not pairs:
            return [self.torch.zeros_like(x) for x in xs]
        outputs, cts = [v for v, _ in pairs], [c for _, c in pairs]
        found = self.torch.autograd.grad(outputs, xs, cts, create_graph=create_graph, allow_unused=True)
        return [self.torch.zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True)]

    def _gradient(self, arrays: Sequence, cotangents: Sequence, dtypes: tuple) -> list[np.ndarray]:
        leaves = self._tensors(arrays, dtypes)
        cts = [self.torch.from_numpy(np.array(c)) for c in cotangents]
        return [self.to_numpy(g) for g in self._pull([leaves[k] for k in self.active], leaves, cts, False)]

    def _second(self, arrays: Sequence, cotangents: Sequence, u: Sequence, dtypes: tuple) -> list[np.ndarray]:
        torch, leaves = self.torch, self._tensors(arrays, dtypes)
        xs = [leaves[k] for k in self.active]
        cts = [torch.from_numpy(np.array(c, np.float64)).requires_grad_() for c in cotangents]
        with torch.enable_grad():
            g = self._pull(xs, leaves, cts, True)
            if any("Error" in type(v.grad_fn).__name__ for v in g):
                raise RuntimeError("the backward is marked with once_differentiable")
            pairs = [(v, torch.from_numpy(np.array(w)).to(v)) for v, w in zip(g, u, strict=True) if v.requires_grad]
            if not pairs:
                return [self.to_numpy(torch.zeros_like(v)) for v in (*xs, *cts)]
            one, other = [v for v, _ in pairs], [w for _, w in pairs]
            found = torch.autograd.grad(one, [*xs, *cts], other, allow_unused=True)
        wanted = zip(found, (*xs, *cts), strict=True)
        return [self.to_numpy(torch.zeros_like(v) if h is None else h) for h, v in wanted]

    def _or_nan(self, compute: Callable[[], list[np.ndarray]], like: Sequence) -> list[np.ndarray]:
        try:
            return compute()
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {first_line(error)}")
            return [np.full(np.shape(v), np.nan) for v in like]


def on_host(function: Callable, out: Sequence, arrays: Sequence) -> list:
    """Call a function of lists of arrays on the host, from a JAX function.

    Args:
      function: takes a list of float64 arrays and returns a list of arrays.
      out: the shapes and dtypes of what it returns.
      arrays: JAX arrays, or tracers, for which nothing is called.
    """
    kinds = [jax.ShapeDtypeStruct(s.shape, s.dtype) for s in out]
    if any(isinstance(v, Tracer) for v in arrays):
        return jax.pure_callback(lambda *given: function(list(given)), kinds, *arrays)
    with jax.disable_jit(False):  # PyTorch functions may call JAX
        found = function([np.asarray(v).astype(np.float64) for v in arrays])
    return [jnp.asarray(np.asarray(v, s.dtype)) for v, s in zip(found, kinds, strict=True)]


def as_jax(torch_function: TorchFunction, no_second: str = "") -> tuple[Callable, Callable]:
    """Return fun(*args) and vjp_fun(args, ȳ) for arguments like `torch_function.arguments()`; both differentiable.

    `no_second` says why PyTorch cannot differentiate vjp_fun; JAX then raises TypeError with it.
    """
    f = torch_function
    names = lambda xs: f.computed_in([str(x.dtype) for x in xs])
    narrow, _ = f.narrowest

    def rounded(values: list) -> list:
        """Round to the narrowest dtype in which PyTorch computes, so that the checks find it in the JAX program."""
        return [v.astype(narrow).astype(v.dtype) for v in values] if narrow else values

    @jax.custom_vjp
    def value(xs):
        return rounded(on_host(lambda arrays: f.evaluate(arrays, names(xs)), f.example(names(xs)), xs))

    @jax.custom_vjp
    def pull(xs, ct):
        n = len(xs)
        return rounded(on_host(lambda arrays: f.gradient(arrays[:n], arrays[n:], names(xs)), xs, [*xs, *ct]))

    def pull_backward(residuals, u):
        xs, ct = residuals
        if no_second:
            raise TypeError(no_second)
        n, m, dtypes = len(xs), len(xs) + len(ct), names(xs)
        second = lambda arrays: f.second(arrays[:n], arrays[n:m], arrays[m:], dtypes)
        found = on_host(second, [*xs, *ct], [*xs, *ct, *u])
        return found[:n], found[n:]

    value.defvjp(lambda xs: (value(xs), xs), lambda xs, ct: (pull(xs, ct),))
    pull.defvjp(lambda xs, ct: (pull(xs, ct), (xs, ct)), pull_backward)

    def fun(*args):
        outputs = iter(value([jnp.asarray(x) for x in jax.tree_util.tree_leaves(args)]))
        return f.tree.unflatten([next(outputs) if ok else None for ok in f.floating])

    def vjp_fun(args, ct):
        xs, treedef = jax.tree_util.tree_flatten(args)
        cotangents = [jnp.asarray(c) for c in jax.tree_util.tree_leaves(ct)]
        return treedef.unflatten(pull([jnp.asarray(x) for x in xs], cotangents))

    return fun, vjp_fun
