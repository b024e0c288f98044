"""Memory of devices that say how much they have: data that do not fit are refused, and the peak is reported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.sharding import rows
from fnn.training import memory
from tests.support.training import LOSS, SMALL, small_fit

X, Y = np.ones((48, 4), "float32"), np.zeros(48, "int32")
DATA, VALIDATION = (X[:32], Y[:32]), (X[32:], Y[32:])
ROW = 4 * 4 + 4  # bytes of an example


class Sent(Exception):
    """Raised in place of sending data."""


@pytest.fixture
def device(monkeypatch):
    """Set what all devices say of their memory: device(free, ...) in bytes."""

    def say(free, limit=10_000, **more):
        numbers = {"bytes_limit": limit, "bytes_in_use": limit - free} | more
        monkeypatch.setattr(memory, "statistics", lambda device: numbers)

    return say


@pytest.fixture
def nothing_is_sent(monkeypatch):
    def refuse(*args):
        raise Sent

    monkeypatch.setattr(jax, "device_put", refuse)


def test_data_that_do_not_fit_are_refused_before_they_are_sent(device, nothing_is_sent):
    device(48 * ROW)
    with pytest.raises(Sent):  # an exact fit
        small_fit(data=DATA, validation=VALIDATION)
    device(48 * ROW - 1, limit=3 * 2**30)
    with pytest.raises(ValueError) as error:
        small_fit(data=DATA, validation=VALIDATION)
    assert str(error.value) == (
        f"fit: data and validation must be small enough for the 959 B that are free on {jax.devices()[0]} "
        "(of 3.00 GiB), got 960 B (data 640 B, validation 320 B). Pass device_memory, or less of it, to send data in "
        "chunks; or sharding, to share them over several devices. micro_batch_size and fnn.remat reduce what a step "
        "takes besides."
    )
    device(-5)  # more in use than the limit
    with pytest.raises(ValueError, match=r"fit: data must be small enough for the 0 B that are free"):
        small_fit(data=DATA)


def test_predict_evaluate_and_make_run_refuse_them_too(device, nothing_is_sent, key):
    params = SMALL.init(key)
    calls = {
        "predict: x": (16 * 32, lambda: fnn.predict(SMALL, params, X[:32])),
        "evaluate: data": (ROW * 32, lambda: fnn.evaluate(SMALL, LOSS, params, DATA)),
        "make_run: data": (ROW * 32, lambda: fnn.make_run(SMALL, LOSS, fnn.sgd, DATA, epochs=1, batch_size=8)),
    }
    for name, (size, call) in calls.items():
        device(size - 1)
        with pytest.raises(ValueError, match=f"{name} must be small enough .*, got {size} B .*Pass fewer"):
            call()
        device(size)
        with pytest.raises(Sent):
            call()


def test_a_padded_copy_on_the_device_counts_too(device, nothing_is_sent, key, monkeypatch):
    params, x, y = SMALL.init(key), X[:33], Y[:33]  # padded to 64 rows, in batches of 12 to 36
    calls = {
        (33 + 64) * 16: lambda x, y: fnn.predict(SMALL, params, x),
        (33 + 36) * 16: lambda x, y: fnn.predict(SMALL, params, x, batch_size=12),
        (33 + 64) * ROW: lambda x, y: fnn.evaluate(SMALL, LOSS, params, (x, y)),
    }
    for size, call in calls.items():
        device(size - 1)
        with pytest.raises(ValueError, match=rf"got {memory.format_bytes(size)} \(\w+ .*, \w+ with padding .*\)"):
            call(x, y)
        device(size)
        with pytest.raises(Sent):
            call(x, y)
    monkeypatch.undo()
    device(64 * 16 - 1)
    with pytest.raises(ValueError, match=r"got 1.00 KiB \(x with padding 1.00 KiB\)"):
        fnn.predict(SMALL, params, jnp.asarray(x))
    assert jax.jit(lambda x: fnn.predict(SMALL, params, x))(x).shape == (33, 2)


def test_ragged_lists_are_refused_by_the_checks_of_values(device, key):
    device(10_000)
    params, ragged = SMALL.init(key), [[1.0, 2.0], [3.0]]
    for sharding in (None, fnn.sharding.data_parallel(jax.make_mesh((2,), ("data",)))):
        with pytest.raises(TypeError, match=r"fit: data: x must be an array of numbers, .* Rows must have equal"):
            small_fit(data=(ragged, [0, 1]), sharding=sharding)
        with pytest.raises(TypeError, match=r"predict: x must be an array of numbers, .* Rows must have equal"):
            fnn.predict(SMALL, params, ragged, sharding=sharding)


def test_arrays_on_a_mesh_count_because_they_are_sent_again(device, monkeypatch):
    layout = fnn.sharding.data_parallel(jax.make_mesh((2,), ("data",)))
    data = jax.device_put(DATA, fnn.sharding.layout.batch_sharding(layout))
    monkeypatch.setattr(rows, "_MAX_REPLICATED_BYTES", 0)
    device(16 * ROW - 1)
    with pytest.raises(ValueError, match="got 320 B for each device"):
        small_fit(data=data, sharding=layout)
    device(16 * ROW)
    sent, put = [], jax.device_put
    monkeypatch.setattr(
        jax, "device_put", lambda value, *args, **kwargs: sent.append(value) or put(value, *args, **kwargs)
    )
    assert small_fit(data=data, sharding=layout, epochs=1).history["cost"].shape == (1,)
    assert sum(value.nbytes for value in sent if isinstance(value, np.ndarray)) == 32 * ROW


def test_arrays_on_the_device_are_not_counted_twice(device):
    device(0)
    data = tuple(map(jnp.asarray, DATA))
    assert small_fit(data=data, epochs=1).history["cost"].shape == (1,)
    with pytest.raises(ValueError, match=r"got 320 B \(validation 320 B\)"):
        small_fit(data=data, validation=VALIDATION)


def test_bytes_are_those_of_the_dtype_that_jax_has(device, nothing_is_sent):
    device(32 * ROW)
    with pytest.raises(Sent):
        small_fit(data=(X[:32].astype("float64"), Y[:32].astype("int64")))
    with pytest.raises(TypeError, match="an array of numbers"):  # checks of values say what is wrong
        small_fit(data=(np.full((3, 4), None), Y[:3]))
    device(32 * ROW - 1)
    with pytest.raises(ValueError, match="got 640 B"):
        small_fit(data=(X[:32].tolist(), Y[:32].tolist()))
    with pytest.raises(ValueError, match="got 768 B"):
        small_fit(data=(*DATA, np.ones(32, "float32")))


@pytest.mark.parametrize("axes", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_each_device_of_a_mesh_needs_room_for_its_shard(axes, device, nothing_is_sent, monkeypatch):
    layout = fnn.sharding.data_parallel(jax.make_mesh((2,), ("data",), axis_types=(axes,)))
    data = X[:33], Y[:33]  # 17 rows and, with one of padding, 17
    device(33 * ROW + 8 * ROW - 1)
    with pytest.raises(ValueError, match=r"got 820 B for each device \(data 660 B, validation 160 B\)"):
        small_fit(data=data, validation=VALIDATION, sharding=layout)  # small data are replicated
    monkeypatch.setattr(rows, "_MAX_REPLICATED_BYTES", 0)
    device(17 * ROW - 1)
    with pytest.raises(ValueError, match=r"got 340 B for each device \(data 340 B\)"):
        small_fit(data=data, sharding=layout)
    device(17 * ROW)
    with pytest.raises(Sent):
        small_fit(data=data, sharding=layout)


def test_the_fullest_device_decides(device, monkeypatch):
    numbers = {0: {"bytes_limit": 9000, "bytes_in_use": 0}, 1: {"bytes_limit": 9000, "bytes_in_use": 8900}}
    monkeypatch.setattr(memory, "statistics", lambda device: numbers[device.id])
    layout = fnn.sharding.data_parallel(jax.make_mesh((2,), ("data",)))
    with pytest.raises(ValueError, match=rf"the 100 B that are free on {jax.devices()[1]} \(of 8.79 KiB\)"):
        small_fit(data=DATA, sharding=layout)
    with pytest.raises(ValueError, match=r"evaluate: data must be .*, got 320 B for each device \(data 320 B\)"):
        fnn.evaluate(SMALL, LOSS, SMALL.init(jax.random.key(0)), DATA, sharding=layout)


def test_chunks_of_streams_and_of_arrays_on_the_host_count(device):
    options = {"batch_size": 8, "device_memory": 2 * 8 * (ROW + 4), "epochs": 1}  # two chunks of a batch
    device(2 * 8 * ROW - 1)
    for data in (DATA, lambda epoch: [(X[:8], Y[:8])]):
        with pytest.raises(ValueError, match=r"fit: data must be .*, got 320 B \(its chunks 320 B\)"):
            small_fit(data=data, **options)
    with pytest.raises(ValueError, match=r"data and validation must be .* \(its chunks 320 B, validation 320 B\)"):
        small_fit(data=DATA, validation=VALIDATION, **options)
    device(2 * 8 * ROW)
    small_fit(data=DATA, **options)


def test_a_device_that_says_nothing_refuses_and_reports_nothing(monkeypatch, capsys):
    assert memory.statistics(jax.devices("cpu")[0]) == {}
    for numbers in ({}, {"bytes_in_use": 5}):
        monkeypatch.setattr(memory, "statistics", lambda device, numbers=numbers: numbers)
        small_fit(data=DATA, epochs=1, progress=True)
        assert "memory" not in capsys.readouterr().out


def test_the_last_line_is_the_peak(device, capsys):
    device(8000, peak_bytes_in_use=2**12)
    small_fit(data=DATA, epochs=1, progress=True)
    assert capsys.readouterr().out.splitlines()[-1] == "device memory: at most 4.00 KiB of 9.77 KiB"
    small_fit(data=DATA, epochs=1)
    assert capsys.readouterr().out == ""


def test_the_peak_of_several_devices_is_that_of_the_fullest(monkeypatch):
    x = jax.device_put(
        jnp.ones(2), fnn.sharding.layout.replicated(fnn.sharding.data_parallel(jax.make_mesh((2,), ("data",))))
    )
    monkeypatch.setattr(memory, "statistics", lambda device: {"peak_bytes_in_use": 100 + device.id})
    assert memory.peak_note(x) == "device memory: at most 101 B, on the fullest of 2 devices"


def test_inside_jit_there_is_nothing_to_send(device, key):
    device(0)
    params = SMALL.init(key)
    assert jax.jit(lambda x: fnn.predict(SMALL, params, x))(X).shape == (48, 2)
