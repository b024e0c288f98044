"""fnn.callbacks.time_limit and target, several callbacks, and exceptions in one."""

import pickle
import time

import pytest

import fnn
from fnn.callbacks import stopping
from tests.support.training import VALIDATION, small_fit


def test_a_time_limit_ends_the_training(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    limit = fnn.callbacks.time_limit(10)
    assert not limit(1, {}, None)
    now[0] = 109.9
    assert not limit(2, {}, None)
    now[0] = 110.0
    assert limit(3, {}, None)
    for value in (0, -1, float("nan"), float("inf"), "1", None, True):
        with pytest.raises((TypeError, ValueError), match="time_limit: seconds must be"):
            fnn.callbacks.time_limit(value)


def test_a_fit_stops_at_the_time_limit_and_saves(tmp_path):
    started = time.monotonic()
    limit = fnn.callbacks.time_limit(0.001)
    history = small_fit(callback=limit, epochs=10**6, checkpoint_dir=tmp_path, checkpoint_every=10**5).history
    assert len(history["cost"]) == 1
    assert time.monotonic() - started < 60
    assert fnn.checkpoint.latest(tmp_path).name == "step-00000002"


def test_a_target_ends_the_training_when_it_is_reached():
    costs = small_fit(epochs=5).history["cost"]
    goal = fnn.callbacks.target("cost", float(costs[2]))
    assert len(small_fit(epochs=5, callback=pickle.loads(pickle.dumps(goal))).history["cost"]) == 3
    assert repr(goal) == f"Target(name='cost', value={float(costs[2])}, lower_is_better=True)"
    assert not fnn.callbacks.target("a", 1.0)(1, {"a": float("nan")}, None)
    assert fnn.callbacks.target("cost", 1.0, lower_is_better=False)(1, {"cost": 2.0}, None)
    with pytest.raises(ValueError, match=r"target: name must be one of .*cost.*, got 'validation_cost'"):
        small_fit(callback=fnn.callbacks.target("validation_cost", 0.0))
    for arguments, options in (((3, 1.0), {}), (("cost", "x"), {}), (("cost", 1.0), {"lower_is_better": 1})):
        with pytest.raises(TypeError, match="target: "):
            fnn.callbacks.target(*arguments, **options)


def test_a_list_of_callbacks_and_an_exception_in_one(tmp_path):
    def fails(epoch, logs, state):
        if epoch == 2:
            raise RuntimeError("mine")

    seen = []
    paths = tmp_path / "a.csv", tmp_path / "b.csv"
    both = [fnn.callbacks.csv(paths[0]), fails, fnn.callbacks.csv(paths[1]), lambda *_: seen.append(1)]
    with pytest.raises(RuntimeError, match="mine"):
        small_fit(callback=both, epochs=4, validation=VALIDATION)
    assert [path.read_text().count("\n") for path in paths] == [3, 2]
    assert seen == [1]


def test_the_three_lines_for_weights_and_biases():
    """Run the lines of the docstring with a module that keeps what it is given."""

    class Run:
        def __init__(self):
            self.logged, self.finished = [], False

        def log(self, logs, step):
            self.logged.append((step, set(logs)))

        def finish(self):
            self.finished = True

    class Wandb:
        run = Run()

        def init(self, project):
            return self.run

    lines = fnn.callbacks.__doc__.partition("Weights & Biases\n----------------\n")[2].strip().splitlines()[:3]
    code = "\n".join(line.strip() for line in lines).replace("fnn.fit(..., ", "fit(")
    exec(code, {"wandb": Wandb(), "fit": small_fit})
    assert Wandb.run.logged == [(1, {"cost", "accuracy"}), (2, {"cost", "accuracy"})]
    assert Wandb.run.finished
