"""Networks trained in bfloat16 are as accurate as in float32, to 0.3 points."""

import pytest

from experiments.benchmarks.mixed_precision import WORKS, accuracies, digits_work


@pytest.mark.slow
def test_digits_as_in_float32():
    work = digits_work(seeds=5, epochs=30)
    single, mixed = accuracies(work, False), accuracies(work, True)
    assert single.mean() > 97.5
    assert mixed.mean() > single.mean() - 0.3
    assert set(single) != set(mixed)  # it is another computation


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["mnist", "convnet"])
def test_mnist_as_in_float32(name):
    work = WORKS[name]()
    if work is None:
        pytest.skip("MNIST is not there (FNN_DATA)")
    single, mixed = accuracies(work, False), accuracies(work, True)
    assert single.mean() > 97.5
    assert mixed.mean() > single.mean() - 0.3
