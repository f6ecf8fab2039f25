"""What the machine gives: processors of a container, and how its arithmetic goes."""

import os
from pathlib import Path

import pytest

from app.encoder.hardware import cpu_limit
from app.encoder.session import adds_in_32_bits


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "300000 100000"}, 3),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({}, 8),
    ],
)
def test_cpu_limit_takes_the_containers_quota(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content + "\n")

    assert cpu_limit(tmp_path) == expected


def test_cpu_limit_takes_the_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    (tmp_path / "cpu.max").write_text("400000 100000\n")

    assert cpu_limit(tmp_path) == 1


@pytest.mark.parametrize(
    ("flags", "adds"),
    [
        ("sse2 avx2 avx512f", False),
        ("avx2 avx512_vnni", True),
        ("avx2 avx_vnni", True),
        ("", False),
    ],
)
def test_adds_in_32_bits_goes_by_the_processor_flags(
    tmp_path: Path, flags: str, adds: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: any\nflags\t\t: fpu {flags}\n")

    assert adds_in_32_bits(tmp_path / "cpuinfo") is adds


def test_adds_in_32_bits_unknown_processor_is_taken_to_overflow(tmp_path: Path) -> None:
    assert not adds_in_32_bits(tmp_path / "missing")
