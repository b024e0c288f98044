"""Sequences of different lengths as arrays: padding, groups of similar lengths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

LENGTHS = np.random.default_rng(0).integers(1, 200, 1000)


def test_pad_keeps_the_sequences_and_pads_their_ends():
    sequences = [np.arange(n * 2, dtype="float32").reshape(n, 2) for n in (3, 0, 5, 1)]
    x, lengths = fnn.data.pad(sequences, value=-1)
    assert x.shape == (4, 5, 2)
    assert (x.dtype, lengths.dtype) == ("float32", "int32")
    np.testing.assert_array_equal(lengths, [3, 0, 5, 1])
    for row, sequence in zip(x, sequences, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert (row[len(sequence) :] == -1).all()
    longer, _ = fnn.data.pad([[1, 2], [], jnp.array([3])], time=4)
    np.testing.assert_array_equal(longer, [[1, 2, 0, 0], [0, 0, 0, 0], [3, 0, 0, 0]])
    assert longer.dtype == "int32"


@pytest.mark.parametrize(
    ("dtype", "accepted", "refused"),
    [
        ("int32", [-100, 2.0, np.int64(7)], [np.nan, np.inf, 0.5, 2**31, 2.0**31, 10**400]),
        ("uint8", [255, True], [256, -1]),
        ("bool", [1, False], [2, np.nan]),
        ("float32", [0.1, np.inf, np.nan, 10**30], [1e300, -1e300, 10**400]),
        ("float16", [0.1, -np.inf], [1e5]),
        (jnp.bfloat16, [0.1, 10**30, 1e-300], [3.4e38]),
        ("complex64", [0.1], [1e300]),
    ],
)
def test_the_number_to_pad_with(dtype, accepted, refused):
    """An integer dtype takes numbers that it holds; a floating point dtype rounds them, but not to infinity."""
    sequences = [np.ones(2, dtype), np.ones(1, dtype)]
    for value in accepted:
        x, _ = fnn.data.pad(sequences, value)
        assert x.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(x[1, 1], np.asarray(float(value)).astype(dtype))
    for value in refused:
        with pytest.raises(ValueError, match=f"pad: value must be a number of the dtype {np.dtype(dtype)}"):
            fnn.data.pad(sequences, value)


def test_buckets_are_a_permutation_in_groups_of_similar_lengths():
    for key in (None, jax.random.key(0)):
        groups = fnn.data.buckets(LENGTHS, 32, key)
        assert sorted(np.concatenate(groups)) == [*range(1000)]
        assert sorted(map(len, groups)) == [8] + 31 * [32]
        padded = sum(len(group) * LENGTHS[group].max() for group in groups)
        assert padded < 1.05 * LENGTHS.sum(), "there is little padding"
    first = [fnn.data.buckets(LENGTHS, 32, jax.random.key(seed))[0].tolist() for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]
    in_order = sum(len(rows) * LENGTHS[rows].max() for rows in np.split(np.arange(1000), range(32, 1000, 32)))
    assert in_order > 1.8 * LENGTHS.sum()
    assert [group.tolist() for group in fnn.data.buckets([4], 8)] == [[0]]


def test_lengths_of_ids():
    ids = np.array([[5, 0, 2, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    for dtype in ("int32", "uint8"):
        np.testing.assert_array_equal(jax.jit(fnn.data.lengths_of)(ids.astype(dtype)), [3, 0, 4])
    np.testing.assert_array_equal(functools.partial(fnn.data.lengths_of, padding=1)(ids), [4, 4, 0])
    assert fnn.data.lengths_of(ids[:, :0]).tolist() == [0, 0, 0]


def test_refused():
    for call, error, message in (
        (lambda: fnn.data.pad([]), ValueError, "pad: sequences must be at least one array"),
        (
            lambda: fnn.data.pad([np.zeros((2, 3)), np.zeros((2, 4))]),
            ValueError,
            r"sequences\[1\] must be .*\(time, 3\)",
        ),
        (lambda: fnn.data.pad([1, 2]), ValueError, r"sequences\[0\] must be of shape \(time\), got"),
        (
            lambda: fnn.data.pad([[1, 2]], time=1),
            ValueError,
            "time must be at least the length of the longest sequence, 2",
        ),
        (
            lambda: fnn.data.pad([[1]], value=0.5),
            ValueError,
            "value must be a number of the dtype int32 of the sequences",
        ),
        (
            lambda: fnn.data.pad([np.array([1], "uint8")], value=-100),
            ValueError,
            "value must be a number of the dtype uint8",
        ),
        (lambda: fnn.data.pad([[1]], value="0"), TypeError, "value must be a number, got str"),
        (lambda: fnn.data.pad([["a"]]), TypeError, r"sequences\[0\] must be an array of numbers"),
        (lambda: fnn.data.buckets([], 2), TypeError, "buckets: lengths must be integers"),
        (lambda: fnn.data.buckets([[1]], 2), ValueError, r"buckets: lengths must be of shape \(examples,\)"),
        (lambda: fnn.data.buckets([1], 0), ValueError, "buckets: batch_size must be a positive integer"),
        (lambda: fnn.data.buckets([1], 1, 3), TypeError, "buckets: key must be a single PRNG key"),
        (lambda: fnn.data.lengths_of([[0.5]]), TypeError, "lengths_of: ids must be integers"),
        (lambda: fnn.data.token_weights([0.5]), TypeError, "token_weights: y must be integer labels"),
        (lambda: fnn.data.token_weights([1], ignore=0.5), TypeError, "token_weights: ignore must be an integer"),
    ):
        with pytest.raises(error, match=message):
            call()
