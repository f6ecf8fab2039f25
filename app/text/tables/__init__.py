"""Tables about scripts and keyboards, built by ``python -m training.data.tables`` and read lazily.

Where each comes from and under which licence stands in the README beside them.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def read_table(name: str) -> Any:
    """Read a table of this package once; the result is shared, so do not change it."""
    return json.loads(files("app.text.tables").joinpath(f"{name}.json").read_text(encoding="utf-8"))
