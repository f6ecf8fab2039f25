"""Does the artifact do what the checkpoint does? The code that will serve it is asked.

For each precision: are its vectors those of torch, from text to vector and at many shapes; are a
text's nearest others those of torch; are they finite and of length one; does a vector stay the
same whatever it is run with; does it find as many translations; and is its white box right (see
``verify_white_box``). Every figure and its tolerance go into the manifest.
"""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.artifact import TOKENIZER, Manifest, Precision, read_artifact
from app.encoder.encoder import TextEncoder
from app.encoder.outline import read_outline
from app.encoder.session import Session
from app.encoder.tokenizer import Tokenizer
from export.accuracy import measure_accuracies
from export.comparison import NEIGHBORS, batch_of, cosine_gap, neighbors_lost
from export.sources import Checkpoint
from export.texts import Texts
from export.tolerances import require
from export.verify_white_box import verify_white_box
from training.evaluate import mean_of

BATCHES = (1, 2, 3, 8, 33, 64)
BATCH_MATES = 32
MOST_SHAPE_TOKENS = 8192
QUERIES = 32


@dataclass(frozen=True)
class Reference:
    """What torch makes of everything that the graphs are asked.

    Attributes:
        documents: Texts to encode as documents.
        queries: Texts to encode as queries; none if queries have the same prompt.
        vectors: Of the documents, then of the queries, shape (texts, dim).
        rows: Token ids of the documents.
        shapes: Batches of token ids, each with its vectors.
    """

    documents: list[str]
    queries: list[str]
    vectors: NDArray[np.float32]
    rows: list[list[int]]
    shapes: list[tuple[list[list[int]], NDArray[np.float32]]]


def verify_artifact(
    folder: Path, checkpoint: Checkpoint, texts: Texts
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare every graph of an artifact with the checkpoint that it was made of.

    Args:
        folder: The artifact.
        checkpoint: What it was made of.
        texts: What to compare with.

    Returns:
        The record of the verification, and accuracies at 1 by precision and language (empty
        without a corpus); plain JSON both.

    Raises:
        ArtifactError: If a figure is beyond its tolerance; names the figure.
    """
    manifest, contents = read_artifact(
        folder,
        lambda m: (TOKENIZER, *(name for one in m.precisions.values() for name in one.names)),
    )
    tokenizer = Tokenizer(contents[TOKENIZER], manifest)
    reference = _reference(checkpoint, manifest, tokenizer, texts)
    figures: dict[str, dict[str, Any]] = {}
    sessions: dict[Precision, Session] = {}
    for precision, graph in manifest.precisions.items():
        weights = contents[graph.weights] if graph.weights else None
        session = Session(contents[graph.graph], manifest, weights=weights, device="cpu", threads=0)
        sessions[precision] = session
        figures[precision] = {
            # First, for golden vectors do not say why a graph that minds padding misses them.
            **_compare_alone(session, reference.rows, manifest, precision),
            **_compare_texts(folder, reference, precision),
            **_compare_shapes(session, reference, precision),
        }
        if graph.white_box:
            figures[precision] |= verify_white_box(
                folder, session, checkpoint, reference.rows, precision
            )
    accuracies = _compare_accuracies(figures, sessions, tokenizer, checkpoint, texts)
    opsets = {
        name: read_outline(contents[name]).opsets for name in contents if name.endswith(".onnx")
    }
    return {
        "texts": texts.origin,
        "languages": sorted(texts.sample),
        "scripts": texts.scripts,
        "documents": len(reference.documents),
        "queries": len(reference.queries),
        "opsets": opsets,
        "provider": next(iter(sessions.values())).provider,
        "machine": platform.machine(),
        "figures": figures,
    }, accuracies


def _reference(
    checkpoint: Checkpoint, manifest: Manifest, tokenizer: Tokenizer, texts: Texts
) -> Reference:
    """Ask torch, once for all precisions."""
    documents = texts.all
    prompts = manifest.prompts
    step = -(-len(documents) // QUERIES)
    queries = documents[::step] if prompts.query != prompts.document else []
    prompted = [prompts.document + text for text in documents]
    prompted += [prompts.query + text for text in queries]
    rows = [row.ids for row in tokenizer.tokenize(documents, "document")]
    batches = _ragged_batches(rows, checkpoint.config.max_tokens)
    shapes = [(batch, run_torch(checkpoint, batch)) for batch in batches]
    return Reference(documents, queries, checkpoint.as_encode()(prompted), rows, shapes)


def run_torch(checkpoint: Checkpoint, rows: Sequence[list[int]]) -> NDArray[np.float32]:
    """Run token ids, padded to the longest, in torch; gives shape (texts, dim)."""
    ids, mask = batch_of(rows, checkpoint.config.pad_id)
    with torch.inference_mode():
        return checkpoint.encoder(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def _ragged_batches(rows: Sequence[list[int]], longest: int) -> Iterator[list[list[int]]]:
    """Give batches of 1 to 64 rows and 1 to ``longest`` tokens, every short length among them."""
    stream = [token for row in rows for token in row]
    stream *= -(-2 * longest // len(stream))
    for length in sorted({*(2**power for power in range(longest.bit_length())), longest}):
        for batch in BATCHES:
            if batch > 1 and batch * length > MOST_SHAPE_TOKENS:
                continue
            # The first row is full; each further one is a bit shorter and starts elsewhere.
            yield [
                stream[index * 7 % length :][: max(1, length - index * length // batch)]
                for index in range(batch)
            ]


def _compare_texts(folder: Path, reference: Reference, precision: Precision) -> dict[str, Any]:
    """Go all the way from text to vector, and look at each vector and at its neighbors."""
    encoder = TextEncoder.open(folder, device="cpu", precision=precision)
    try:
        got = encoder.encode_document(reference.documents)
        if reference.queries:
            got = np.concatenate([got, encoder.encode_query(reference.queries)])
    finally:
        encoder.close()
    norm_error = float(np.abs(np.linalg.norm(got, axis=1) - 1).max())
    figures = {
        "texts_to_torch": require("texts_to_torch", precision, cosine_gap(got, reference.vectors)),
        "norm_error": require("norm_error", precision, norm_error),
    }
    count = len(reference.documents)
    lost = neighbors_lost(got[:count], reference.vectors[:count])
    if lost is not None:
        of = {"neighbors": NEIGHBORS, "texts": count}
        mean, worst = float(lost.mean()), float(lost.max())
        figures["neighbors_lost"] = {**require("neighbors_lost", precision, mean), **of}
        name = "neighbors_lost_of_a_text"
        figures[name] = {**require(name, precision, worst), **of}
    return figures


def _compare_shapes(session: Session, reference: Reference, precision: Precision) -> dict[str, Any]:
    worst: dict[str, Any] = {"worst": -1.0}
    for batch, expected in reference.shapes:
        longest = max(map(len, batch))
        where = f"{len(batch)} texts of up to {longest} tokens"
        gap = cosine_gap(session.run(batch), expected)
        found = require("shapes_to_torch", precision, gap, where)
        worst = max(worst, found, key=lambda one: one["worst"])
    lengths = {len(row) for batch, _ in reference.shapes for row in batch}
    sizes = sorted({len(batch) for batch, _ in reference.shapes})
    of = {"shapes": len(reference.shapes), "lengths": len(lengths), "longest": max(lengths)}
    return {"shapes_to_torch": {**worst, **of, "batches": sizes}}


def _compare_alone(
    session: Session, rows: Sequence[list[int]], manifest: Manifest, precision: Precision
) -> dict[str, Any]:
    """Run texts one by one, and all together beside one of full length."""
    chosen = list(rows[:: -(-len(rows) // BATCH_MATES)])
    longest = (max(chosen, key=len) * manifest.max_tokens)[: manifest.max_tokens]
    alone = np.concatenate([session.run([row]) for row in chosen])
    together = session.run([*chosen, longest])[:-1]
    found = require("alone_to_batch", precision, cosine_gap(alone, together))
    difference = float(abs(alone - together).max())
    return {"alone_to_batch": {**found, "texts": len(chosen), "largest_difference": difference}}


def _compare_accuracies(
    figures: dict[str, dict[str, Any]],
    sessions: dict[Precision, Session],
    tokenizer: Tokenizer,
    checkpoint: Checkpoint,
    texts: Texts,
) -> dict[str, dict[str, float]]:
    """Hold every precision's mean accuracy against that of torch; gives those of the graphs."""
    runs = {precision: session.run for precision, session in sessions.items()}
    accuracies, asked = measure_accuracies(
        {"torch": lambda rows: run_torch(checkpoint, rows), **runs},
        tokenizer,
        texts,
        few=checkpoint.config.kind == "transformer",
    )
    expected = mean_of(accuracies.pop("torch", {}))
    for precision in sessions if accuracies else ():
        mean = mean_of(accuracies[precision])
        loss = require("accuracy_loss_points", precision, 100 * (expected - mean))
        of = {"languages": len(accuracies[precision]), "sentences": asked}
        figures[precision]["accuracy_loss_points"] = {**loss, **of, "mean": mean, "torch": expected}
    return accuracies
