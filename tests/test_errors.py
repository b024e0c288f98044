"""Wrong arguments: errors name the function, the argument, and both values."""

import numpy as np
import pytest

from tests.support import wrong_layers, wrong_training
from tests.support.wrong_layers import KEY, LABELS, X
from tests.support.wrong_training import evaluate, fit

CASES = wrong_layers.CASES + wrong_training.CASES


@pytest.mark.parametrize(
    ("call", "error", "words"), CASES, ids=[f"{i}-{words}" for i, (_, _, words) in enumerate(CASES)]
)
def test_the_message_names_function_argument_expected_and_got(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    function, rest = words.split(": ", 1)
    expected, got = rest.split(" got", 1)
    said, came = str(caught.value).split(", got ", 1)
    assert said.startswith(f"{function}: ")
    assert " must be " in said
    for word, text in [(word, said) for word in expected.split()] + [(word, came) for word in got.split()]:
        assert word in text, f"{word!r} is not in {text!r}"


def test_bad_calls_leave_their_arguments_alone():
    x, labels = X.copy(), LABELS + 3
    for call in (fit(data=(x, labels)), evaluate(x, labels)):
        with pytest.raises(ValueError, match="labels in"):
            call()
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(labels, LABELS + 3)
    assert not KEY.is_deleted()
