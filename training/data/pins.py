"""What was fetched, in ``sources.lock.json``: the checksums that later fetches must have.

A source that publishes no checksum is taken at its word once; from then on it cannot change
unnoticed. The file is JSON, meant to be kept under version control and passed on.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from training.corpus import CorpusError
from training.data.staging import staged

FILE = "sources.lock.json"


@dataclass(frozen=True, slots=True)
class Pin:
    """One file as it was fetched.

    Attributes:
        url: Where it was asked for.
        sha256: Of its content.
        bytes: Its size.
        fetched: Date of the first fetch, ISO 8601.
    """

    url: str
    sha256: str
    bytes: int
    fetched: str


def read_pins(folder: Path) -> dict[str, Pin]:
    """Read the pins of a folder; none if there is no file yet.

    Raises:
        CorpusError: If the file is there and cannot be understood.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: Pin(**entry) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"cannot understand {path} ({error}): mend it, or remove it to pin anew"
        ) from error


def write_pins(folder: Path, pins: dict[str, Pin]) -> None:
    """Write the pins of a folder, in order of their names."""
    entries = {name: asdict(pin) for name, pin in sorted(pins.items())}
    with staged(folder / FILE) as draft:
        draft.write_text(json.dumps({"files": entries}, indent=2) + "\n", encoding="utf-8")
