"""`jax.numpy`: shapes, indices, sorting, selection, interpolation, polynomials and windows."""

import numpy as np

from experiments.audit.calls import of_list, with_static
from experiments.audit.domains import above, constant, fixed, integers, positive, real
from experiments.audit.target import Target

INDEX = integers(0, 4, 3)
KNOTS = constant([-2.0, -0.6, 0.3, 2.5])
CHOICE = fixed(np.array([0, 1, 1, 0]))
TRUTH = fixed(np.array([True, False, True, False]))

SHAPES = (
    Target("jax.numpy.append", (real(2), real(3))),
    Target("jax.numpy.array_split", (real(5),), call=with_static(2)),
    Target("jax.numpy.atleast_2d", (real(),)),
    Target("jax.numpy.block", (real(2), real(3)), call=of_list),
    Target("jax.numpy.broadcast_arrays", (real(2, 1), real(3))),
    Target("jax.numpy.broadcast_to", (real(3),), call=with_static((2, 3))),
    Target("jax.numpy.column_stack", (real(3), real(3)), call=of_list),
    Target("jax.numpy.concatenate", (real(2), real(3)), call=of_list),
    Target("jax.numpy.diag", (real(3),)),
    Target("jax.numpy.diagflat", (real(3),)),
    Target("jax.numpy.diagonal", (real(3, 3),), options={"offset": 1}),
    Target("jax.numpy.dstack", (real(3), real(3)), call=of_list),
    Target("jax.numpy.expand_dims", (real(3),), call=with_static(0)),
    Target("jax.numpy.fill_diagonal", (real(3, 3), real(3)), options={"inplace": False}),
    Target("jax.numpy.flip", (real(),)),
    Target("jax.numpy.hstack", (real(2), real(3)), call=of_list),
    Target("jax.numpy.linspace", (real(1), real(1)), options={"num": 5}),
    Target("jax.numpy.logspace", (real(1), real(1)), options={"num": 5}),
    Target("jax.numpy.geomspace", (positive(1), positive(1)), options={"num": 5}),
    Target("jax.numpy.meshgrid", (real(2), real(3))),
    Target("jax.numpy.moveaxis", (real(2, 3),), call=with_static(0, 1)),
    Target("jax.numpy.pad", (real(3),), call=with_static(2)),
    Target("jax.numpy.pad", (real(3),), call=with_static(2, "edge"), label="edge"),
    Target("jax.numpy.pad", (real(4),), call=with_static(2, "reflect"), label="reflect"),
    Target("jax.numpy.pad", (real(4),), call=with_static(2, "symmetric"), label="symmetric"),
    Target("jax.numpy.pad", (real(4),), call=with_static(2, "linear_ramp"), label="linear_ramp"),
    Target("jax.numpy.pad", (real(4),), call=with_static(2, "maximum"), label="maximum"),
    Target("jax.numpy.pad", (real(4),), call=with_static(2, "mean"), label="mean"),
    Target("jax.numpy.pad", (real(4),), call=with_static(2, "wrap"), label="wrap"),
    Target("jax.numpy.ravel", (real(2, 3),), options={"order": "F"}),
    Target("jax.numpy.repeat", (real(3), fixed(np.array([2, 0, 1]))), options={"total_repeat_length": 3}),
    Target("jax.numpy.reshape", (real(2, 3),), call=with_static((3, 2))),
    Target("jax.numpy.resize", (real(3),), call=with_static((2, 4))),
    Target("jax.numpy.roll", (real(),), call=with_static(1)),
    Target("jax.numpy.rot90", (real(2, 3),)),
    Target("jax.numpy.split", (real(4),), call=with_static(2)),
    Target("jax.numpy.squeeze", (real(1, 3),)),
    Target("jax.numpy.stack", (real(3), real(3)), call=of_list),
    Target("jax.numpy.swapaxes", (real(2, 3),), call=with_static(0, 1)),
    Target("jax.numpy.tile", (real(3),), call=with_static((2, 2))),
    Target("jax.numpy.trace", (real(3, 3),)),
    Target("jax.numpy.transpose", (real(2, 3),)),
    Target("jax.numpy.tril", (real(3, 3),)),
    Target("jax.numpy.triu", (real(3, 3),)),
    Target("jax.numpy.unstack", (real(2, 3),)),
    Target("jax.numpy.vander", (real(3),)),
    Target("jax.numpy.vander", (real(3),), options={"increasing": True}, label="increasing"),
    Target("jax.numpy.vstack", (real(3), real(3)), call=of_list),
)

INDICES = (
    Target("jax.numpy.choose", (CHOICE, real(), real()), call=lambda f, i, x, y: f(i, [x, y], mode="clip")),
    Target("jax.numpy.compress", (TRUTH, real()), options={"size": 2}),
    Target("jax.numpy.delete", (real(),), call=with_static(1)),
    Target("jax.numpy.extract", (TRUTH, real()), options={"size": 2}),
    Target("jax.numpy.insert", (real(), real(1)), call=lambda f, x, v: f(x, 2, v)),
    Target(
        "jax.numpy.piecewise",
        (real(),),
        call=lambda f, x: f(x, [x < 0, x >= 1], [lambda v: v**2, lambda v: v, lambda v: 2 * v]),
    ),
    Target("jax.numpy.place", (real(), TRUTH, real(2)), options={"inplace": False}),
    Target("jax.numpy.put", (real(), INDEX, real(3)), options={"inplace": False}),
    Target(
        "jax.numpy.put_along_axis",
        (real(2, 3), integers(0, 3, 2, 1), real(2, 1)),
        call=lambda f, a, i, v: f(a, i, v, 1, inplace=False),
    ),
    Target("jax.numpy.select", (TRUTH, real(), real()), call=lambda f, c, x, y: f([c, ~c], [x, y])),
    Target("jax.numpy.take", (real(), INDEX)),
    Target("jax.numpy.take", (real(), integers(0, 9, 3)), options={"mode": "clip"}, label="clip"),
    Target("jax.numpy.take_along_axis", (real(2, 3), integers(0, 3, 2, 2)), options={"axis": 1}),
    Target("jax.numpy.partition", (real(5),), call=with_static(2)),
    Target("jax.numpy.sort", (real(),)),
    Target("jax.numpy.sort", (real(2, 3),), options={"axis": 0, "descending": True}, label="descending"),
    Target("jax.numpy.sort_complex", (real(),), call=lambda f, x: f(x).real),
    Target("jax.numpy.unique", (real(),), options={"size": 4}),
    Target("jax.numpy.apply_along_axis", (real(2, 3),), call=lambda f, x: f(lambda row: row * row.sum(), 1, x)),
)

CURVES = (
    Target("jax.numpy.interp", (real(), KNOTS, real())),
    Target("jax.numpy.interp", (real(), KNOTS, real()), options={"left": 0.0, "right": 1.0}, label="left"),
    Target(
        "jax.numpy.interp",
        (real(), KNOTS, real()),
        options={"left": "extrapolate", "right": "extrapolate"},
        label="extrapolate",
    ),
    Target("jax.numpy.interp", (real(), KNOTS, real()), options={"period": 7.0}, label="period"),
    Target("jax.numpy.convolve", (real(4), real(3))),
    Target("jax.numpy.convolve", (real(4), real(3)), options={"mode": "same"}, label="same"),
    Target("jax.numpy.correlate", (real(4), real(3))),
    Target("jax.numpy.poly", (real(3),)),
    Target("jax.numpy.polyadd", (real(3), real(4))),
    Target("jax.numpy.polyder", (real(4),)),
    Target("jax.numpy.polydiv", (real(5), above(0.5, 3))),
    Target("jax.numpy.polyfit", (constant([-1.0, 0.2, 0.9, 2.0]), real()), call=with_static(2)),
    Target("jax.numpy.polyint", (real(4),)),
    Target("jax.numpy.polymul", (real(3), real(4))),
    Target("jax.numpy.polysub", (real(3), real(4))),
    Target("jax.numpy.polyval", (real(3), real())),
    Target(
        "jax.numpy.roots",
        (constant([1.0, -6.0, 11.0, -6.5]),),
        options={"strip_zeros": False},
        call=lambda f, p, **o: abs(f(p, **o)).sum(),
    ),
    Target("jax.numpy.kaiser", (positive(1),), call=lambda f, beta: f(5, beta[0])),
)

TARGETS = SHAPES + INDICES + CURVES
