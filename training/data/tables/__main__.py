"""Build the tables of ``app/text/tables``: ``python -m training.data.tables NAME``.

keyboards needs Debian's packages xkb-data and x11proto-dev, lookalikes needs PyICU, romanization
nothing but the extra train, words the corpora; languages both of these and three minutes.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training.data.tables.keyboards import build_keyboards
from training.data.tables.languages import build_languages
from training.data.tables.lookalikes import build_lookalikes
from training.data.tables.romanization import build_romanization
from training.data.tables.words import build_words
from training.registry import DEFAULT_DATA, CorpusError

TABLES = Path(__file__).parents[3] / "app" / "text" / "tables"
XKB = Path("/usr/share/X11/xkb")
KEYSYMS = Path("/usr/include/X11/keysymdef.h")
TABLE_NAMES = ("keyboards", "languages", "lookalikes", "romanization", "words")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build one table; returns the exit status: 0 done, 2 if a source is missing."""
    parser = argparse.ArgumentParser(prog="python -m training.data.tables", description=__doc__)
    parser.add_argument("table", choices=TABLE_NAMES)
    parser.add_argument("--out", type=Path, default=TABLES, help="folder to write to")
    parser.add_argument("--xkb", type=Path, default=XKB, help="xkeyboard-config's folder")
    parser.add_argument("--keysyms", type=Path, default=KEYSYMS, help="keysymdef.h")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the corpora")
    options = parser.parse_args(arguments)
    rules = [options.xkb / "rules" / f"evdev{part}.xml" for part in ("", ".extras")]
    build: dict[str, Callable[[], Any]] = {
        "keyboards": lambda: build_keyboards(options.xkb / "symbols", rules, options.keysyms),
        "lookalikes": build_lookalikes,
        "romanization": build_romanization,
    }
    try:
        if options.table == "words":
            _replace(options.out / "words.tsv.gz", build_words(options.data))
        elif options.table == "languages":
            _replace(options.out / "languages.npz", build_languages(options.data, say=print))
        else:
            _replace(options.out / f"{options.table}.json", _as_json(build[options.table]()))
    except (OSError, ImportError, CorpusError) as error:
        message = f"{parser.prog}: {error}; see the README of the tables for what to install"
        print(message, file=sys.stderr)
        return 2
    return 0


def _replace(path: Path, content: bytes) -> None:
    staged = path.with_suffix(".part")
    staged.write_bytes(content)
    os.replace(staged, path)
    print(f"{path}: {path.stat().st_size} bytes")


def _as_json(table: Any) -> bytes:
    """Write JSON, a line for each entry of the second level, so that changes can be read."""
    parts = [f"{json.dumps(key)}: {_lines(value)}" for key, value in table.items()]
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def _lines(value: Any) -> str:
    if isinstance(value, dict):
        entries = [f"{_one(key)}: {_one(entry)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(entries) + "\n}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(_one, value)) + "\n]"
    return _one(value)


def _one(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
