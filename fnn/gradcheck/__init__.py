"""A gradient checker for any JAX function. Its modules use no other module of fnn.

Check your own `jax.custom_vjp`, here one with a wrong sign, in five lines:

>>> import jax, jax.numpy as jnp
>>> @jax.custom_vjp
... def log1pexp(x):
...     return jnp.logaddexp(x, 0.0)
>>> log1pexp.defvjp(lambda x: (log1pexp(x), x), lambda x, ct: (ct * jax.nn.sigmoid(-x),))
>>> print(check_custom_vjp(log1pexp, (jnp.linspace(-3.0, 3.0, 8),), key=7).summary())
1 of 1 leaves wrong (float64, key 7)
[0] (8,): FAIL
  reference: 8/8 elements, worst [7]
    backward +0.0849197  expected +1.70566  |diff| 1.6 > tol 8.6e-15
  differences: 3/3 directions, -0.949117 vs 2.45048 ± 1e-09 (h = 2^-16, smooth), as given
  adjoint: ⟨ĝ, v⟩ = 0.355728, ⟨ȳ, Jv⟩ = -0.627846, |diff| 0.98 > tol 9.7e-14
...
Reproduce: check_custom_vjp(..., key=jax.random.key(7))

`check_vjp` checks any vector-Jacobian product, `check_grad` a gradient, `check_custom_vjp` and `check_custom_jvp` the
rule of a custom_vjp and of a custom_jvp, `check_layer` and `check_loss` a layer and a loss in fnn's form. Each
returns a `GradReport`. The functions `assert_vjp`, `assert_grad`, … have the same arguments, and raise `GradientError`
unless the gradient is right:

>>> log1pexp.defvjp(lambda x: (log1pexp(x), x), lambda x, ct: (ct * jax.nn.sigmoid(x),))
>>> assert_custom_vjp(log1pexp, (jnp.linspace(-3.0, 3.0, 8),), key=7).ok
True

What is compared
----------------

All checks run in float64 by default (`precision="x64"`), at the given arguments and at a random point near them.
Arrays of float32 and of half precision that the functions close over, such as the data of a cost, are lifted to float64
with the arguments. `checks` selects among the checks.

- structure: every gradient has the tree, shape and dtype of its leaf and is finite, also in the dtypes of the arguments
  as given; two runs agree; the forward rule returns what the function returns.
- reference: every element agrees with `jax.vjp` of the function without its custom rule.
- differences: directional derivatives agree with finite differences along random directions of each leaf. They also
  find errors that the reference shares, such as a `stop_gradient` or a wrong custom rule inside the function.
- adjoint: ⟨ȳ, J v⟩ = ⟨ĝ, v⟩ by forward mode. linearity: the backward is linear in the cotangent ȳ.
- jit, vmap, sharding: the gradients are the same under these transformations.
- `order=2` also checks the derivative of the backward, by the reference, by differences and by symmetry.

How tolerances are derived
--------------------------

The tolerance for the reference is measured, so it suits any scale, size and dtype. With the unit roundoff u,

    tol = 16 s + 8 u ‖g‖∞,   s = the change of g when inputs change in their last bit (largest of 3 draws)

because no algorithm can be asked for more accuracy than the problem's conditioning allows (Higham 2002). `reference`
has the details. The step of the differences is the one with the least estimated error E, and their tolerance is 4 E
plus rounding. The report prints the least relative error that the K directions detect with a probability of 1 - 1e-6.
`differences` has the formulas. `rtol` and `atol` replace the measured tolerance.

An operation that rounds to a narrower dtype, such as a cast to float32 inside the function, raises u. The report names
that operation and its line in your code; results that nothing depends on do not count.

Kinks
-----

At a kink, such as relu at 0, there is no derivative, and every value between the one-sided slopes is a legitimate
convention. The checker recognises kinks from second differences (`kinks` explains how). An element that differs from
the reference only at a kink, and lies between the slopes, has status KINK, which is ok, and the gradient is checked
again at a point beside the kink. A value outside the slopes is wrong. So is NaN wherever the function has a slope, even
if autodiff returns NaN too. `kinks="fail"` rejects kinks.

Special points
--------------

Many gradients are right at random points and wrong at zeros, ties or extreme numbers. `points="edges"` also checks
there, one leaf after the other (`edges` lists the points). The checker chose these points, so only what a resolved
slope refutes is an error there: also NaN where the function has a slope, and a value that is not the one-sided
derivative at the end of the domain. Kinks, points without a derivative, and slopes that no step resolves are listed in
the notes and in the report's field `edges`. Points at which the function is not finite are skipped by name.

>>> spoiled = lambda args, ct: (jnp.where(args[0] == 0.0, 0.0, 3.0 * ct),)
>>> check_vjp(lambda x: 3.0 * x, spoiled, (jnp.linspace(-1.0, 2.0, 4),), key=7).ok
True
>>> report = check_vjp(lambda x: 3.0 * x, spoiled, (jnp.linspace(-1.0, 2.0, 4),), points="edges", key=7)
>>> report.leaves[0].status, report.leaves[0].point
('FAIL', 'zeros in [0]')

Complex arguments
-----------------

Arguments and outputs may be complex. The checks compute with the real and imaginary parts: z = x + i y is a pair of
real arrays, and its gradient is right if the derivatives by x and by y are. The convention is JAX's,

    jax.grad(f)(z) = ∂f/∂x - i ∂f/∂y      for a real function f,
    jax.vjp(f, z): Re(ȳ dy) = Re(g dz)    for any f, so g = f'(z) ȳ if f is holomorphic, without a conjugate.

The gradient of steepest ascent, ∂f/∂x + i ∂f/∂y, is its conjugate, and the convention of PyTorch and TensorFlow. A
gradient that is conjugated by mistake gets the hint "conjugated":

>>> norm = lambda z: jnp.sum(jnp.abs(z) ** 2)
>>> z = jnp.array([1.0 + 2.0j, 3.0 - 1.0j])
>>> check_grad(norm, lambda z: 2 * z.conj(), (z,), key=7).ok
True
>>> print(check_grad(norm, lambda z: 2 * z, (z,), key=7).leaves[0].hint)
conjugated: JAX's gradient is ∂f/∂x - i ∂f/∂y, without a conjugate; PyTorch's is ∂f/∂x + i ∂f/∂y

To check a gradient of the other convention, conjugate what it returns; its cotangent is the conjugate of ȳ too. Paths,
indices, dtypes and the numbers in a report are those of the complex arrays. Linearity in the cotangent is checked with
real factors, because the vector-Jacobian product of a function such as the absolute value has no other linearity.
`check_grad` of a complex scalar checks f'(z), as `jax.grad(f, holomorphic=True)` returns it.

Which functions can be checked
------------------------------

Any function that JAX can trace, with arguments and outputs that are trees. Leaves that are not differentiable, such as
integers, keys, strings and functions, are passed as they are, and outputs without a gradient are ignored. If JAX has no
reverse or forward mode of a function, for example because of a callback or of a loop whose length depends on data, the
checks that need it are skipped by name, and differences decide:

>>> def root(a):  # Newton's method, until it converges
...     step = lambda state: ((state[0] + a / state[0]) / 2, state[0])
...     return jax.lax.while_loop(lambda s: jnp.any(jnp.abs(s[0] - s[1]) > 1e-12), step, (a, a + 1))[0]
>>> report = check_vjp(root, lambda args, ct: (ct / (2 * jnp.sqrt(args[0])),), (jnp.array([2.0, 3.0]),), key=7)
>>> report.ok, report.checks["reference"][:49]
(True, 'SKIPPED: autodiff of fun raises ValueError: Rever')

How to read a report
--------------------

The first line counts the wrong leaves. Then each leaf that does not pass is listed by its path, with the argument's
position first if there are several arguments: `[0]['l1']['w']`. Its lines are the evidence of each check that failed,
with the number of wrong elements and the index of the worst one. `hint` names a pattern that explains the error: a
sign, a factor (and whether it is the batch size), a transposition, rounding, permuted rows. Checks that were skipped
say why. The last line reproduces the report. A leaf is INCONCLUSIVE, which is not ok, if neither the reference nor
differences nor the adjoint identity could decide. In code, read the fields of `GradReport` and `LeafReport`.

Your own code
-------------

`example` attaches arguments to a function. It costs nothing until a check runs:

    @fnn.gradcheck.example(jnp.linspace(-3.0, 3.0, 8))
    @jax.custom_vjp
    def log1pexp(x): ...

`python -m fnn.gradcheck MODULE` then checks every custom_vjp, custom_jvp, layer and loss of a module, or of a package
with its submodules, and lists those without an example. `pytest --gradcheck MODULE` adds one test for each example.
Annotations with shapes, such as jaxtyping's `Float[Array, "batch 3"]`, take the place of examples.

`fnn.gradcheck.torch.check` checks a `torch.autograd.Function`, or any differentiable function of PyTorch, with the same
algorithm and report; `import fnn.gradcheck.torch` makes it available.

In tests
--------

The pytest plugin, installed with fnn, provides the fixture `gradcheck`:

    def test_my_rule(gradcheck):
        gradcheck.custom_vjp(my_function, (x,))

It seeds the check from the test's name. `pytest --grad-key N` replays a key, and failing leaves are listed at the
end.

Ctrl-C ends a check. Python ignores an interrupt that arrives in a callback of its garbage collector, where JAX has one;
the checks raise it again. `with redeliver_interrupts():` does so around other code.

Comparison with other checkers
------------------------------

`python -m experiments gradcheck` runs this checker, JAX's, chex's and PyTorch's on gradients made wrong systematically
and on correct ones; `experiments/README.md` has the results. The slow tests (`python -m pytest -m slow`) check 640
correct gradients, without a false alarm, and 403 wrong ones, all of which are caught.

References: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002. J. Nocedal and S. J.
Wright, Numerical Optimization, 2nd edition, 2006. A. Griewank and A. Walther, Evaluating Derivatives, 2nd
edition, 2008. F. H. Clarke, Optimization and Nonsmooth Analysis, 1990.
"""

from fnn.gradcheck.check import assert_custom_vjp as assert_custom_vjp
from fnn.gradcheck.check import assert_grad as assert_grad
from fnn.gradcheck.check import assert_layer as assert_layer
from fnn.gradcheck.check import assert_loss as assert_loss
from fnn.gradcheck.check import assert_vjp as assert_vjp
from fnn.gradcheck.check import check_custom_vjp as check_custom_vjp
from fnn.gradcheck.check import check_grad as check_grad
from fnn.gradcheck.check import check_layer as check_layer
from fnn.gradcheck.check import check_loss as check_loss
from fnn.gradcheck.check import check_vjp as check_vjp
from fnn.gradcheck.examples import example as example
from fnn.gradcheck.interrupts import leave as leave
from fnn.gradcheck.interrupts import redeliver_interrupts as redeliver_interrupts
from fnn.gradcheck.jvp_rules import assert_custom_jvp as assert_custom_jvp
from fnn.gradcheck.jvp_rules import check_custom_jvp as check_custom_jvp
from fnn.gradcheck.report import CheckedPoint as CheckedPoint
from fnn.gradcheck.report import GradientError as GradientError
from fnn.gradcheck.report import GradReport as GradReport
from fnn.gradcheck.report import LeafReport as LeafReport
