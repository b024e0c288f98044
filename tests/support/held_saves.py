"""Hold up the thread that writes the checkpoints of `fit`, and look at what it leaves."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fnn.checkpoint import atomic

SECONDS = 60.0  # after which a wait fails


class Held:
    """A save that is held up before its checkpoint is renamed.

    Attributes:
      reached: set when it is written up to there.
      go: to be set when it may go on.
    """

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def wait(self) -> None:
        """Wait until the save is held up."""
        assert self.reached.wait(SECONDS), "nothing is saved"


@contextlib.contextmanager
def held(name: str, until: float = SECONDS) -> Iterator[Held]:
    """Hold up the save of this checkpoint. After these seconds, or at the end of the context, it goes on."""
    save, finish = Held(), atomic.finish_folder

    def hold(temporary, path, check):
        if path.name == name:
            save.reached.set()
            save.go.wait(until)
        finish(temporary, path, check)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "finish_folder", hold)
        try:
            yield save
        finally:
            save.go.set()


def threads() -> list[str]:
    """The names of the threads that write checkpoints."""
    return [thread.name for thread in threading.enumerate() if thread.name == "fnn checkpoint"]


def left(folder: Path) -> list[str]:
    """The names of what is in a folder besides checkpoints and the lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock" and not path.name.startswith("step-"))
