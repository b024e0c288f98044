"""Killed while saves are under way: what is there is whole, and at most one save is missing.

The training is a loop over an array that it changes in place, so that a process starts in a moment. Kills of `fit` are
in test_kills.py.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fnn.checkpoint import store
from fnn.checkpoint.manifest import list_checkpoints

ROOT = Path(__file__).parents[2]
SIZE, STEPS = 300_000, 10_000  # numbers of 8 bytes: the files have more than one block
ZYGOTE = """
import gc, os, sys, warnings
from pathlib import Path
import jax
from fnn.checkpoint.background import Saves
from fnn.training.pruning import prune
from tests.checkpoint.test_background_kills import advance, newest

warnings.simplefilter("ignore")
jax.process_count()
gc.freeze()


def train(folder):
    saves, scores = Saves(Path(folder)), {}
    with saves.opened(), open(f"{folder}.begun", "ab", buffering=0) as begun:
        step, w = newest(Path(folder))
        saves.began(step, None)
        while True:
            step = advance(w, step)
            trees = {"state.safetensors": {"w": w}}
            saves.start(step, trees, lambda name: prune(saves.held, 2, scores), training=None)
            begun.write(f"{step}\\n".encode())


for folder in map(str.strip, sys.stdin):
    child = os.fork()
    if child == 0:
        train(folder)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def advance(w: np.ndarray, step: int) -> int:
    """Do one step in place."""
    w[step % SIZE :: 7] += step + 1
    w *= 1.0000001
    return step + 1


def newest(folder: Path) -> tuple[int, np.ndarray]:
    """Return the step and the array of the newest checkpoint, and the start if there is none."""
    loaded, damaged = store.newest(folder)
    assert damaged == []
    if loaded is None:
        return 0, np.zeros(SIZE)
    return loaded.manifest["step"], loaded.arrays["state.safetensors"]["w"].copy()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [30, pytest.param(300, marks=pytest.mark.exhaustive)])
def test_kills_of_a_loop_that_saves_every_step(kills, tmp_path):
    draw, folder, missing, in_writing, saved = random.Random(kills), tmp_path / "run", 0, 0, 0
    step, w, done = 0, np.zeros(SIZE), 0
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen([sys.executable, "-c", ZYGOTE], cwd=ROOT, **pipes) as zygote:
        for _ in range(kills):
            before = last(folder)
            print(folder, file=zygote.stdin, flush=True)
            pid = int(zygote.stdout.readline())
            limit = time.monotonic() + 60
            while time.monotonic() < limit and last(folder) == before:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.1))
            os.kill(pid, signal.SIGKILL)
            assert int(zygote.stdout.readline()) == signal.SIGKILL
            in_writing += any(folder.glob(".tmp-*"))
            reached, found = newest(folder)
            begun = int(Path(f"{folder}.begun").read_text().split()[-1])
            assert reached >= begun - 1, "a checkpoint is lost that was not under way"
            missing += reached < begun
            saved += reached - done
            done = reached
            while step < reached:
                step = advance(w, step)
            assert digest(found) == digest(w), f"step {reached}"
        zygote.stdin.close()
    print(f"{kills} kills, {in_writing} of them while writing, {saved} saves; {missing} were under way and are missing")
    assert in_writing > kills / 4


def last(folder: Path) -> int:
    paths = list_checkpoints(folder)
    return int(paths[-1].name[5:]) if paths else 0


def digest(w: np.ndarray) -> str:
    return hashlib.sha256(w.tobytes()).hexdigest()
