"""How far a job is: share, rate and time left, on a terminal and elsewhere."""

import io

import pytest

from app.bulk.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("app.bulk.progress.time.monotonic", lambda: now[0])
    return now


def test_progress_says_share_rate_and_time_left(clock: list[float]) -> None:
    progress = Progress(1000, stream=Terminal())
    for _ in range(10):
        clock[0] += 1
        progress.add(50, 20, 1)
    # 500 bytes in 10 s, so 10 s for the other 500; 200 documents in 10 s.
    line = progress.line(clock[0])
    assert line.startswith(" 50% " + "█" * 12 + "░" * 12)
    assert line.endswith("200 documents, 10 refused, 20/s, 0:10 left")


def test_progress_counts_what_earlier_runs_did_but_not_in_the_rate(clock: list[float]) -> None:
    progress = Progress(1000, 800, stream=io.StringIO())
    clock[0] += 10
    progress.add(100, 50, 0)
    assert progress.line(clock[0]) == " 90% 50 documents, 5/s, 0:10 left"


def test_progress_rate_is_that_of_the_last_half_minute(clock: list[float]) -> None:
    progress = Progress(10_000, stream=io.StringIO())
    for step in range(100):
        clock[0] += 1
        progress.add(10, 1000 if step < 50 else 10, 0)
    assert ", 10/s, " in progress.line(clock[0])


def test_progress_shows_one_line_on_a_terminal_and_few_elsewhere(clock: list[float]) -> None:
    terminal, file = Terminal(), io.StringIO()
    shown, logged = Progress(100, stream=terminal), Progress(100, stream=file)
    for _ in range(100):
        clock[0] += 1
        shown.add(1, 1, 0)
        logged.add(1, 1, 0)
    shown.close()
    logged.close()
    assert terminal.getvalue().count("\r") == 101
    assert terminal.getvalue().endswith("0:00 left\x1b[K\n")
    assert file.getvalue().count("\n") == 3


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, "0:00"), (65.4, "1:05"), (3600, "1:00:00"), (-1, "0:00")]
)
def test_duration_is_written_as_people_do(seconds: float, written: str) -> None:
    assert duration(seconds) == written
