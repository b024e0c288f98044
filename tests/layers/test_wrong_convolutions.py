"""The checker catches faults planted in the backward pass of convolutions, and names the wrong leaves."""

import pytest

from fnn.gradcheck import check_layer
from tests.support.oracles import normal, spread_params
from tests.support.slow import slow_except
from tests.support.wrong_convolutions import SHAPE, WRONG


@pytest.mark.parametrize("fault", slow_except(WRONG, "groups mixed up in dX", "transpose: dilation forgotten in dX"))
def test_wrong_layers_are_caught(fault):
    layer, leaves = WRONG[fault]
    report = check_layer(layer, spread_params(layer, 0), normal(1, SHAPE), key=3, checks=("reference",))
    assert {leaf.path for leaf in report.leaves if leaf.status == "FAIL"} == leaves, report.summary()
