"""What a run ran on, for the record."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


def describe_environment(runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Describe machine, versions and commit.

    Args:
        runtime: What the encoder says of its own.
    """
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "numpy": version("numpy"),
        **runtime,
        "commit": commit(),
    }


def commit() -> str | None:
    """Name the commit, with a plus if the project's files differ from it; None: no checkout."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return None
    return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no") else head


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
