"""Claims on convolution: filters, the pixels that each weight sees, and translation."""

import numpy as np
import pytest
from scipy import signal

import fnn
from tests.support.columns import same
from tests.support.oracles import by_hand, normal

pytestmark = pytest.mark.usefixtures("x64")


def convolve(theta, image):
    """One filter (kh, kw, channels) over one image (height, width, channels), without bias."""
    layer = fnn.conv2d(theta.shape[2], 1, theta.shape[:2])
    return np.asarray(layer.forward(fnn.Conv2d(theta[..., None], np.zeros(1)), image[None])[0])[0, :, :, 0]


@pytest.mark.claim("C229", "C235")
def test_a_filter_slides_over_the_image_unflipped():
    theta, image = normal(0, (4, 4, 1), "float64"), normal(1, (64, 64, 1), "float64")
    a = convolve(theta, image)
    assert a.shape == (61, 61)
    for i, j in ((0, 0), (0, 1), (1, 0), (60, 60)):
        assert a[i, j] == pytest.approx(np.sum(theta * image[i : i + 4, j : j + 4]), rel=1e-10)
    assert same(a, signal.correlate2d(image[:, :, 0], theta[:, :, 0], mode="valid"), 1e-10)
    assert np.abs(a - signal.convolve2d(image[:, :, 0], theta[:, :, 0], mode="valid")).max() > 1


@pytest.mark.slow
@pytest.mark.claim("C230", "C234")
def test_channels_are_summed_and_each_filter_has_its_map():
    theta, image = normal(0, (4, 4, 3), "float64"), normal(1, (9, 8, 3), "float64")
    assert theta.size == 48
    assert same(convolve(theta, image), sum(convolve(theta[..., c : c + 1], image[..., c : c + 1]) for c in range(3)))
    other = normal(2, (4, 4, 3), "float64")
    layer = fnn.conv2d(3, 2, 4)
    both, _ = layer.forward(fnn.Conv2d(np.stack([theta, other], axis=-1), np.zeros(2)), image[None])
    assert both.shape == (1, 6, 5, 2)
    assert same(both[0, :, :, 0], convolve(theta, image))
    assert same(both[0, :, :, 1], convolve(other, image))


@pytest.mark.claim("C231", "C233")
def test_which_pixels_the_window_and_one_weight_see():
    layer = fnn.conv2d(1, 1, 4)
    params, image = fnn.Conv2d(np.ones((4, 4, 1, 1)), np.zeros(1)), np.ones((1, 64, 64, 1))
    dparams, dx = by_hand(layer, params, image, np.ones((1, 61, 61, 1)))
    assert (dx.min(), dx.max()) == (1, 16), "the window covers each pixel, 1 to 16 times"
    np.testing.assert_array_equal(dparams.w, 61 * 61)
    assert 61 * 61 == 3721 < 64 * 64


@pytest.mark.claim("C227")
def test_a_pixel_that_is_never_lit_never_trains_its_weight():
    x = np.abs(normal(0, (20, 16), "float64"))
    x[:, 5] = 0
    y = (np.arange(20) % 2)[:, None].astype(float)
    network = fnn.logistic_regression(16)
    params = fnn.Dense(normal(1, (16, 1), "float64"), np.zeros(1))
    dw = np.asarray(fnn.value_and_grad(network, fnn.sigmoid_cross_entropy)(params, x, y)[1].w)[:, 0]
    assert dw[5] == 0
    assert np.delete(np.abs(dw), 5).min() > 1e-4


@pytest.mark.slow
@pytest.mark.claim("C232")
def test_convolution_moves_with_the_object_and_its_maximum_stays():
    theta, patch = normal(0, (4, 4, 1), "float64"), normal(1, (4, 4), "float64")

    def answer(i, j):
        image = np.zeros((20, 20, 1))
        image[i : i + 4, j : j + 4, 0] = patch
        return convolve(theta, image)

    here, there = answer(4, 4), answer(9, 11)
    assert same(there, np.roll(here, (5, 7), axis=(0, 1)))
    assert np.abs(there - here).max() > 1, "it is not the same answer"
    pool = fnn.max_pool2d(17)
    tops = [pool.forward((), a[None, :, :, None])[0].ravel()[0] for a in (here, there)]
    assert tops[0] == pytest.approx(float(tops[1]))


@pytest.mark.claim("C236")
def test_filters_for_edges_tell_edges_apart():
    horizontal = np.array([[-1.0, -1, -1], [0, 0, 0], [1, 1, 1]])[..., None]
    below, right = np.zeros((8, 8, 1)), np.zeros((8, 8, 1))
    below[4:], right[:, 4:] = 1, 1
    responses = [
        [np.abs(convolve(theta, image)).max() for image in (below, right)]
        for theta in (horizontal, horizontal.transpose(1, 0, 2))
    ]
    assert responses == [[3, 0], [0, 3]]
