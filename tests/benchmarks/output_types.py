"""What whole numbers and bits lose: accuracy at 1 on FLORES-200 dev for each output type.

    python tests/benchmarks/output_types.py [ARTIFACT]

Queries of 204 languages against the English sentences, all encoded as queries. Equal scores count
against the query, which for bits, with few distinct scores, is the harder reading.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.encoder.encoder import TextEncoder
from app.encoder.output import OutputType, convert, int8_range
from app.settings import DEFAULT_ARTIFACT
from training.corpus import data_folder
from training.evaluate import LOW_RESOURCE, PIVOT

Rows = NDArray[np.float32]
SHORTLIST = 40


def numbers(rows: Rows, output_type: OutputType) -> Rows:
    """Rows as numbers whose dot products rank: bits as plus and minus one."""
    written = convert(rows, output_type)
    if output_type == "ubinary":
        return np.unpackbits(written, axis=1, count=rows.shape[1]) * np.float32(2) - 1
    return written.astype(np.float32)


def share_first(scores: Rows) -> float:
    """Share of queries whose own document, that of the same row, is strictly first."""
    own = np.diag(scores)[:, None] - 1e-6 * np.abs(scores).max()
    return float(np.mean((scores >= own).sum(axis=1) == 1))


def shortlisted(queries: Rows, documents: Rows) -> Rows:
    """Float scores of each query's first by bits; none for the others."""
    rough = numbers(queries, "ubinary") @ numbers(documents, "ubinary").T
    first = np.argpartition(-rough, SHORTLIST, axis=1)[:, :SHORTLIST]
    exact = queries @ documents.T
    scores = np.full_like(exact, -2)
    np.put_along_axis(scores, first, np.take_along_axis(exact, first, 1), 1)
    lost = np.diag(scores) == -2
    scores[lost] = 0  # all equal: counts against the query
    return scores


WAYS: dict[str, Callable[[Rows, Rows], Rows]] = {
    "float": lambda q, d: q @ d.T,
    "int8": lambda q, d: numbers(q, "int8") @ numbers(d, "int8").T,
    "binary": lambda q, d: numbers(q, "ubinary") @ numbers(d, "ubinary").T,
    f"binary, first {SHORTLIST} by float": shortlisted,
    "float queries, binary documents": lambda q, d: q @ numbers(d, "ubinary").T,
}


def main() -> None:
    """Print a line for each way, and how int8 fits."""
    artifact = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_ARTIFACT
    table = pq.read_table(data_folder() / "eval" / "flores200-dev.parquet")
    encoder = TextEncoder.open(artifact)
    english = encoder.encode_query(table[PIVOT].to_pylist())
    found: dict[str, dict[str, float]] = {name: {} for name in WAYS}
    largest = 0.0
    for lang in sorted(set(table.column_names) - {PIVOT}):
        rows = encoder.encode_query(table[lang].to_pylist())
        largest = max(largest, float(np.abs(rows).max()))
        for name, way in WAYS.items():
            found[name][lang] = share_first(way(rows, english))
    encoder.close()
    print(f"{encoder.model_id}: {len(found['float'])} languages")
    print(f"largest component {largest:.3f}, range of int8 {int8_range(encoder.dim):.3f}")
    for name, shares in found.items():
        every = np.mean(list(shares.values()))
        low = np.mean([shares[lang] for lang in LOW_RESOURCE])
        print(f"{name:34} {every:.4f}  low-resource {low:.4f}")


if __name__ == "__main__":
    main()
