"""The loss of a batch's vectors, made of the parts that the configuration asks for.

All passes of a step have the contrastive loss and pooled distillation; self-teaching belongs to the
clean pass, which alone has the queries with typos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.collation import Batch
from training.config import TrainConfig
from training.contrastive import Temperature, info_nce, matryoshka
from training.distillation import pooled_distillation
from training.selfteaching import self_teaching_loss

NAMES = ("query", "document", "negatives", "noisy")


@dataclass(frozen=True, slots=True)
class Objective:
    """From vectors to a scalar; ``Passes`` takes it as ``loss_of``.

    Attributes:
        config: Of the run.
        temperature: Of the contrastive loss.
        names: What each block is, of ``NAMES``.
        masked: Rows and columns of pairs that are no negatives.
        taught: Pairs that the teacher knows and its vectors of them, or None.
        parts: The values of the last call by name, without graph.
    """

    config: TrainConfig
    temperature: Temperature
    names: Sequence[str]
    masked: tuple[Tensor, Tensor]
    taught: tuple[Tensor, Tensor] | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, vectors: Sequence[Tensor]) -> Tensor:
        """Compute the loss of all unit rows of each block, (pairs or negatives, dim)."""
        config = self.config
        sides = dict(zip(self.names, vectors, strict=True))
        queries, documents, negatives = sides["query"], sides["document"], sides.get("negatives")
        temperature = self.temperature()

        def contrast(cut: Sequence[Tensor]) -> Tensor:
            return info_nce(
                cut[0],
                cut[1],
                temperature,
                symmetric=config.loss.symmetric,
                masked=self.masked,
                negatives=cut[2] if negatives is not None else None,
            )

        compared = [queries, documents] + ([] if negatives is None else [negatives])
        loss = matryoshka(contrast, compared, config.loss.matryoshka)
        self.parts["contrastive"] = loss.detach()
        if self.taught is not None:
            part = pooled_distillation([queries, documents], *self.taught)
            self.parts["pooled"] = part.detach()
            loss = loss + config.distillation.pooled * part
        if "noisy" in sides and config.augmentation.self_teaching:
            ranked = torch.cat(compared[1:])
            # The temperature is for the contrastive loss to choose.
            part = self_teaching_loss(queries, sides["noisy"], ranked, temperature.detach())
            self.parts["self_teaching"] = part.detach()
            loss = loss + config.augmentation.self_teaching * part
        return loss


def names_of(batch: Batch) -> list[str]:
    """List the sides that a batch has, the queries with typos last."""
    return [name for name in NAMES if getattr(batch, name) is not None]
