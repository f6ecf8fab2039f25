"""Dimensions that a pretrained encoder's vectors may be cut to, where its folder states them."""

import re
from pathlib import Path

from training.checkpoint import CheckpointError
from training.modules import read_json

_CARD_DIMENSIONS = re.compile(r'"matryoshka_dims":\s*\[([\d,\s]*)\]')


def read_matryoshka(path: Path, body: Path | None) -> tuple[int, ...]:
    """Find the dimensions that vectors may be cut to, ascending.

    Either ``matryoshka_dimensions`` of ``config.json``, which other servers read as well, or those
    of the loss in the model card as sentence-transformers writes it.

    Args:
        path: Of the model card, ``README.md``.
        body: Of ``config.json``; None: there is none.

    Raises:
        CheckpointError: If they are no dimensions.
    """
    source = (body or path) / "config.json"
    stated = read_json(source).get("matryoshka_dimensions") if body else None
    if stated is None and (path / "README.md").is_file():
        source = path / "README.md"
        found = _CARD_DIMENSIONS.search(source.read_text(encoding="utf-8", errors="replace"))
        stated = [int(dim) for dim in found[1].split(",") if dim.strip()] if found else None
    if stated is None:
        return ()
    if not isinstance(stated, list) or not all(type(dim) is int and dim > 0 for dim in stated):
        raise CheckpointError(
            f"{source} has matryoshka_dimensions {stated!r}: expected a list of dimensions"
        )
    return tuple(sorted(set(stated)))
