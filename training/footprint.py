"""How much memory a run will take, part by part, before it takes it.

All parts but one follow from shapes. Activations do not: which tensors an encoder keeps for its
backward pass is the library's affair. So a few texts are encoded for real, at the length of the
longest batch, and what autograd saves is counted; it grows in proportion to the number of texts.
What is left out: the interpreter and its libraries (some 0.5 GB), a CUDA context (another 0.5 GB),
a teacher, mining, and what an allocator loses between blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from training.collation import Batch, Side
from training.config import TrainConfig
from training.contrastive import AT_ONCE
from training.model import Encoder

FLOAT = 4  # bytes
LOSS_COPIES = 6  # of the cosines: logits, softmax both ways, their gradients
VECTOR_COPIES = 4  # of all vectors: leaves, gathered, two gradients
ROW_COPIES = 4  # of a static encoder's touched rows: of each side, of the sum, of both moments


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of each part.

    Attributes:
        device: Of the model and its step, by part.
        host: Of the corpora, by part; always in main memory.
    """

    device: dict[str, float]
    host: dict[str, float]

    def lines(self, device: str) -> list[str]:
        """Write the parts and sums for people.

        Args:
            device: ``cpu``, ``cuda`` or ``auto``, for the heading.
        """
        lines = []
        for title, parts in ((f"model ({device})", self.device), ("corpora (cpu)", self.host)):
            listed = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())
            lines.append(f"  {title:<16}{format_bytes(sum(parts.values()))}: {listed}")
        return lines


def estimate_footprint(
    config: TrainConfig, encoder: Encoder, batches: Sequence[Batch], host: dict[str, float]
) -> Footprint:
    """Estimate the peak of a run's memory from some of its batches.

    Args:
        config: Of the run.
        encoder: As it will be trained.
        batches: At least one; the peak is that of the largest.
        host: Bytes of the corpora, by part.
    """
    sizes = [tensor.numel() * tensor.element_size() for tensor in encoder.parameters()]
    static = encoder.config.kind == "static"
    rows = max(_touched_rows(batch) for batch in batches) * encoder.config.dim * FLOAT
    parts = {
        "parameters": float(sum(sizes)),
        "gradients": float(ROW_COPIES * rows if static else sum(sizes)),
        "optimizer": 2.0 * sum(sizes),
        "averages": float(sum(sizes)) if config.optim.ema else 0.0,
        "casts": 0.5 * sum(sizes) if config.run.precision != "fp32" else 0.0,
        "activations": max(_activations(config, encoder, batch) for batch in batches),
        "vectors": max(map(_texts, batches)) * float(encoder.config.dim * FLOAT * VECTOR_COPIES),
        "loss": max(_loss(config, batch) for batch in batches),
        "noise": max(_noise(config, encoder, batch) for batch in batches),
    }
    return Footprint({name: size for name, size in parts.items() if size}, host)


def bytes_per_text(encoder: Encoder, side: Side, precision: torch.dtype | None) -> float:
    """Measure what autograd keeps for each text of a block, in bytes.

    Args:
        encoder: Which is run on up to four texts of the block.
        side: The block, whose length counts.
        precision: Of autocast; None: none.
    """
    few, many = min(2, len(side.input_ids) - 1), min(4, len(side.input_ids))
    kept = [_saved_bytes(encoder, side.rows(0, count), precision) for count in (few, many)]
    return max(0.0, (kept[1] - kept[0]) / (many - few))


def format_bytes(size: float) -> str:
    """Write a number of bytes: ``1.4 GB``, ``12.0 MB``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def _saved_bytes(encoder: Encoder, side: Side, precision: torch.dtype | None) -> int:
    storages: dict[int, int] = {}
    device = next(encoder.parameters()).device

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids, mask = (torch.from_numpy(a).to(device) for a in (side.input_ids, side.attention_mask))
    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast(device.type, precision, enabled=precision is not None),
    ):
        vectors = encoder(ids, mask)  # keeps the graph, and so the storages, until counted
    for parameter in encoder.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    del vectors
    return sum(storages.values())


def _activations(config: TrainConfig, encoder: Encoder, batch: Batch) -> float:
    """Bytes held at the end of the forward pass of a batch, or of its largest chunk."""
    precision = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[config.run.precision]
    chunk = config.batches.chunk
    sides = [batch.query, batch.document, *([batch.negatives] if batch.negatives else [])]
    blocks = [
        bytes_per_text(encoder, side, precision)
        * (min(chunk, len(side.input_ids)) if chunk else len(side.input_ids))
        for side in sides
    ]
    return max(blocks) if chunk else sum(blocks)


def _loss(config: TrainConfig, batch: Batch) -> float:
    """Bytes of the cosines that are held at a time, of their softmax and of its gradient."""
    pairs = len(batch.query.input_ids)
    columns = _texts(batch) - pairs
    if pairs * columns > AT_ONCE:
        return float(max(AT_ONCE, columns) * FLOAT * LOSS_COPIES)
    return pairs * columns * FLOAT * LOSS_COPIES * (1.0 + len(config.loss.matryoshka))


def _texts(batch: Batch) -> int:
    """Count queries, documents and hard negatives."""
    sides = [batch.query, batch.document, *([batch.negatives] if batch.negatives else [])]
    return sum(len(side.input_ids) for side in sides)


def _noise(config: TrainConfig, encoder: Encoder, batch: Batch) -> float:
    """Bytes of noise and of its gradient at the noise points."""
    if config.adversarial.method == "none" and config.smoothing.noise == "none":
        return 0.0
    sides = [batch.query, batch.document, *([batch.negatives] if batch.negatives else [])]
    static = encoder.config.kind == "static"
    points = sum(len(side.input_ids) if static else side.input_ids.size for side in sides)
    return 2.0 * points * encoder.config.dim * FLOAT


def _touched_rows(batch: Batch) -> int:
    return sum(
        len(torch.from_numpy(side.input_ids).unique()) for side in (batch.query, batch.document)
    )
