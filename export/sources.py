"""What can be exported: checkpoints that ``training`` wrote.

Weights come from safetensors alone and layouts from libraries that are installed: nothing in a
checkpoint's folder is ever run or unpickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from app.artifact import Source
from app.errors import ArtifactError
from app.retrieval.store import Encode
from training.assembly import encoder_of
from training.checkpoint import MANIFEST, CheckpointError, EncoderConfig, load_checkpoint
from training.model import Encoder, as_encode


@dataclass(frozen=True)
class Checkpoint:
    """An encoder to export.

    Attributes:
        config: Of the encoder.
        encoder: The encoder itself, in evaluation mode on the CPU.
        tokenizer: Content of ``tokenizer.json``.
        run: How it was made, as the training run wrote it.
    """

    config: EncoderConfig
    encoder: Encoder
    tokenizer: str
    run: Mapping[str, Any]

    @property
    def table(self) -> NDArray[np.float32]:
        """A static encoder's token vectors, shape (vocab, dim)."""
        weights = self.encoder.state_dict()["embeddings.weight"]
        return weights.detach().float().numpy()

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that the encoder was trained on."""
        return tuple(sorted(map(str, self.run.get("languages") or ())))

    @property
    def corpora(self) -> tuple[Source, ...]:
        """Corpora that the encoder was trained on, with their licences."""
        return tuple(
            Source(name=str(corpus["name"]), licence=str(corpus["licence"]))
            for corpus in self.run.get("corpora") or ()
        )

    def as_encode(self) -> Encode:
        """Give the encoder as training runs it, to compare with."""
        return as_encode(self.encoder, Tokenizer.from_str(self.tokenizer))


def load_source(folder: Path) -> Checkpoint:
    """Load a checkpoint.

    Raises:
        ArtifactError: If the folder is of a kind that cannot be exported, or a weight is no number.
        CheckpointError: If it is a checkpoint but incomplete, changed or malformed.
    """
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(
            f"{folder}: got {_kind_of(folder)}; expected a checkpoint that `python -m training` "
            f"wrote and finished (it holds {MANIFEST}). Other models are not supported."
        )
    snapshot = load_checkpoint(folder)
    try:
        encoder = encoder_of(snapshot)
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: its configuration makes no encoder: {error}") from error
    for name, tensor in encoder.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ArtifactError(
                f"{folder}: got weights in {name} that are not finite; expected numbers. The "
                "training run diverged: export an earlier checkpoint, or lower its learning rate."
            )
    return Checkpoint(snapshot.config, encoder, snapshot.tokenizer, snapshot.run)


def _kind_of(folder: Path) -> str:
    if not folder.is_dir():
        return "no such directory"
    if (folder / "modules.json").exists():
        return "a sentence-transformers model"
    if (folder / "config.json").exists() and (folder / "run.json").exists():
        return "a checkpoint whose writing was interrupted"
    if (folder / "config.json").exists():
        return "a plain transformers model"
    return "a folder that is no checkpoint"
