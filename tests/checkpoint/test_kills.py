"""Killed processes: their checkpoints survive, and the resumed training ends with the same bits."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fnn.checkpoint import store
from tests.support.children import environment

ROOT = Path(__file__).parents[2]
ZYGOTE = """
import gc, hashlib, os, shutil, sys
from pathlib import Path
import jax
from fnn.checkpoint.background import Saves
from fnn.checkpoint.store import list_checkpoints
from tests.support.training import bits, fit
gc.freeze()
start = Saves.start


def record(saves, step, *args, **options):  # the steps whose saves have begun
    start(saves, step, *args, **options)
    with open(f"{saves.folder}.begun", "ab", buffering=0) as file:
        file.write(f"{step}\\n".encode())


def train(folder):
    result = fit(epochs=20, checkpoint_dir=folder, checkpoint_every_steps=1, resume=True, patience=15)
    return hashlib.sha256(b"".join(bits(result))).hexdigest()


def in_child(*folders):
    child = os.fork()
    if child == 0:
        for folder in folders:
            os.write(1, f"done {train(folder)}\\n".encode())
            shutil.rmtree(list_checkpoints(Path(folder))[-1])
        os._exit(0)
    print("pid", child, flush=True)
    print("exit", os.waitpid(child, 0)[1], flush=True)


Saves.start = record
whole = sys.argv[1]
in_child(whole, whole)
# a killed process can leave half an entry in the cache, which JAX never replaces: each later process would compile
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
for folder in map(str.strip, sys.stdin):
    in_child(folder)
"""


@pytest.mark.parametrize(
    "kills", [2, pytest.param(20, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.exhaustive)]
)
def test_kill_9_at_random_moments(kills, tmp_path):
    """Kill a training that saves after every step, restart it until it finishes, then begin another one.

    The newest checkpoint is at least that of the step before the one whose save began last: no more was under way.
    """
    command = [sys.executable, "-W", "ignore", "-c", ZYGOTE, str(tmp_path / "whole")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    random_, killed, finished, lost, in_writing, under_way = random.Random(kills), 0, 0, 0, 0, 0
    with subprocess.Popen(command, cwd=ROOT, env=environment(), **pipes) as zygote:
        answer = lambda: zygote.stdout.readline().split()
        _, (_, expected), resumed, ended = answer(), answer(), answer(), answer()
        assert [resumed, ended] == [["done", expected], ["exit", "0"]]
        while killed < kills or finished == 0:
            folder = tmp_path / f"run-{finished}"
            before = last_step(folder)
            print(folder, file=zygote.stdin, flush=True)
            pid = int(answer()[1])
            anywhere = random_.random() < 0.2  # during its start, otherwise near a step
            limit = time.monotonic() + (random_.uniform(0, 1) if anywhere else 120)
            while time.monotonic() < limit and last_step(folder) == before and not exited(pid):
                time.sleep(0.002)
            time.sleep(random_.uniform(0, 0.2))
            seen = last_step(folder)
            with contextlib.suppress(ProcessLookupError):  # it has finished
                if killed < kills:
                    os.kill(pid, signal.SIGKILL)
            line = answer()
            if line[0] == "done":
                assert line[1] == expected, f"after {killed} kills"
                finished += 1
                answer()
                continue
            assert int(line[1]) == signal.SIGKILL
            killed += 1
            if folder.exists():
                in_writing += any(folder.glob(".tmp-*"))
                latest = store.latest(folder)  # warnings are errors, so nothing is damaged
                newest, begun = int(latest.name[5:] if latest else 0), last_begun(folder)
                lost += newest < max(seen, begun - 1)
                under_way += newest == begun - 1
        zygote.stdin.close()
    print(f"{killed} kills, {in_writing} of them while writing; {finished} trainings finished, {lost} checkpoints lost")
    print(f"{under_way} saves had begun whose checkpoint was not there")
    assert lost == 0


def last_step(folder: Path) -> int:
    paths = store.list_checkpoints(folder)
    return int(paths[-1].name[5:]) if paths else 0


def last_begun(folder: Path) -> int:
    """The step of the last save that began; 0 if none did."""
    file = folder.with_name(f"{folder.name}.begun")
    return int(file.read_text().split()[-1]) if file.exists() else 0


def exited(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True
