"""Checkpoints that a thread writes while the training goes on.

The state is copied first, since a training writes new values into its memory. A thread then encodes the copy, writes,
flushes, verifies and renames it, and removes checkpoints that are not to be kept. In these it is system calls and
SHA-256 that take long, and they let other threads run. One save at most is under way: the next one waits for it, and
copies into the same memory.

What process 0 did, all processes learn when they call `wait`, in the thread of the training. No other thread
communicates, since all processes must communicate in the same order. So what orbax writes, the leaves that are split
over several processes, is written before the training goes on.
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
    """The save is not to be finished."""


class Saves:
    """The saves of a training into a folder.

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
        """Create and lock the folder for the duration of the context, at whose end the last save is durable.

        An error of the context is raised after the save under way has ended. If that fails too, a note says so.
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
        """Record where the training began: its step, and the checkpoint that it resumes, if it does."""
        self.step, self.newest = step, checkpoint

    def start(self, step: int, trees: Mapping[str, PyTree], after: Callable[[str], None], **extra: Any) -> None:
        """Copy trees, and start to write a checkpoint of them. All processes call it.

        Args:
          step: the step of the checkpoint.
          trees: `{file name: tree}`.
          after: what the thread is to do when the checkpoint, whose name it is given, is durable.
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
        """Wait for the thread to end.

        A `join` that is interrupted would take it for ended (Python 3.11). A forked process has no such thread.
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
        """Wait until the save under way is durable, and return the newest checkpoint that is. All processes call it.

        The error of a save that fails is raised no more, but added to that which ends the training.
        """
        try:
            self.wait()
        except Exception as error:
            self._failed.append(error)
        return self.newest

    def _end(self, error: BaseException) -> None:
        """Wait for the save under way without communication (the other processes may be elsewhere), and add a note to
        the error if it fails.
        """
        self._join()
        for failed in self._failed:
            error.add_note(f"Besides, the save under way failed: {type(failed).__name__}: {failed}")
