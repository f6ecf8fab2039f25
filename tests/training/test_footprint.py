"""The estimate is held against what torch allocates in a step of training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from training.assembly import new_encoder
from training.collation import Batch, Side
from training.config import TrainConfig
from training.corpus import load_bitext, select_corpora
from training.footprint import bytes_per_text, estimate_footprint, format_bytes
from training.schedule import learning_rate
from training.trainer import Trainer

FACTOR = 1.5  # that the estimate is right to, either way
VOCABULARY = 2000


def modified(config: TrainConfig, **tables: dict[str, Any]) -> TrainConfig:
    tree = config.model_dump()
    for name, keys in tables.items():
        tree[name] |= keys
    return TrainConfig.model_validate(tree)


def batch(pairs: int, seq: int) -> Batch:
    rng = np.random.default_rng(0)
    mask = np.ones((pairs, seq), np.int64)
    sides = [Side(rng.integers(5, VOCABULARY, (pairs, seq)), mask) for _ in range(2)]
    nothing = np.zeros(0, np.int64)
    return Batch("cross", *sides, pivots=np.arange(pairs), masked=(nothing, nothing))


@pytest.mark.parametrize("chunk", [0, 16])
def test_estimate_footprint_of_a_transformer_is_near_the_measured_peak(
    data: Path, config: TrainConfig, chunk: int, peak_of: Callable[[Any], int]
) -> None:
    changed = modified(
        config,
        encoder={"kind": "transformer", "dim": 64, "heads": 4, "layers": 3},
        batches={"pairs": 64, "chunk": chunk},
        optim={"ema": 0.9},
    )
    one = batch(64, 32)
    bitext = load_bitext(data, select_corpora(["nllb-seed"], shippable=True))
    estimated = estimate_footprint(
        changed, new_encoder(changed.encoder, VOCABULARY, 0).train(), [one], {}
    )

    def train() -> None:
        encoder = new_encoder(changed.encoder, VOCABULARY, 0)
        trainer = Trainer(changed, encoder, Tokenizer(models.BPE()), bitext)
        for step in range(2):
            trainer.step(one, learning_rate(changed.optim, step))

    measured = peak_of(train)
    assert measured / FACTOR < sum(estimated.device.values()) < measured * FACTOR
    assert estimated.device["optimizer"] == 2 * estimated.device["parameters"]


def test_estimate_footprint_chunks_save_activations(config: TrainConfig) -> None:
    tree = {"kind": "transformer", "dim": 32, "heads": 2}
    parts = {}
    for chunk in (0, 8):
        changed = modified(config, encoder=tree, batches={"pairs": 64, "chunk": chunk})
        encoder = new_encoder(changed.encoder, VOCABULARY, 0)
        parts[chunk] = estimate_footprint(changed, encoder, [batch(64, 16)], {}).device
    assert parts[0]["activations"] == pytest.approx(16 * parts[8]["activations"])
    assert parts[0]["parameters"] == parts[8]["parameters"]


def test_bytes_per_text_grows_with_length_and_shrinks_in_half_precision(
    config: TrainConfig,
) -> None:
    changed = modified(config, encoder={"kind": "transformer", "dim": 32, "heads": 2})
    encoder = new_encoder(changed.encoder, VOCABULARY, 0)
    short, long = (bytes_per_text(encoder, batch(4, seq).query, None) for seq in (8, 16))
    assert 1.9 < long / short < 4.1
    assert 0.3 < bytes_per_text(encoder, batch(4, 16).query, torch.bfloat16) / long < 0.9


@pytest.mark.parametrize(("size", "text"), [(1.44e9, "1.4 GB"), (12e6, "12.0 MB"), (900, "0.9 kB")])
def test_format_bytes_in_three_units(size: float, text: str) -> None:
    assert format_bytes(size) == text
