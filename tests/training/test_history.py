"""The history grows on the host, integers of NumPy are saved, and JAX's debugging finds nothing in good trainings."""

import json

import jax
import numpy as np
import pytest

import fnn
from fnn.checkpoint import store
from fnn.training import due, history, programs
from tests.support.slow import slow_except
from tests.support.training import NETWORK, bits, fit


@pytest.mark.slow
def test_integers_of_numpy_are_saved_like_integers(tmp_path):
    three = np.int64(3)
    options = dict.fromkeys(("patience", "keep", "micro_batch_size", "checkpoint_every", "report_every"), three)
    options |= {"epochs": three, "batch_size": np.int32(16), "l2": np.float64(0.5), "callback_every": np.uint8(3)}
    fit(checkpoint_dir=tmp_path, checkpoint_every_steps=np.int64(2), **options)
    (*_, newest) = store.list_checkpoints(tmp_path)
    saved = json.loads((newest / "manifest.json").read_text())["configuration"]
    assert (saved["patience"], saved["batch_size"], saved["l2"]) == (3, 16, 0.5)
    again = fit(checkpoint_dir=tmp_path, resume=True, epochs=4, micro_batch_size=3, l2=0.5, patience=3)
    assert len(again.history["cost"]) == 4


def test_other_epochs_compile_nothing():
    sizes = lambda: (programs.run_epochs._cache_size(), programs.init_carry._cache_size())
    fit(epochs=2, patience=1)
    before = sizes()
    fit(epochs=3, patience=1)
    assert len(fit(epochs=10**8, patience=1).history["cost"]) < 1000  # 4 GB if it were allocated
    assert sizes() == before


@pytest.mark.parametrize("rows", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_history_longer_than_the_device_keeps_is_the_same(rows, monkeypatch, tmp_path):
    whole = fit(epochs=12)
    jax.clear_caches()
    monkeypatch.setattr(history, "ROWS", rows)
    monkeypatch.setattr(due, "ROWS", rows)
    short = fit(epochs=12)
    fit(epochs=7, checkpoint_dir=tmp_path, checkpoint_every=4)
    resumed = fit(epochs=12, checkpoint_dir=tmp_path, resume=True)
    assert rows == programs.history.ROWS
    jax.clear_caches()
    for result in (short, resumed):
        assert bits(result.state) == bits(whole.state)
        for name, column in whole.history.items():
            assert column.tolist() == result.history[name].tolist()


@pytest.mark.parametrize("flag", ["jax_debug_nans", "jax_debug_infs"])
@pytest.mark.parametrize("options", slow_except([{}, {"checkpoint_every_steps": 2}, {"data": "stream"}], {}))
def test_debugging_of_jax_finds_nothing_in_a_training_that_is_finite(flag, options, tmp_path):
    x, y = np.ones((40, 4), "float32"), np.zeros(40, "int32")
    if "data" in options:
        options = {"data": lambda epoch: ((x[i : i + 16], y[i : i + 16]) for i in range(0, 40, 16))}
    elif options:
        options = options | {"checkpoint_dir": tmp_path}
    expected = fit(epochs=2, **{name: value for name, value in options.items() if name == "data"})
    jax.config.update(flag, True)
    try:
        result = fit(epochs=2, **options)
        fnn.evaluate(NETWORK, fnn.softmax_cross_entropy, result.state.params, (x, y))
    finally:
        jax.config.update(flag, False)
    assert result.history["cost"].tolist() == expected.history["cost"].tolist()
