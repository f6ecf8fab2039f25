"""Files to index, and how the command is called on them."""

from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: int, offset: int = 0) -> Path:
    lines = (f'{{"doc_id": "d{n}", "text": "text {n}"}}\n' for n in range(offset, offset + rows))
    path.write_text("".join(lines))
    return path


def arguments(live: Any, folder: Path, *more: str) -> list[str]:
    return [
        *("index", str(folder), "--collection", "notes", "--url", live.url, "--quiet"),
        *("--ledger", str(folder.parent / "ledger"), "--batch", "50", *more),
    ]
