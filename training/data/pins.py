"""What was fetched, in ``sources.lock.json``: the checksums that later fetches must have.

A source that publishes no checksum is taken at its word once; from then on it cannot change
unnoticed. The file is JSON, meant to be kept under version control and passed on.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from training.data.fetching import Patience, checksum, fetch
from training.data.sources import Wanted
from training.data.staging import staged
from training.data.transfer import Progress
from training.registry import CorpusError

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


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is there now.

    Attributes:
        path: Where it is.
        sha256: Of its content.
        bytes: Its size.
        checked: What its checksum was held against, in words.
    """

    path: Path
    sha256: str
    bytes: int
    checked: str


def fetch_pinned(
    folder: Path,
    file: Wanted,
    *,
    sha256: str = "",
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Fetch a file unless it is there, and hold it against all that is known of it.

    Args:
        folder: Of the sources, with their pins.
        file: What to fetch.
        sha256: Checksum that the caller knows; empty for none.
        patience: Attempts, times and sizes.
        progress: Is told how far it is.

    Raises:
        CorpusError: If what is known contradicts itself.
        FetchError: If it cannot be had, or is another file than is known.
    """
    path, pin = folder / file.name, read_pins(folder).get(file.name)
    if pin and pin.url != file.url:
        raise CorpusError(
            f"{file.name} was fetched from {pin.url}, now {file.url} is asked for: remove its "
            f"entry from {folder / FILE} first"
        )
    known = {"the checksum given": sha256, "the published checksum": file.sha256}
    known = {**known, f"{folder / FILE}": pin.sha256 if pin else ""}
    known = {where: value for where, value in known.items() if value}
    if len(set(known.values())) > 1:
        said = ", ".join(f"{where} is {value}" for where, value in known.items())
        raise CorpusError(f"checksums of {file.name} differ: {said}: find out which one is right")
    checked = f"as {' and '.join(known)}" if known else f"first fetch, noted in {folder / FILE}"
    if pin and path.is_file() and checksum(path) == pin.sha256:
        return Fetched(path, pin.sha256, pin.bytes, f"was here, {checked}")
    expected = next(iter(known.values()), "")
    found, size = fetch(file.url, path, sha256=expected, patience=patience, progress=progress)
    today = datetime.now(UTC).date().isoformat()
    pins = read_pins(folder)  # again, for another fetch may have added to them meanwhile
    write_pins(folder, {**pins, file.name: pin or Pin(file.url, found, size, today)})
    return Fetched(path, found, size, checked)
