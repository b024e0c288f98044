"""A callback that writes the values of each epoch for TensorBoard."""

import os
import secrets
import time
import weakref
from pathlib import Path
from typing import Any

from fnn import checks
from fnn.checkpoint import atomic
from fnn.sharding import agreement
from fnn.types import TrainState


class TensorboardFolder:
    """The callback that `tensorboard` returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._epoch = 0  # the last one that was written

    def __call__(self, epoch: int, logs: dict[str, float], state: TrainState) -> None:
        if not agreement.is_main_process():
            return
        from tensorboardX.summary import scalar

        if self._writer is None or epoch <= self._epoch:
            self._open(epoch)
        writer: Any = self._writer
        with atomic.name_errors(self.folder):
            for name, value in logs.items():
                self._write(epoch, summary=scalar(_tag(name), value))
            writer.flush()
        self._epoch = epoch

    def close(self) -> None:
        """Close the file. A later call of the callback opens a new one."""
        if self._writer is not None:
            self._close()
            self._writer = None

    def _open(self, epoch: int) -> None:
        """Open a file of events, in which TensorBoard hides what earlier files say of this epoch and later ones."""
        from tensorboardX.event_file_writer import EventsWriter

        self.close()
        atomic.make_folder(self.folder)
        self._writer = EventsWriter(str(self.folder / "events"), f".{os.getpid()}.{secrets.token_hex(4)}")
        self._close = weakref.finalize(self, self._writer.close)  # at the latest when Python exits
        self._write(epoch, file_version="brain.Event:2")
        self._write(epoch, session_log=_message("SessionLog", status=1))  # START

    def _write(self, epoch: int, **content: Any) -> None:
        self._writer.write_event(_message("Event", step=epoch, wall_time=time.time(), **content))

    def __repr__(self) -> str:
        return f"tensorboard({str(self.folder)!r})"

    def __reduce__(self) -> Any:
        return TensorboardFolder, (self.folder,)


def tensorboard(folder: str | Path) -> TensorboardFolder:
    """Return a callback that writes the values of each epoch for TensorBoard.

    It needs tensorboardX: `pip install 'fnn[tensorboard]'`. Show them with `tensorboard --logdir FOLDER`. The names of
    the history become `training/cost`, `validation/cost` and so on; the epoch is the step. Each epoch is written before
    the training goes on. A training that resumes writes a new file in the folder, and TensorBoard hides what the
    earlier files say of the epochs that are repeated. Give each training a folder of its own below FOLDER.

    Args:
      folder: where to write the files of events. It is created if it is missing.

    Returns:
      A callback for `fnn.fit`. It can be pickled. It closes its file when it is no longer used, or when its method
      `close` is called. If there are several processes, process 0 writes.

    Raises:
      ImportError: if tensorboardX is not installed.
      OSError: from the callback, if a file cannot be written.
    """
    folder = checks.path("tensorboard", "folder", folder).absolute()
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        message = "tensorboard: needs tensorboardX, which is not installed; pip install 'fnn[tensorboard]'"
        raise ImportError(message, name="tensorboardX") from error
    return TensorboardFolder(folder)


def _tag(name: str) -> str:
    """Return TensorBoard's name, which groups by what stands before the slash.

    >>> _tag("validation_cost"), _tag("accuracy")
    ('validation/cost', 'training/accuracy')
    """
    prefix = "validation_"
    return f"validation/{name.removeprefix(prefix)}" if name.startswith(prefix) else f"training/{name}"


def _message(name: str, **content: Any) -> Any:
    """Return one of TensorBoard's messages. Their classes are made when the module is imported."""
    from tensorboardX.proto import event_pb2

    return getattr(event_pb2, name)(**content)
