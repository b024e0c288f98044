"""Exact derivatives by mpmath."""

import math

import pytest

from experiments.audit.exact import exact

pytest.importorskip("mpmath")


@pytest.mark.parametrize("x", [0.3, -2.0, 1e-38, 1e-100, 1e16, 1e100])
def test_smooth_functions(x):
    found = exact(lambda mp, x: mp.atan(x), [x], 0)
    assert found is not None
    assert found.value == pytest.approx(math.atan(x), rel=1e-15)
    assert found.slope == pytest.approx(1 / (1 + x * x), rel=1e-15)


def test_the_sine_of_large_numbers():
    found = exact(lambda mp, x: mp.sinpi(x), [1e100], 0)
    assert found is not None
    assert (found.value, found.slope) == (0.0, pytest.approx(math.pi))


@pytest.mark.parametrize(
    ("function", "left", "right"),
    [
        (lambda mp, x: abs(x), -1.0, 1.0),
        (lambda mp, x: mp.cos(x), 0.0, 0.0),
        (lambda mp, x: x**1.5, None, 0.0),
        (lambda mp, x: mp.sqrt(x), None, None),
        (lambda mp, x: x * mp.log(x) if x else x, None, None),
        (lambda mp, x: mp.sign(x), None, None),
    ],
)
def test_kinks_ends_of_domains_and_jumps_at_0(function, left, right):
    found = exact(function, [0.0], 0)
    assert found is not None
    assert (found.left, found.right) == (left, right)


def test_no_real_value():
    assert exact(lambda mp, x: mp.sqrt(x), [-1.0], 0) is None
    assert exact(lambda mp, x: mp.log(x), [0.0], 0) is None
    assert exact(lambda mp, x: 1 / 0, [1.0], 0) is None


def test_a_slow_function_is_given_up():
    def slow(mp, x):
        while True:
            x += 1

    assert exact(slow, [1.0], 0) is None


def test_one_of_several_arguments():
    found = exact(lambda mp, x, n, y: x**n * y, [3.0, 2, 5.0], 2)
    assert found is not None
    assert (found.value, found.slope) == (45.0, 9.0)
