"""How much storage a collection on the server takes: an estimate, as the interface tells none."""

import json

from app.retrieval.qdrant.reads import Reader

_SAMPLED = 256
_LINKS_BYTES = 16 * 2 * 4 + 24
"""Of a point in the graph, m 16 and twice as many at the bottom, and its id."""
_COPIES = 2
"""What is indexed is stored twice: the payload's fields and the tokens."""


def estimate_bytes(reader: Reader) -> int:
    """Estimate from the number of points and the size of some of them."""
    points = reader.count_passages([])
    if not points:
        return 0
    records, _ = reader.nodes.call(
        f"sampling {reader.target.name}",
        lambda client: client.scroll(
            reader.target.physical, limit=_SAMPLED, with_payload=True, with_vectors=False
        ),
    )
    sampled = sum(len(json.dumps(record.payload)) for record in records) / max(1, len(records))
    return round(points * (reader.target.dim * 4 + _LINKS_BYTES + _COPIES * sampled))
