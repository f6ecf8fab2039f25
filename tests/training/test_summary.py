import json
from pathlib import Path
from typing import Any

import pytest

from training.config import TrainConfig
from training.logs import LOG
from training.progress import Progress
from training.summary import CURVE, SUMMARY, format_seconds, write_summary


@pytest.fixture
def run(config: TrainConfig) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json"),
        "steps": 8,
        "seconds": 4.0,
        "corpora": [{"name": "nllb-seed", "licence": "CC BY-SA 4.0", "shippable": True}],
        "languages": ["eng_Latn", "swh_Latn"],
        "parameters": 6400,
        "machine": {"architecture": "x86_64", "threads": 1},
        "versions": {"torch": "2.13.0"},
        "metrics": {"flores200-dev at 4": 0.25, "flores200-dev at 8": 0.5},
    }


def test_write_summary_tells_what_on_what_how_long_and_how_well(
    tmp_path: Path, run: dict[str, Any]
) -> None:
    lines = [{"step": step, "loss": 3.0 / step} for step in range(1, 9)]
    (tmp_path / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_summary(tmp_path, run, Progress(step=8, best=0.5, best_step=8), "Came to its end.")
    text = (tmp_path / SUMMARY).read_text()
    for part in (
        "# unit\n",
        "Came to its end.",
        "static, 16 dimensions, 6,400 parameters",
        "nllb-seed (CC BY-SA 4.0)",
        "2: eng_Latn, swh_Latn",
        "8 of 8, 16 pairs each",
        "4.0 s, 64 texts/s",
        "flores200-dev 0.5000 at step 8",
        f"]({CURVE})",
        "| flores200-dev at 4 | 0.2500 |",
    ):
        assert part in text
    picture = (tmp_path / CURVE).read_text()
    assert picture.lstrip().startswith("<?xml")
    assert "best: step 8" in picture
    assert "loss, smoothed" in picture


def test_write_summary_same_run_gives_the_same_picture(tmp_path: Path, run: dict[str, Any]) -> None:
    (tmp_path / LOG).write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    pictures = []
    for _ in range(2):
        write_summary(tmp_path, run, Progress(step=2), "")
        pictures.append((tmp_path / CURVE).read_bytes())
    assert pictures[0] == pictures[1]


def test_write_summary_without_a_log_has_no_picture(tmp_path: Path, run: dict[str, Any]) -> None:
    write_summary(tmp_path, run, Progress(), "Interrupted.")
    assert not (tmp_path / CURVE).exists()
    assert CURVE not in (tmp_path / SUMMARY).read_text()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.04, "4.0 s"),
        (48.2, "48 s"),
        (725, "12 min 5 s"),
        (59.7, "1 min 0 s"),
        (12_000, "3 h 20 min"),
    ],
)
def test_format_seconds_as_people_write(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
