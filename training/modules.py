"""The parts that a sentence-transformers folder is made of, and where each lies.

``modules.json`` is written by others: its paths may not lead out of the folder, and a part is known
by a class of sentence-transformers itself, for no other code is run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.checkpoint import CheckpointError

MODULES = "modules.json"
_LIBRARY = "sentence_transformers."


@dataclass(frozen=True, slots=True)
class Part:
    """One part: the name of its class, and the folder of its files (which may not exist)."""

    kind: str
    path: Path


def read_parts(folder: Path) -> list[Part]:
    """List the parts of a sentence-transformers folder in order.

    Raises:
        CheckpointError: If the list is malformed, or names code or a place outside the library and
            the folder.
    """
    stated = folder / MODULES
    modules = read_any(stated)
    try:
        ordered = sorted(modules, key=lambda module: module["idx"])
        named = [(str(module["type"]), str(module["path"])) for module in ordered]
    except (TypeError, KeyError) as error:
        raise CheckpointError(
            f"{stated} is malformed ({error}): expected a list of idx, type and path"
        ) from error
    return [
        Part(_kind_of(kind, stated), confined(folder, path, where=stated)) for kind, path in named
    ]


def confined(folder: Path, name: str, *, where: Path) -> Path:
    """Give the path of a name within a folder.

    Args:
        folder: Beyond which nothing may be read.
        name: Relative to it.
        where: The file that names it, for the message.

    Raises:
        CheckpointError: If the name leads out of the folder, by ``..`` or by a link.
    """
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{where} names {name!r}, which is no path: {error}") from error
    if not inside:
        raise CheckpointError(
            f"{where} names {name!r}, which leads out of {folder}: expected a path within it; copy "
            "what it points to into the folder if you trust it"
        )
    return path


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: If the file cannot be read or is none.
    """
    value = read_any(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}: expected a JSON object")
    return value


def read_any(path: Path) -> Any:
    """Read any JSON value.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _kind_of(name: str, stated: Path) -> str:
    package, _, kind = name.rpartition(".")
    if not f"{package}.".startswith(_LIBRARY):
        raise CheckpointError(
            f"{stated} names {name!r}, which is not of sentence-transformers itself: expected one "
            "of its classes; no code of a folder is run"
        )
    return kind
