"""Measure the probe: texts a second, and the share of the time outside encoder and store.

    python tests/benchmarks/probe.py --artifact app/default/encoder

Probes the demo collection with its own queries and prints one JSON line for each number of them.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.encoder.encoder import TextEncoder
from app.retrieval.edge import EdgeStore
from app.retrieval.store import Document
from app.robustness.probe import Budget, ProbeQuery, ProbeRequest, run_probe

DEMO = Path(__file__).parents[2] / "app" / "default" / "demo"


def lines(name: str) -> list[dict]:
    """Read a file of the demo collection."""
    return [json.loads(line) for line in (DEMO / name).read_text(encoding="utf-8").splitlines()]


def measure(
    encoder: TextEncoder, store: EdgeStore, queries: Sequence[ProbeQuery], budget: Budget
) -> dict:
    """Probe once; returns what it cost."""
    request = ProbeRequest("demo", tuple(queries), budget=budget)
    report = run_probe(request, encoder.encode_query, store)
    spent, rate = report.spent, report.summary.attack_success_rate
    inside = spent.encode_s + spent.search_s
    return {
        "queries": len(queries),
        "texts": spent.queries,
        "texts_per_call": round(spent.queries / spent.model_calls, 1),
        "seconds": round(report.elapsed_s, 2),
        "texts_per_s": round(spent.queries / report.elapsed_s),
        "encode_share": round(spent.encode_s / report.elapsed_s, 3),
        "search_share": round(spent.search_s / report.elapsed_s, 3),
        "outside_share": round(1 - inside / report.elapsed_s, 3),
        "status": report.status,
        "success_rate": rate.value,
        "success_interval": [rate.low, rate.high],
        "by_attack": {
            name: cell.attack_success_rate.value for name, cell in report.summary.by_attack.items()
        },
    }


def main() -> None:
    """Fill a collection and probe it with more and more queries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, default=DEMO.parent / "encoder")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--edits", type=int, default=2)
    parser.add_argument("--tries", type=int, default=64)
    chosen = parser.parse_args()
    documents = [
        Document(row["doc_id"], row["text"], row["lang"]) for row in lines("documents.jsonl")
    ]
    queries = [
        ProbeQuery(row["query_id"], row["text"], row["lang"]) for row in lines("queries.jsonl")
    ]
    encoder = TextEncoder.open(chosen.artifact)
    with tempfile.TemporaryDirectory() as folder:
        store = EdgeStore.open(Path(folder))
        store.create("demo", encoder.dim, encoder.model_id)
        store.upsert("demo", documents, encoder.encode_document([d.text for d in documents]))
        store.flush("demo")
        for number in chosen.queries:
            budget = Budget(chosen.edits, chosen.tries, 600.0)
            # Spread over the languages, which the file has one after the other.
            some = queries[:: max(1, len(queries) // number)][:number]
            print(json.dumps(measure(encoder, store, some, budget)), flush=True)
        store.close()
    encoder.close()


if __name__ == "__main__":
    main()
