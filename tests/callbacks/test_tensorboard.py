"""fnn.callbacks.tensorboard: what TensorBoard reads, resuming, closing, the missing package."""

import gc
import pickle
import sys
import weakref

import numpy as np
import pytest

import fnn
from tests.support.training import VALIDATION, small_fit


def events(folder):
    """Return the events of each file, in the order in which they were written."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, one = path.read_bytes(), []
        while data:
            size = int.from_bytes(data[:8], "little")
            one.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
        found.append(one)
    return found


def scalars(one):
    return [(event.step, value.tag, value.simple_value) for event in one for value in event.summary.value]


def test_the_values_of_each_epoch(tmp_path):
    pytest.importorskip("tensorboardX")
    call = fnn.callbacks.tensorboard(tmp_path / "runs" / "a")
    history = small_fit(callback=call, epochs=2, validation=VALIDATION).history
    (one,) = events(tmp_path / "runs" / "a")
    found = {(step, tag): value for step, tag, value in scalars(one)}
    assert len(found) == 8
    for name in history:
        tag = name.replace("validation_", "validation/") if "validation" in name else f"training/{name}"
        np.testing.assert_array_equal([found[1, tag], found[2, tag]], history[name])


def test_a_resumed_training_hides_the_epochs_that_it_repeats(tmp_path):
    pytest.importorskip("tensorboardX")
    call = fnn.callbacks.tensorboard(tmp_path)
    for epoch in (1, 2, 3):
        call(epoch, {"cost": 1.0}, None)
    pickle.loads(pickle.dumps(call))(2, {"cost": 2.0}, None)  # the same second: the file must have another name
    first, second = events(tmp_path)
    assert [step for step, *_ in scalars(first)] == [1, 2, 3]
    assert [(event.step, event.session_log.status) for event in second if event.HasField("session_log")] == [(2, 1)]
    call(1, {"cost": 3.0}, None)  # the same callback in another training
    assert len(events(tmp_path)) == 3
    assert repr(call) == f"tensorboard({str(tmp_path)!r})"


def test_the_file_is_closed_when_the_callback_is_no_longer_used(tmp_path):
    pytest.importorskip("tensorboardX")
    call = fnn.callbacks.tensorboard(tmp_path)
    call.close()  # nothing is open
    call(1, {"cost": 1.0}, None)
    file = call._writer._py_recordio_writer._writer
    call.close()
    assert file.closed
    call(2, {"cost": 1.0}, None)
    file, gone = call._writer._py_recordio_writer._writer, weakref.ref(call)
    del call
    gc.collect()
    assert gone() is None
    assert file.closed


def test_errors(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=str(tmp_path)):
        small_fit(callback=fnn.callbacks.tensorboard(tmp_path / "file" / "runs"))
    with pytest.raises(TypeError, match="tensorboard: folder must be a path"):
        fnn.callbacks.tensorboard(None)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"tensorboard: needs tensorboardX.*pip install 'fnn\[tensorboard\]'"):
        fnn.callbacks.tensorboard(tmp_path)
