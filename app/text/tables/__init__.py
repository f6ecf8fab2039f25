"""Tables about scripts, keyboards and words, built by ``python -m training.data.tables``.

Where each comes from and under which licence stands in the README beside them.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

DICTIONARIES = tuple(Path(__file__).parent / name for name in ("everyday.tsv", "words.tsv.gz"))
"""The small dictionaries that come along."""


@cache
def read_table(name: str) -> Any:
    """Read a table of this package once; the result is shared, so do not change it."""
    return json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
