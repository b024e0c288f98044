"""Checkpoints that a thread writes while the training goes on.

The training copies the state first, because its programs overwrite the memory of the state. A thread then encodes the
copy, writes, flushes, verifies and renames it, and removes checkpoints that are not to be kept. Most of that time goes
to system calls and SHA-256, which let other threads run. At most one save is under way: the next one waits for it, and
copies into the same memory.

All processes learn whether process 0 succeeded when they call `wait`, in the thread of the training. No other thread
communicates, because all processes must communicate in the same order. Orbax communicates. It therefore writes the
leaves that are split over several processes before the training goes on.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from fnn.checkpoint import store, writing
from fnn.checkpoint.lock import FolderLock
from fnn.sharding import agreement

_POLL_SECONDS = 1.0  # how often a wait checks that there still is a thread to wait for


class _Cancelled(Exception):
    """Raised in the thread to give up the save under way."""


class Saves:
    """Saves the checkpoints of a training in a folder, one at a time, while the training goes on.

        saves = Saves(folder)
        with saves.opened():  # creates and locks the folder
            saves.began(0, None)
            ...
            saves.start(step, trees, after)  # returns when the trees are copied
            ...
        # the last checkpoint is durable

    Attributes:
      folder: the folder.
      held: its lock, which is held inside `opened`.
      newest: the newest checkpoint of the training that is known to be durable; None if there is none.
      step: the step of the newest save, also of one under way, or of where the training began; None before it began.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.held = folder, FolderLock(folder, None)
        self.newest: Path | None = None
        self.step: int | None = None
        self._memory: dict[str, dict[str, np.ndarray]] = {}
        self._path: Path | None = None  # of the save under way
        self._thread: threading.Thread | None = None  # that writes it, in process 0
        self._ended = threading.Event()
        self._failed: list[BaseException] = []  # why it failed
        self._cancelled = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Create the folder and lock it until the context ends. The last save is durable then.

        If the context raises, its error is raised after the save under way has ended. If that fails too, a note of the
        error says so.
        """
        with store.open_folder(self.folder) as self.held:
            try:
                yield
                self.wait()
            except BaseException as error:
                self._end(error)
                raise
            finally:
                self._cancelled = True  # a thread that is still there, after two interrupts, must not rename anything

    def began(self, step: int, checkpoint: Path | None) -> None:
        """Record at which step the training began, and from which checkpoint, if it was resumed."""
        self.step, self.newest = step, checkpoint

    def start(self, step: int, trees: Mapping[str, PyTree], after: Callable[[str], None], **extra: Any) -> None:
        """Copy trees, and start to write a checkpoint of them. All processes call it.

        Args:
          step: the step of the checkpoint.
          trees: `{file name: tree}`.
          after: called in the thread with the name of the checkpoint, as soon as that is durable.
          **extra: more entries of the manifest.

        Raises:
          Exception: if the save before failed: its error, in all processes. Nothing new is then saved.
        """
        self.wait()
        prepared = writing.prepare(self.held, step, trees, memory=self._memory, **extra)
        self._path, self.step = prepared.path, step
        if agreement.is_main_process():
            self._run(prepared, after)

    def _run(self, prepared: writing.Prepared, after: Callable[[str], None]) -> None:
        def work() -> None:
            try:
                writing.finish(prepared, self._check)
                after(prepared.path.name)
            except _Cancelled:
                pass
            except BaseException as error:
                self._failed.append(error)
            finally:
                self._ended.set()

        self._ended.clear()
        # not a daemon, even if this thread is one: the interpreter waits for it before it ends
        self._thread = threading.Thread(target=work, name="fnn checkpoint", daemon=False)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no more threads, or the interpreter is ending
            self._thread = None
            work()

    def _check(self) -> None:
        if self._cancelled:
            raise _Cancelled
        self.held.check()

    def wait(self) -> None:
        """Wait until the save under way is durable. All processes call it.

        Raises:
          Exception: if the save failed: its error, in all processes.
          KeyboardInterrupt: after an interrupt while it waits. The save under way is then given up.
        """
        if self._path is None:
            return
        path, self._path = self._path, None
        with agreement.fail_together("save"):
            self._join()
            try:
                if self._failed:
                    raise self._failed.pop()
            except OSError:
                self.held.check()  # the folder may have been removed meanwhile, which says more
                raise
        self.newest = path

    def _join(self) -> None:
        """Wait for the thread to end, if this process has it: a forked process has not.

        The event says whether it has ended, since after an interrupted `join` Python 3.11 takes any thread for ended.
        """
        thread = self._thread
        if thread is None:
            return
        try:
            while not self._ended.wait(_POLL_SECONDS) and thread.is_alive():
                pass
        except BaseException:
            self._cancelled = True
            self._ended.wait()
            raise
        if not self._ended.is_set():
            self.held.check()
        thread.join()
        self._thread = None

    def settle(self) -> Path | None:
        """Wait for the save under way, and return the newest durable checkpoint. All processes call it.

        If the save fails, this raises nothing: `opened` adds a note to the error that ends the training.
        """
        try:
            self.wait()
        except Exception as error:
            self._failed.append(error)
        return self.newest

    def _end(self, error: BaseException) -> None:
        """Wait for the save under way, and add a note to the error if the save fails.

        Without communication, because the other processes may be elsewhere.
        """
        self._join()
        for failed in self._failed:
            error.add_note(f"Besides, the save under way failed: {type(failed).__name__}: {failed}")
