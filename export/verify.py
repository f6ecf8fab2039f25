"""Does the artifact do what the checkpoint does? The code that will serve it is asked.

Four questions for each precision: are its vectors those of torch, from text to vector and at many
shapes; are they finite and of length one; does a text's vector stay the same whatever it is run
with; and does the smaller file find as many translations as the exact one. Every figure and its
tolerance go into the manifest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.artifact import TOKENIZER, Manifest, Precision, read_artifact
from app.encoder.encoder import TextEncoder
from app.encoder.session import Session
from app.encoder.tokenizer import Tokenizer
from app.errors import ArtifactError
from app.retrieval.metrics import accuracy_at_1
from export.sources import Checkpoint
from export.texts import LEAST_LANGUAGES, PIVOT, Texts, spread_languages
from training.evaluate import mean_of

TO_TORCH: dict[Precision, float] = {"fp32": 1e-4, "int8": 1e-2}
"""Most that a vector's cosine to torch's may miss 1 by."""

TO_ALONE: dict[Precision, float] = {"fp32": 1e-7, "int8": 1e-7}
"""Most that the cosine of a text alone and in a padded batch may miss 1 by."""

NORM_TOLERANCE = 1e-3
ACCURACY_LOSS_POINTS = 0.5
BATCHES = (1, 2, 3, 8, 33, 64)
BATCH_MATES = 64
MOST_SHAPE_TOKENS = 16384


def verify_artifact(
    folder: Path, checkpoint: Checkpoint, texts: Texts
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare every precision of an artifact with the checkpoint that it was made of.

    Args:
        folder: The artifact; must hold fp32, which the other precisions are measured against.
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
        lambda m: (TOKENIZER, *(n for graph in m.precisions.values() for n in graph.weighty)),
    )
    tokenizer = Tokenizer(contents[TOKENIZER], manifest)
    sample = [text for some in texts.sample.values() for text in some]
    rows = [row.ids for row in tokenizer.tokenize(sample, "document")]
    expected = checkpoint.as_encode()([manifest.prompts.document + text for text in sample])
    figures: dict[str, Any] = {}
    sessions: dict[Precision, Session] = {}
    for precision, graph in manifest.precisions.items():
        weights = contents[graph.weights] if graph.weights else None
        session = Session(contents[graph.graph], manifest, weights=weights, device="cpu", threads=0)
        sessions[precision] = session
        encoder = TextEncoder.open(folder, device="cpu", precision=precision)
        try:
            got = encoder.encode_document(sample)
            figures[precision] = {
                "texts_to_torch": _require(
                    f"{precision} against torch", cosine_gap(got, expected), TO_TORCH[precision]
                ),
                "shapes_to_torch": _compare_shapes(session, checkpoint, rows, precision),
                "alone_to_batch": _compare_alone(session, rows, manifest, precision),
                "norm_error": _require(
                    f"{precision} vector length",
                    float(np.abs(np.linalg.norm(got, axis=1) - 1).max()),
                    NORM_TOLERANCE,
                ),
            }
        finally:
            encoder.close()
    accuracies = _accuracies(sessions, tokenizer, checkpoint, texts)
    _require_accuracy(figures, accuracies)
    record = {"texts": texts.origin, "languages": sorted(texts.sample), "figures": figures}
    return record, accuracies


def cosine_gap(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Compute the most that the cosine of two vectors in the same row misses 1 by.

    Args:
        left: Shape (n, dim).
        right: Shape (n, dim).

    Returns:
        From 0 to 2; not a number if a vector is zero or not finite.
    """
    pair = [rows.astype(np.float64) for rows in (left, right)]
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in pair)
    # Half the squared distance of unit vectors: 1 - cos without its cancellation.
    return float((0.5 * np.square(a - b).sum(axis=1)).max())


def _compare_shapes(
    session: Session, checkpoint: Checkpoint, rows: Sequence[list[int]], precision: Precision
) -> dict[str, Any]:
    """Run batches of 1 to 64 rows and 1 to ``max_tokens`` tokens, ragged, in both."""
    stream = [token for row in rows for token in row]
    stream *= -(-2 * checkpoint.config.max_tokens // len(stream))
    longest = checkpoint.config.max_tokens
    lengths = sorted({*(2**power for power in range(longest.bit_length())), longest})
    gaps = []
    for length in lengths:
        for batch in BATCHES:
            if batch * length > MOST_SHAPE_TOKENS:
                continue
            # The first row is full; each further one is a bit shorter and starts elsewhere.
            ragged = [
                stream[index * 7 % length :][: max(1, length - index * length // batch)]
                for index in range(batch)
            ]
            gaps.append(cosine_gap(session.run(ragged), _torch_run(checkpoint, ragged)))
    result = _require(f"{precision} shapes against torch", max(gaps), TO_TORCH[precision])
    return {**result, "shapes": len(gaps), "longest": longest, "batches": list(BATCHES)}


def _torch_run(checkpoint: Checkpoint, rows: Sequence[list[int]]) -> NDArray[np.float32]:
    longest = max(map(len, rows))
    pad_id = checkpoint.config.pad_id
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        return checkpoint.encoder(ids, mask).numpy()  # (batch, dim)


def _compare_alone(
    session: Session, rows: Sequence[list[int]], manifest: Manifest, precision: Precision
) -> dict[str, Any]:
    """Run texts one by one, and all together beside one of full length."""
    step = -(-len(rows) // BATCH_MATES)
    chosen = list(rows[::step])
    longest = (max(chosen, key=len) * manifest.max_tokens)[: manifest.max_tokens]
    alone = np.concatenate([session.run([row]) for row in chosen])
    together = session.run([*chosen, longest])[:-1]
    result = _require(
        f"{precision} alone against in a batch", cosine_gap(alone, together), TO_ALONE[precision]
    )
    return {
        **result,
        "texts": len(chosen),
        "largest_difference": float(abs(alone - together).max()),
    }


def _accuracies(
    sessions: Mapping[Precision, Session],
    tokenizer: Tokenizer,
    checkpoint: Checkpoint,
    texts: Texts,
) -> dict[str, dict[str, float]]:
    """Measure each language; of a transformer, which takes hours for all, a fixed choice."""
    if texts.corpus is None:
        return {}
    languages = [lang for lang in sorted(texts.corpus.column_names) if lang != PIVOT]
    if checkpoint.config.kind == "transformer":
        languages = spread_languages(languages, LEAST_LANGUAGES)
    english: dict[Precision, NDArray[np.float32]] = {}
    accuracies: dict[str, dict[str, float]] = {precision: {} for precision in sessions}
    for lang in [PIVOT, *languages]:
        # Tokenizing takes longest, so it is done once for all precisions.
        rows = [row.ids for row in tokenizer.tokenize(texts.corpus[lang].to_pylist(), "document")]
        for precision, session in sessions.items():
            vectors = _run_sorted(session, rows)
            if lang == PIVOT:
                english[precision] = vectors
            else:
                accuracies[precision][lang] = accuracy_at_1(vectors, english[precision])
    return accuracies


def _run_sorted(session: Session, rows: Sequence[list[int]]) -> NDArray[np.float32]:
    """Run rows of similar length together."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    parts = [
        session.run([rows[index] for index in order[start : start + BATCH_MATES]])
        for start in range(0, len(rows), BATCH_MATES)
    ]
    vectors = np.concatenate(parts)
    return vectors[np.argsort(order)]


def _require_accuracy(figures: dict[str, Any], accuracies: dict[str, Any]) -> None:
    """Hold every smaller precision's mean accuracy against that of fp32."""
    for precision, by_language in accuracies.items():
        loss = 100 * (mean_of(accuracies["fp32"]) - mean_of(by_language))
        result = _require(f"{precision} accuracy loss in points", loss, ACCURACY_LOSS_POINTS)
        figures[precision]["accuracy_loss_points"] = {**result, "languages": len(by_language)}


def _require(name: str, got: float, tolerance: float) -> dict[str, Any]:
    # Not-a-number fails too.
    if not got <= tolerance:
        raise ArtifactError(
            f"verification failed: {name} is off by {got:.2e}; expected at most {tolerance:.0e}. "
            "Nothing was written; look at the checkpoint, or leave this precision out."
        )
    return {"worst": got, "tolerance": tolerance}
