import json
import resource
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from training.config import ConfigError
from training.logs import EVENTS, LOG, LogError, RunLog, read_log


def write(folder: Path, start: int, steps: list[int], *, tensorboard: bool = False) -> None:
    with RunLog(folder, start, tensorboard=tensorboard) as log:
        for step in steps:
            log.write({"step": step, "loss": step / 2, "metrics": {"flores200-dev:swh_Latn": 0.5}})


def steps_of(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / LOG).read_text().splitlines()]


def events_of(path: Path) -> list[Any]:
    """Read TensorBoard's records: length, its checksum, bytes, their checksum."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    content, events = path.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return events


def test_run_log_writes_a_line_a_time(tmp_path: Path) -> None:
    write(tmp_path, 0, [10, 20])
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert lines[1] == {"step": 20, "loss": 10.0, "metrics": {"flores200-dev:swh_Latn": 0.5}}
    assert len(lines) == 2
    assert not (tmp_path / EVENTS).exists()


def test_run_log_line_is_readable_at_once(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, tensorboard=False) as log:
        log.write({"step": 1})
        assert steps_of(tmp_path) == [1]


def test_run_log_resumed_drops_what_the_checkpoint_has_not_seen(tmp_path: Path) -> None:
    write(tmp_path, 0, [10, 20, 30])
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 15, "lo')  # a line that a kill cut off
    write(tmp_path, 20, [30, 40])
    assert steps_of(tmp_path) == [10, 20, 30, 40]
    write(tmp_path, 0, [5])
    assert steps_of(tmp_path) == [5]
    assert {path.name for path in tmp_path.iterdir()} == {LOG}


def test_run_log_tensorboard_holds_the_numbers_and_the_restart(tmp_path: Path) -> None:
    write(tmp_path, 0, [10, 20], tensorboard=True)
    write(tmp_path, 10, [20], tensorboard=True)
    first, second = sorted((tmp_path / EVENTS).iterdir(), key=lambda path: int(path.suffix[1:]))
    numbers = [
        (event.step, value.tag, value.simple_value)
        for event in events_of(first)
        for value in event.summary.value
    ]
    tag = "metrics/flores200-dev/swh_Latn"
    assert sorted(numbers) == [(10, "loss", 5), (10, tag, 0.5), (20, "loss", 10), (20, tag, 0.5)]
    # Steps from 11 on are done again: viewers forget those of the first file.
    starts = [event.step for event in events_of(second) if event.HasField("session_log")]
    assert starts == [11]


def test_run_log_tensorboard_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX.record_writer", None)
    with pytest.raises(ConfigError, match="install it"):
        RunLog(tmp_path, 0, tensorboard=True)


@pytest.mark.parametrize("tensorboard", [False, True])
def test_run_log_full_disk_is_said_and_what_was_written_stays(
    tmp_path: Path, *, tensorboard: bool
) -> None:
    """No file may grow beyond a limit: to the writer that is a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
        with pytest.raises(LogError, match=r"log\.jsonl: .*make room"):
            write(tmp_path, 0, list(range(1, 100)), tensorboard=tensorboard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = [line["step"] for line in read_log(tmp_path / LOG)]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= 1
