"""Solvers of `diffrax`, `optimistix` and `lineax`: solutions as functions of parameters."""

# pyright: reportMissingImports=false

import jax.numpy as jnp

from experiments.audit.domains import above, positive, real
from experiments.audit.target import Target


def _ode(solver: str, label: str = "", **options) -> Target:
    """Return the target of a solver of y' = -a y³ + b with constant steps."""

    def call(f, y, a):
        import diffrax

        term = diffrax.ODETerm(lambda t, y, a: -a[0] * y**3 + a[1])
        extra = {name: make(diffrax) for name, make in options.items()}
        controller = {"stepsize_controller": diffrax.ConstantStepSize()} if "stepsize_controller" not in extra else {}
        return f(term, getattr(diffrax, solver)(), 0.0, 0.4, 0.1, y, a, **controller, **extra).ys

    return Target("diffrax.diffeqsolve", (real(2), positive(2)), call=call, label=label or solver)


def _optimistix(call, solver: str, *args, name: str, label: str = "") -> Target:
    """Return the target of a solver of optimistix: call(f, solver, *args)."""

    def run(f, *values):
        import optimistix

        return call(f, getattr(optimistix, solver)(rtol=1e-12, atol=1e-12), *values)

    return Target(f"optimistix.{name}", args, call=run, label=label or solver)


ODES = (
    _ode("Euler"),
    _ode("Heun"),
    _ode("Tsit5"),
    _ode("Dopri8"),
    _ode("ReversibleHeun"),
    _ode("Tsit5", "adaptive", stepsize_controller=lambda d: d.PIDController(rtol=1e-10, atol=1e-10)),
    _ode("Tsit5", "direct adjoint", adjoint=lambda d: d.DirectAdjoint(), max_steps=lambda d: 8),
)

ROOTS = (
    _optimistix(lambda f, s, a: f(lambda y, a: y**3 + y - a, s, a, args=a).value, "Newton", real(3), name="root_find"),
    _optimistix(lambda f, s, a: f(lambda y, a: y**3 + y - a, s, a, args=a).value, "Dogleg", real(3), name="root_find"),
    _optimistix(
        lambda f, s, a: f(lambda y, a: jnp.cos(y) * 0.5 + a, s, a, args=a, max_steps=400).value,
        "FixedPointIteration",
        real(3),
        name="fixed_point",
    ),
    _optimistix(
        lambda f, s, a, b: f(lambda y, ab: (y - ab[0]) * ab[1], s, jnp.zeros(3), args=(a, b)).value,
        "LevenbergMarquardt",
        real(3),
        above(0.5, 3),
        name="least_squares",
    ),
    _optimistix(
        lambda f, s, a: f(lambda y, a: jnp.sum((y - a) ** 2 + 0.1 * y**4), s, jnp.zeros(2), args=a).value,
        "BFGS",
        real(2),
        name="minimise",
    ),
    Target(
        "lineax.linear_solve", (real(3, 3), real(3)), call=lambda f, a, b: f(_lineax().MatrixLinearOperator(a), b).value
    ),
    Target(
        "lineax.linear_solve",
        (real(4, 2), real(4)),
        call=lambda f, a, b: f(_lineax().MatrixLinearOperator(a), b, _lineax().QR()).value,
        label="QR",
    ),
    Target(
        "lineax.linear_solve",
        (real(3, 2), real(3)),
        call=lambda f, a, b: f(_lineax().MatrixLinearOperator(a), b, _lineax().SVD()).value,
        label="SVD",
    ),
    Target(
        "lineax.linear_solve",
        (positive(3), real(3)),
        call=lambda f, a, b: f(_lineax().DiagonalLinearOperator(a), b).value,
        label="diagonal",
    ),
)


def _lineax():
    """Import lineax when a target runs: it may be absent."""
    import lineax

    return lineax


TARGETS = ODES + ROOTS
