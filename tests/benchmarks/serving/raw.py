"""Encode a corpus without a server, once for each line on standard input.

    python raw.py artifact ARTIFACT --precision fp32 --corpus texts.json
    python raw.py sentence-transformers MODEL --backend torch|onnx --corpus texts.json

The first is what serving is measured against: the artifact's tokenizer and graph, texts sorted by
length, runs of at most 1,024 padded tokens, nothing between them. The second runs in an environment
of its own. Answers each line with the seconds it took, as JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

MOST_TOKENS = 1024


def artifact(folder: str, precision: str) -> Callable[[list[str]], object]:
    """Open an artifact's tokenizer and session."""
    from app.artifact import TOKENIZER, read_artifact
    from app.encoder.session import Session
    from app.encoder.tokenizer import Tokenizer

    manifest, contents = read_artifact(
        Path(folder),
        lambda m: (f for g in m.precisions.values() for f in (TOKENIZER, g.graph, g.weights) if f),
    )
    graph = next(graph for name, graph in manifest.precisions.items() if name == precision)
    weights = contents[graph.weights] if graph.weights else None
    session = Session(contents[graph.graph], manifest, weights=weights, device="cpu", threads=0)
    tokenizer = Tokenizer(contents[TOKENIZER], manifest)

    def encode(texts: list[str]) -> None:
        rows = sorted((row.ids for row in tokenizer.tokenize(texts, "document")), key=len)
        start = 0
        while start < len(rows):
            stop = start + 1
            while stop < len(rows) and len(rows[stop]) * (stop + 1 - start) <= MOST_TOKENS:
                stop += 1
            session.run(rows[start:stop])
            start = stop

    return encode


def sentence_transformers(
    folder: str, backend: Literal["torch", "onnx"]
) -> Callable[[list[str]], object]:
    """Open a model with sentence-transformers."""
    from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]

    options = None if backend == "torch" else {"provider": "CPUExecutionProvider"}
    model = SentenceTransformer(folder, backend=backend, device="cpu", model_kwargs=options)
    return lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False)


def main() -> None:
    """Answer until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["artifact", "sentence-transformers"])
    parser.add_argument("folder")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--backend", choices=["torch", "onnx"], default="torch")
    parser.add_argument("--corpus", type=Path, required=True)
    found = parser.parse_args()
    texts = json.loads(found.corpus.read_text())
    if found.kind == "artifact":
        encode = artifact(found.folder, found.precision)
    else:
        encode = sentence_transformers(found.folder, found.backend)
    encode(texts[:64])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        count = int(line)
        started = time.perf_counter()
        encode(texts[:count])
        print(json.dumps(time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main()
