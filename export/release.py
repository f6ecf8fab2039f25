"""Checkpoint in, verified artifact out: graphs, comparison, card, manifest, then the name."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.artifact import Manifest, Precision, Prompts, load_manifest
from app.encoder.encoder import TextEncoder
from app.errors import ArtifactError
from export.bundle import Contents, staged, write_artifact
from export.card import write_card
from export.graph import static_graphs, static_half_graphs, static_int4_graphs, static_int8_graphs
from export.half import half_transformer_graphs
from export.parts import GraphSet
from export.precision import quantize_nibbles, quantize_rows, quantize_transformer
from export.sources import Checkpoint, load_source
from export.texts import Texts, file_texts, flores_texts
from export.tracing import transformer_graphs
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
        white_box: Ship the graphs of the white box too.
        notes: File of Markdown that the model card is to end with.
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
    white_box: bool = True
    notes: Path | None = None


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
        draft = dataclasses.replace(contents, graphs=_graphs(checkpoint, order))
        _write(folder, draft)
        manifest = _write(folder, _verified(folder, draft, order, checkpoint, texts))
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
        matryoshka=checkpoint.matryoshka,
    )


def _graphs(checkpoint: Checkpoint, order: Order) -> dict[Precision, GraphSet]:
    make = _static_graphs if checkpoint.config.kind == "static" else _transformer_graphs
    found = make(checkpoint, order)
    if missing := [precision for precision in order.precisions if precision not in found]:
        raise ArtifactError(
            f"got the precision {missing[0]} for a {checkpoint.config.kind} encoder; expected one "
            f"of {', '.join(found)}. Four bits are for the tables of static encoders."
        )
    return {precision: found[precision]() for precision in order.precisions}


def _static_graphs(checkpoint: Checkpoint, order: Order) -> dict[Precision, Callable[[], GraphSet]]:
    table, white_box = checkpoint.table, order.white_box
    return {
        "fp32": lambda: static_graphs(table, white_box=white_box),
        "fp16": lambda: static_half_graphs(table, white_box=white_box),
        "int8": lambda: static_int8_graphs(*quantize_rows(table), white_box=white_box),
        "int4": lambda: static_int4_graphs(*quantize_nibbles(table), white_box=white_box),
    }


def _transformer_graphs(
    checkpoint: Checkpoint, order: Order
) -> dict[Precision, Callable[[], GraphSet]]:
    # Of the smaller precisions' products there is no derivative.
    white_box = order.white_box and "fp32" in order.precisions
    full = transformer_graphs(checkpoint.encoder, white_box=white_box)
    return {
        "fp32": lambda: full,
        "fp16": lambda: half_transformer_graphs(checkpoint.encoder),
        "int8": lambda: quantize_transformer(full),
    }


def _verified(
    folder: Path, draft: Contents, order: Order, checkpoint: Checkpoint, texts: Texts
) -> Contents:
    record, accuracies = verify_artifact(folder, checkpoint, texts)
    record["white_box"] = {
        precision: "refused: " + graphs.refusal if graphs.refusal else "verified"
        for precision, graphs in draft.graphs.items()
        if graphs.refusal or graphs.gradient
    }
    metrics = {"training": checkpoint.run.get("metrics") or {}}
    if accuracies:
        metrics["flores200-dev accuracy at 1 to English"] = {
            precision: {
                "mean": sum(by_language.values()) / len(by_language),
                "sentences": record["figures"][precision]["accuracy_loss_points"]["sentences"],
                "languages": by_language,
            }
            for precision, by_language in accuracies.items()
        }
    return dataclasses.replace(
        draft,
        metrics=metrics,
        verification=record,
        card=write_card(
            order.name, checkpoint, draft.licence, record, accuracies, _read_notes(order.notes)
        ),
    )


def _read_notes(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8") if path else ""
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: got bytes that are no UTF-8 ({error}); expected text"
        ) from error


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
