"""The points that a report lists: their arguments reproduce a failure."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fnn.gradcheck import check_vjp

X, N = np.array([0.3, -1.2, 0.7]), 2


@jax.custom_vjp
def doubled(x, n):
    return jnp.sum(n * x * x)


# Wrong where an entry is 0.
doubled.defvjp(lambda x, n: (doubled(x, n), (x, n)), lambda r, ct: (ct * jnp.where(r[0] == 0, 1.0, 4 * r[0]), None))


def test_the_report_lists_the_arguments_at_which_a_leaf_is_wrong():
    pull = lambda args, ct: (jax.vjp(lambda x: doubled(x, args[1]), args[0])[1](ct)[0],)
    options = {"reference": None, "checks": ("differences",), "points": "edges", "key": 7}
    report = check_vjp(lambda x, n: doubled(x, n), pull, (X, N), argnums=0, **options)
    wrong = [point for point in report.points if point.failed]
    assert [point.name for point in wrong] == ["zeros in [0]", "zeros in some entries in [0]"]
    assert all(point.failed == ("[0]",) and point.args[1] == N for point in wrong)
    with jax.enable_x64(True):
        for point in wrong:
            gradient = pull(tuple(map(jnp.asarray, point.args)), jnp.ones(()))[0]
            np.testing.assert_array_equal(np.asarray(gradient == 4 * point.args[0]), point.args[0] != 0)
    assert report.leaves[0].point in [point.name for point in wrong]
    given = report.points[0]
    assert given.name == "as given"
    np.testing.assert_array_equal(given.args[0], X)


def test_the_arguments_of_points_share_what_is_not_differentiated():
    data = jnp.ones((100, 100))
    x = jax.device_put(jnp.arange(3.0), NamedSharding(jax.make_mesh((1,), ("d",)), PartitionSpec("d")))
    fun = lambda x, data: jnp.mean(data) * x
    options = {"argnums": 0, "checks": ("differences",), "reference": None, "key": 7}
    report = check_vjp(fun, lambda args, ct: (jnp.mean(args[1]) * ct,), (x, data), **options)
    for point in report.points:
        assert isinstance(point.args[0], np.ndarray)
        assert point.args[0].dtype == np.float64
        assert point.args[1] is data


def test_a_failure_along_two_leaves_belongs_to_a_point():
    both = lambda args, ct: (jnp.where(args[0] >= args[1], ct, 0.0), jnp.where(args[0] <= args[1], ct, 0.0))
    options = {"reference": None, "checks": ("differences",), "points": "edges", "num_points": 1, "key": 7}
    report = check_vjp(jnp.maximum, both, (jnp.array([1.0, 2.0]), jnp.array([0.5, 3.0])), **options)
    assert not report.ok
    assert report.leaves[1].point == "values of [0] in [1]"
    assert [point.name for point in report.points if point.failed] == ["values of [0] in [1]"]


def test_a_gradient_that_is_not_finite_belongs_to_a_point():
    nan = lambda args, ct: (jnp.where(args[0] == 1.0, jnp.nan, ct),)
    report = check_vjp(lambda x: x, nan, (jnp.arange(3.0),), reference=None, checks=("structure",), key=7)
    assert report.leaves[0].point == "as given"
    assert report.points[0].failed == ("",)
