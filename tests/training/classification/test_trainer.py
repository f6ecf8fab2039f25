from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from training.classification.batches import PairBatches
from training.classification.config import PairConfig
from training.classification.model import new_classifier
from training.classification.pairs import read_pairs
from training.classification.tasks import PAWSX
from training.classification.tokenization import learned_tokenizer
from training.classification.trainer import PairTrainer

STEPS = 4
NOISY: dict[str, dict[str, Any]] = {
    "clean": {},
    "fgm": {"adversarial": {"method": "fgm"}},
    "freelb alone": {"adversarial": {"method": "freelb", "weight": 1.0}},
    "rs-rp": {"smoothing": {"noise": "gaussian", "copies": 2}},
}


@pytest.fixture
def make(
    config: Callable[..., PairConfig], pawsx: Path
) -> Callable[..., tuple[PairTrainer, PairBatches]]:
    def build(**tables: dict[str, Any]) -> tuple[PairTrainer, PairBatches]:
        made = config(**tables)
        sets = list(read_pairs(PAWSX, pawsx, "train", ["eng_Latn"]).values())
        texts = [text for pairs in sets for text in (*pairs.first, *pairs.second)]
        tokenizer = learned_tokenizer(made.encoder, texts)
        torch.manual_seed(0)
        model = new_classifier(made.encoder, PAWSX, tokenizer)
        batches = PairBatches(sets, tokenizer, 16, seed=0)
        return PairTrainer(made, model, tokenizer, sets, STEPS), batches

    return build


def gradients(trainer: PairTrainer) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}


def test_step_clean_loss_is_the_cross_entropy(make: Callable[..., Any]) -> None:
    trainer, batches = make()
    batch = batches.batch(0)
    with torch.no_grad():
        scores = trainer.model(batch.block.input_ids, batch.block.attention_mask)
        expected = F.cross_entropy(scores, batch.labels).item()
    trainer.step(batch)
    assert trainer.progress.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NOISY)
def test_step_chunks_give_the_same_gradients(make: Callable[..., Any], name: str) -> None:
    found = []
    for chunk in (0, 5):
        trainer, batches = make(batches={"pairs": 16, "chunk": chunk}, **NOISY[name])
        trainer.step(batches.batch(0))
        found.append(gradients(trainer))
    assert found[0].keys() == found[1].keys()
    largest = max(float(part.abs().max()) for part in found[0].values())
    assert largest > 0
    assert all(
        torch.allclose(part, found[1][key], atol=1e-4 * largest) for key, part in found[0].items()
    )


def test_step_adversary_raises_the_loss_that_is_minimized(make: Callable[..., Any]) -> None:
    """Under FGM of weight 1 the loss is that of moved embeddings, above the clean one."""
    losses = {}
    for epsilon in (0.0, 1e-6, 0.5):
        noise = {"method": "fgm", "weight": 1.0, "epsilon": epsilon} if epsilon else {}
        trainer, batches = make(adversarial=noise)
        with torch.no_grad():
            trainer.model.scores.weight.mul_(50)  # a new head scores nearly alike
        trainer.step(batches.batch(0))
        losses[epsilon] = trainer.progress.loss
    assert losses[1e-6] == pytest.approx(losses[0.0], rel=1e-4)
    assert losses[0.5] > losses[0.0] * 1.005


def test_step_rate_falls_in_a_line_to_zero(make: Callable[..., Any]) -> None:
    trainer, batches = make(optim={"lr": 0.004})
    rates = [trainer.step(batches.batch(step)) for step in range(STEPS)]
    assert rates == pytest.approx([0.004, 0.003, 0.002, 0.001])


def test_step_moves_weights_by_clipped_gradients(make: Callable[..., Any]) -> None:
    trainer, batches = make(optim={"clip_norm": 1e-3})
    trainer.step(batches.batch(0))
    norm = torch.stack([part.norm() for part in gradients(trainer).values()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-2)


def test_trainer_decays_matrices_alone(make: Callable[..., Any]) -> None:
    trainer, _ = make(optim={"weight_decay": 0.1})
    decays = {group["weight_decay"]: group["params"] for group in trainer.optimizer.param_groups}
    assert {p.ndim for p in decays[0.1]} == {2}
    assert {p.ndim for p in decays[0.0]} == {1}
    assert len(decays[0.1]) + len(decays[0.0]) == len(list(trainer.model.parameters()))
