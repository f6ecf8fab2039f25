"""What data there is: the corpora of the registry, and the public sources that can be fetched."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.data.pins import read_pins
from training.data.sources import SOURCES
from training.registry import CORPORA


def list_data(folder: Path, sources: Path) -> dict[str, Any]:
    """Describe corpora and sources.

    Args:
        folder: Of the data, which holds ``bitext/``; may be missing.
        sources: Where sources are fetched to; may be missing.

    Returns:
        JSON-ready: ``folder``, ``corpora`` (pairs is None where the file is absent, ``problem``
        says why one that is there cannot be read) and ``sources``.

    Raises:
        CorpusError: If the record of what was fetched cannot be understood.
    """
    fetched = read_pins(sources)
    return {
        "folder": str(folder),
        "corpora": [
            {
                "name": corpus.name,
                "licence": corpus.licence,
                "shippable": corpus.shippable,
                **_pairs(folder / "bitext" / f"{corpus.name}.parquet"),
            }
            for corpus in CORPORA.values()
        ],
        "sources": [
            {
                "name": source.name,
                "content": source.content,
                "licence": source.licence,
                "purpose": source.purpose,
                "part": source.part,
                "fetched": sorted(name for name in fetched if name.startswith(f"{source.name}/")),
            }
            for source in SOURCES.values()
        ],
    }


def table_of(listing: dict[str, Any]) -> str:
    """Write a listing for people."""
    lines = [f"Corpora in {listing['folder']} (TYNTEGRA_DATA):"]
    for corpus in listing["corpora"]:
        pairs, problem = corpus["pairs"], corpus["problem"]
        there = f"{pairs:,} pairs" if pairs is not None else problem or "absent"
        ship = "may be shipped" if corpus["shippable"] else "not to be shipped"
        lines.append(f"  {corpus['name']:<22}{there:>16}  {corpus['licence']} ({ship})")
    lines += ["", "Public sources for `tyntegra data fetch`:"]
    for source in listing["sources"]:
        name = f"{source['name']}:PART" if source["part"] else source["name"]
        lines.append(f"  {name:<22}{source['content']}")
        lines.append(f"  {'':<22}{source['licence']}; for {source['purpose']}")
        if source["part"]:
            lines.append(f"  {'':<22}PART: {source['part']}")
        if source["fetched"]:
            lines.append(f"  {'':<22}here: {', '.join(source['fetched'])}")
    return "\n".join(lines)


def _pairs(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"pairs": None, "problem": ""}
    try:
        return {"pairs": pq.read_metadata(path).num_rows, "problem": ""}
    except (OSError, pa.ArrowException) as error:
        return {"pairs": None, "problem": f"unreadable: {' '.join(str(error).split())}"}
