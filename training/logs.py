"""What a run writes while it goes on: log.jsonl and, if asked for, TensorBoard's event files.

A log belongs to the checkpoint beside it: on resume, lines of steps that the checkpoint has not
seen are dropped, since those steps will be done, and written, again.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from training.config import ConfigError

LOG, EVENTS = "log.jsonl", "tensorboard"


class LogError(ValueError):
    """The log cannot be written; the message says why and what to do, in one line."""


class RunLog:
    """Appends one JSON object a line to ``log.jsonl``, and its numbers to TensorBoard."""

    def __init__(self, folder: Path, step: int, *, tensorboard: bool) -> None:
        """Open the log of a run that stands at ``step``.

        Raises:
            ConfigError: If TensorBoard is asked for, but not installed.
            LogError: If the files cannot be written.
        """
        self._path = folder / LOG
        try:
            if self._path.exists():
                truncate_log(self._path, step)
            self._events = EventFile(folder / EVENTS, step) if tensorboard else None
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._explain(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # Closing writes what a full disk did not take; that it did not is known by now.
        with suppress(OSError):
            self._file.close()
        if self._events:
            with suppress(OSError):
                self._events.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line; it is in the system's hands, out of the process's, when this returns.

        Args:
            line: JSON values; ``step`` and finite numbers or None, and one level of tables of them.

        Raises:
            LogError: If the disk is full, say.
        """
        try:
            self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()
            if self._events:
                self._events.write(int(line["step"]), flatten(line))
        except OSError as error:
            raise self._explain(error) from error

    def _explain(self, error: OSError) -> LogError:
        return LogError(
            f"cannot write the log {self._path}: {error}; the last checkpoint is intact: make "
            "room, then continue with --resume"
        )


class EventFile:
    """A TensorBoard event file, written in this thread.

    tensorboardX's own ``SummaryWriter`` writes in a thread behind a queue, and waits forever for
    room in it once that thread has died of a full disk.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from tensorboardX.proto import event_pb2
            from tensorboardX.record_writer import RecordWriter
            from tensorboardX.summary import scalar
        except ImportError as error:
            raise ConfigError(
                "run.tensorboard needs the package tensorboardX: install it (extra 'train'), or "
                "set run.tensorboard = false"
            ) from error
        protos: Any = event_pb2  # classes made at import, which type checkers cannot see
        folder.mkdir(exist_ok=True)
        self._event, self._scalar = protos.Event, scalar
        # Viewers know the files by the first part; the rest tells apart two in one second.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{step}"
        self._writer = RecordWriter(str(folder / name))
        self._put(protos.Event(file_version="brain.Event:2"))
        # Events of an earlier process from this step on count no more.
        start = protos.SessionLog(status=protos.SessionLog.START)
        self._put(protos.Event(step=step + 1, session_log=start))
        self._writer.flush()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        for name, number in numbers.items():
            self._put(self._event(step=step, summary=self._scalar(name.replace(":", "/"), number)))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _put(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())


def flatten(line: Mapping[str, Any]) -> dict[str, float]:
    """Return a line's numbers but its step, those of tables as ``table/name``."""
    numbers: dict[str, float | None] = {}
    for key, value in line.items():
        if isinstance(value, Mapping):
            numbers |= {f"{key}/{name}": number for name, number in value.items()}
        elif key != "step":
            numbers[key] = value
    return {name: number for name, number in numbers.items() if number is not None}


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a log; one that a kill cut off is left out.

    Raises:
        OSError: If it cannot be read.
    """
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def truncate_log(path: Path, step: int) -> None:
    """Drop the lines of steps after ``step``, all or none of them if the process is killed."""
    kept = [line for line in read_log(path) if line["step"] <= step]
    rewritten = path.with_name(f".{path.name}-writing")
    rewritten.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), encoding="utf-8"
    )
    rewritten.replace(path)
