"""What can be exported: checkpoints of ``training``, and encoders that other libraries saved.

Weights come from safetensors alone and layouts from libraries that are installed: nothing in a
folder is ever run or unpickled.
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
from export.pretrained import load_pretrained
from export.static import is_static, load_static
from training.assembly import encoder_of
from training.checkpoint import MANIFEST, CheckpointError, EncoderConfig, load_checkpoint
from training.composed import folded
from training.folders import Pooling
from training.model import Encoder, as_encode
from training.modules import MODULES

_LEAST_TOKENS = 4
_EXPECTED = (
    "a checkpoint that `python -m training` wrote, or a folder with config.json or modules.json "
    "that transformers or sentence-transformers saved"
)


@dataclass(frozen=True)
class Checkpoint:
    """An encoder to export.

    Attributes:
        config: Of the encoder.
        encoder: The encoder itself, in evaluation mode on the CPU.
        tokenizer: Content of ``tokenizer.json``.
        run: How it was made, as the training run wrote it; empty for other libraries' folders.
        matryoshka: Dimensions below its own that vectors were trained to be cut to, ascending.
    """

    config: EncoderConfig
    encoder: Encoder
    tokenizer: str
    run: Mapping[str, Any]
    matryoshka: tuple[int, ...] = ()

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


def load_source(
    folder: Path, pooling: Pooling | None = None, max_tokens: int | None = None
) -> Checkpoint:
    """Load what is to be exported.

    Args:
        folder: A checkpoint of ours, or a folder that sentence-transformers or transformers saved.
        pooling: Of a plain transformers model, which does not say it.
        max_tokens: Where to cut texts, if not where another library's folder does.

    Raises:
        ArtifactError: If the folder is of a kind that cannot be exported, a choice does not fit
            it, or a weight is no number.
        CheckpointError: If it is incomplete, changed, malformed or not supported.
    """
    if max_tokens is not None and max_tokens < _LEAST_TOKENS:
        raise ArtifactError(
            f"got --max-tokens {max_tokens}; expected {_LEAST_TOKENS} or more, the least that an "
            "artifact can have."
        )
    if (folder / MANIFEST).is_file():
        if pooling is not None or max_tokens is not None:
            raise ArtifactError(
                f"{folder}: got --pooling or --max-tokens for a checkpoint of ours, which says "
                "both itself; expected neither: leave them out."
            )
        return _load_checkpoint(folder)
    if not (folder / "config.json").exists() and not (folder / MODULES).exists():
        got = "a folder that is no model" if folder.is_dir() else "no such directory"
        raise ArtifactError(f"{folder}: got {got}; expected {_EXPECTED}.")
    if (folder / "run.json").exists():
        raise ArtifactError(
            f"{folder}: got a checkpoint whose writing was interrupted; expected one that holds "
            f"{MANIFEST}. Continue its run with --resume, or export an earlier one."
        )
    if is_static(folder):
        if pooling not in (None, "mean"):
            raise ArtifactError(
                f"{folder}: got --pooling {pooling} for a static model, which has the mean; "
                "expected no other: leave it out."
            )
        found = load_static(folder, max_tokens)
    else:
        found = load_pretrained(folder, pooling, max_tokens)
    return Checkpoint(found.encoder.config, found.encoder, found.tokenizer, {}, found.matryoshka)


def _load_checkpoint(folder: Path) -> Checkpoint:
    snapshot = load_checkpoint(folder)
    try:
        encoder = folded(encoder_of(snapshot))
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
    loss = (snapshot.run.get("config") or {}).get("loss") or {}
    cuts = tuple(sorted(loss.get("matryoshka") or ()))
    return Checkpoint(encoder.config, encoder, snapshot.tokenizer, snapshot.run, cuts)
