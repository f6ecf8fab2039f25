from pathlib import Path

import numpy as np
import pytest
import torch

from training import teacher
from training.batches import HybridBatches
from training.config import BatchesSection, CorporaSection
from training.corpus import load_bitext, select_corpora
from training.teacher import encode_teacher, teach
from training.tokens import TokenTable


def test_encode_teacher_knows_what_is_alike_and_ignores_order() -> None:
    texts = ["A dog runs.", "The bank raised its rates again this year.", "A puppy is running."]
    vectors = encode_teacher(texts, batch_size=2)
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.3
    assert encode_teacher(texts[::-1])[::-1] == pytest.approx(vectors, abs=1e-5)


def test_teach_encodes_the_english_pivots_drawn_most(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        teacher, "encode_teacher", lambda texts: np.full((len(texts), 384), 1, np.float32)
    )
    bitext = load_bitext(data, select_corpora(["nllb-seed", "wikipedia-app"], shippable=True))
    offsets = np.arange(len(bitext.texts) + 1) * 8
    batches = HybridBatches(
        bitext,
        TokenTable(np.arange(offsets[-1], dtype=np.int32), offsets, pad_id=0),
        CorporaSection(weights={"nllb-seed": 1.0, "wikipedia-app": 9.0}),
        BatchesSection(pairs=4),
        max_tokens=8,
        seed=0,
    )
    found = teach(bitext, batches, 40)
    encoded = np.flatnonzero(found.row_of >= 0)
    of_app = set(bitext.text_a[bitext.corpus == 1].tolist())
    assert len(encoded) == len(found.vectors) == 40
    assert of_app < set(encoded.tolist())  # 30 texts, of the corpus with nine times the weight
    assert set(encoded.tolist()) <= set(bitext.text_a.tolist())
    assert torch.equal(found.vectors, torch.ones(40, 384))
