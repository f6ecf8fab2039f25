"""Bodies of several architectures, with the tokenizers that they come with, as served artifacts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.artifact import load_manifest
from app.encoder.encoder import TextEncoder
from app.retrieval.store import Encode
from export.release import Order, export_checkpoint
from training.assembly import first_encoder
from training.checkpoint import Snapshot, save_checkpoint
from training.config import TrainConfig
from training.corpus import Bitext
from training.model import as_encode
from training.tokens import Role
from training.vocabulary import first_vocabulary

from .conftest import RUN, TEXTS

KINDS = ("bert", "minilm", "distilbert", "mpnet", "xlm-roberta", "xlm", "cls", "last")


@pytest.mark.parametrize("kind", KINDS)
def test_export_of_a_pretrained_body_serves_the_vectors_that_training_has(
    kind: str, pretrained: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    shape = {"kind": "transformer", "dim": 16, "max_tokens": 24, "backbone": str(pretrained(kind))}
    config = TrainConfig.model_validate(
        {
            "run": {"name": "unit"},
            "tokenizer": {"source": "backbone"},
            "encoder": {**shape, "pooling": kind if kind in ("cls", "last") else "mean"},
            "corpora": {"weights": {"made-up": 1.0}},
            "batches": {"pairs": 2},
            "optim": {"steps": 1, "lr": 1e-3},
        }
    )
    nothing: Bitext = None  # type: ignore[assignment] - a folder's own vocabulary reads no corpora
    vocabulary = first_vocabulary(config, nothing)
    encoder = first_encoder(config, vocabulary).eval()
    tokenizer = vocabulary.tokenizer.to_str()
    snapshot = Snapshot(tokenizer, encoder.config, encoder.state_dict(), RUN, {}, {"step": 7})
    save_checkpoint(tmp_path / "checkpoint", snapshot)

    out = tmp_path / "artifact"
    export_checkpoint(
        Order(tmp_path / "checkpoint", out, kind, precisions=("fp32",), texts=texts_file)
    )

    manifest = load_manifest(out)
    assert manifest.pooling == config.encoder.pooling
    assert manifest.pad_id == vocabulary.pad_id
    assert manifest.prompts.model_dump() == dict(vocabulary.prompts)
    served = TextEncoder.open(out, device="cpu", precision="fp32")
    try:
        roles: dict[Role, Encode] = {
            "query": served.encode_query,
            "document": served.encode_document,
        }
        for role, encode in roles.items():
            expected = as_encode(encoder, vocabulary.tokenizer, role=role)(TEXTS)
            # Among the texts is one that both have to cut, before the closing token.
            np.testing.assert_allclose(encode(TEXTS), expected, atol=1e-5)
    finally:
        served.close()
