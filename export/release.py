"""Checkpoint in, verified artifact out: graphs, comparison, card, manifest, then the name."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import onnx
from pydantic import ValidationError

from app.artifact import Manifest, Precision, Prompts, load_manifest
from app.encoder.encoder import TextEncoder
from app.errors import ArtifactError
from export.bundle import Contents, graph_name, staged, write_artifact
from export.card import write_card
from export.graph import static_graph, static_int8_graph
from export.precision import quantize_rows, quantize_transformer
from export.sources import Checkpoint, load_source
from export.texts import Texts, file_texts, flores_texts
from export.tracing import transformer_graph
from export.verify import verify_artifact
from training.folders import Pooling


@dataclass(frozen=True)
class Order:
    """What to export.

    Attributes:
        checkpoint: Folder that training wrote.
        out: Where the artifact shall stand.
        name: Of the encoder.
        precisions: Which graphs to ship.
        licence: Of the weights; empty: as their sources.
        texts: File to verify with instead of the corpora.
        max_bytes: Refuse an artifact bigger than that; 0 is any size.
        replace: Take the place of what stands at ``out``.
        pooling: Of a plain transformers model, which does not say it.
        max_tokens: Where to cut texts, if not where another library's folder does.
    """

    checkpoint: Path
    out: Path
    name: str
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    licence: str = ""
    texts: Path | None = None
    max_bytes: int = 0
    replace: bool = False
    pooling: Pooling | None = None
    max_tokens: int | None = None


def export_checkpoint(order: Order) -> Manifest:
    """Export a checkpoint, or leave nothing behind.

    Raises:
        ArtifactError: If the checkpoint cannot be exported, verification fails or the artifact is
            too big.
        CheckpointError: If the checkpoint is incomplete, changed or malformed.
    """
    with staged(order.out, replace=order.replace) as folder:
        texts = file_texts(order.texts) if order.texts else flores_texts()
        checkpoint = load_source(order.checkpoint, order.pooling, order.max_tokens)
        contents = _contents(order, checkpoint)
        # fp32 is what the others are measured against, shipped or not.
        draft = dataclasses.replace(
            contents, graphs=_graphs(checkpoint, {*order.precisions, "fp32"})
        )
        _write(folder, draft)
        contents = _verified(folder, draft, order, checkpoint, texts)
        for precision in set(draft.graphs) - set(contents.graphs):
            (folder / graph_name(precision)).unlink()
        manifest = _write(folder, contents)
        _require_size(folder, order.max_bytes)
        for precision in manifest.precisions:
            TextEncoder.open(folder, device="cpu", precision=precision).close()
    return load_manifest(order.out)


def _contents(order: Order, checkpoint: Checkpoint) -> Contents:
    config = checkpoint.config
    licences = sorted({source.licence for source in checkpoint.corpora})
    return Contents(
        name=order.name,
        dim=config.dim,
        vocab_size=config.vocab_size,
        max_tokens=config.max_tokens,
        pad_id=config.pad_id,
        pooling=config.pooling,
        tokenizer=checkpoint.tokenizer.encode(),
        graphs={},
        licence=order.licence or "as its sources: " + ("; ".join(licences) or "none recorded"),
        prompts=Prompts(**config.prompts),
        languages=checkpoint.languages,
        sources=checkpoint.corpora,
    )


def _graphs(checkpoint: Checkpoint, precisions: set[Precision]) -> dict[Precision, onnx.ModelProto]:
    """Build graphs, "fp32" among them."""
    if checkpoint.config.kind == "static":
        graphs: dict[Precision, onnx.ModelProto] = {"fp32": static_graph(checkpoint.table)}
        if "int8" in precisions:
            graphs["int8"] = static_int8_graph(*quantize_rows(checkpoint.table))
        return graphs
    graphs = {"fp32": transformer_graph(checkpoint.encoder)}
    if "int8" in precisions:
        graphs["int8"] = quantize_transformer(graphs["fp32"])
    return graphs


def _verified(
    folder: Path, draft: Contents, order: Order, checkpoint: Checkpoint, texts: Texts
) -> Contents:
    record, accuracies = verify_artifact(folder, checkpoint, texts)
    shipped = {one: graph for one, graph in draft.graphs.items() if one in order.precisions}
    metrics = {"training": checkpoint.run.get("metrics") or {}}
    if accuracies:
        metrics["flores200-dev accuracy at 1 to English"] = {
            precision: {
                "mean": sum(by_language.values()) / len(by_language),
                "languages": by_language,
            }
            for precision, by_language in accuracies.items()
        }
    return dataclasses.replace(
        draft,
        graphs=shipped,
        metrics=metrics,
        verification=record,
        card=write_card(order.name, checkpoint, draft.licence, record, accuracies),
    )


def _write(folder: Path, contents: Contents) -> Manifest:
    try:
        return write_artifact(folder, contents)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(
            f"got {where or 'a manifest'} that no artifact can have: {first['msg']}. Change it in "
            "the checkpoint's configuration, or on the command line."
        ) from error


def _require_size(folder: Path, max_bytes: int) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    if max_bytes and size > max_bytes:
        raise ArtifactError(
            f"got an artifact of {size} bytes; expected at most {max_bytes}. Ship fewer precisions "
            "or train a smaller vocabulary or dimension."
        )


def name_from(path: Path) -> str:
    """Make an encoder's name of a folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-._")[:64] or "encoder"
