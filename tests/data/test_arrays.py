"""Data: standardization, one-hot rows, splits, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.data.order import shuffled_batches
from tests.support.oracles import normal


@pytest.mark.claim("C171")
def test_standardizing_is_fitted_on_training_data_only(x64):
    train, test = 5 + 3 * normal(0, (200, 4), "float64"), normal(1, (50, 4), "float64")
    fitted = fnn.data.fit_standardization(train)
    x = fnn.data.standardize(train, fitted)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-12)
    np.testing.assert_allclose(fnn.data.standardize(test, fitted), (test - train.mean(0)) / train.std(0), rtol=1e-12)
    np.testing.assert_array_equal(fnn.data.standardize(train), x)


@pytest.mark.claim("C171")
@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, -1e30, 123456.7])
def test_constant_columns_become_zero(constant):
    x = np.stack([np.full(333, constant), np.arange(333)], 1).astype("float32")
    scaled = fnn.data.standardize(x)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled[:, 0]).max() < 1e-3 * max(1, abs(constant))
    np.testing.assert_allclose(scaled[:, 1].std(), 1, rtol=1e-5)


def test_images_are_standardized_per_pixel():
    x = normal(0, (30, 4, 5, 1))
    np.testing.assert_allclose(fnn.data.standardize(x).mean(0), 0, atol=1e-5)


def test_one_hot():
    np.testing.assert_array_equal(fnn.data.one_hot(np.array([1, 0, 2]), 3), np.eye(3)[[1, 0, 2]])


@pytest.mark.parametrize(("size", "parts", "stratify"), [(23, [3, 0, 1], False), (59, [4, 1, 2], True)])
def test_a_split_holds_every_example_once(size, parts, stratify):
    check_split(size, parts, stratify, seed=7)


@pytest.mark.slow
@given(
    st.integers(3, 60),
    st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(sum),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_split_holds_every_example_once(size, parts, stratify, seed):
    check_split(size, parts, stratify, seed)


def check_split(size, parts, stratify, seed):
    fractions = [part / sum(parts) for part in parts]
    x, y = np.arange(size), np.random.default_rng(seed).integers(0, 3, size)
    out = fnn.data.split(jax.random.key(seed), (x, y), fractions, stratify=y if stratify else None)
    assert sorted(np.concatenate([part[0] for part in out])) == list(range(size))
    for (xs, ys), fraction in zip(out, fractions, strict=True):
        np.testing.assert_array_equal(y[xs], ys)
        assert abs(len(xs) - fraction * size) <= 1
        if stratify:
            for label in range(3):
                assert abs((ys == label).sum() - fraction * (y == label).sum()) <= 2


def test_splits_follow_their_key():
    x = np.arange(100)
    a, b, c = (fnn.data.split(jax.random.key(seed), (x,), (0.5, 0.5))[0][0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.claim("C184")
@pytest.mark.parametrize(("size", "batch_size"), [(1, 1), (23, 5), (40, 40)])
def test_an_epoch_covers_every_example_once(size, batch_size):
    check_epoch(size, batch_size, seed=3)


@pytest.mark.claim("C184")
@pytest.mark.slow
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_any_epoch_covers_every_example_once(size, batch_size, seed):
    check_epoch(size, min(size, batch_size), seed)


def check_epoch(size, batch_size, seed):
    full, rest = shuffled_batches(jax.random.key(seed), size, batch_size)
    assert full.shape == (size // batch_size, batch_size)
    assert rest.shape == (size % batch_size,)
    assert sorted(np.concatenate([np.ravel(full), rest])) == list(range(size))


def test_batches_keep_rows_together():
    x = np.arange(20.0, dtype="float32")[:, None]
    seen = list(fnn.data.batches(jax.random.key(0), (x, 2 * x), 6))
    assert [len(a) for a, _ in seen] == [6, 6, 6, 2]
    for a, b in seen:
        np.testing.assert_array_equal(2 * a, b)
    assert not np.array_equal(np.concatenate([a for a, _ in seen]), x)
    assert sorted(np.concatenate([a for a, _ in seen]).ravel()) == sorted(x.ravel())
    assert jnp.asarray(seen[0][0]).dtype == jnp.float32
