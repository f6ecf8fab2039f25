"""Steps of a trainer: what they minimize, what they keep, and when they refuse."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training.collation import Batch
from training.composition import clean_weight
from training.contrastive import info_nce, matryoshka
from training.distillation import pooled_distillation
from training.selfteaching import self_teaching_loss
from training.trainer import TrainingError

_SPEC = importlib.util.spec_from_file_location("stepping", Path(__file__).with_name("stepping.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
stepping = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(stepping)

KINDS = ("static", "transformer")
NOISES: dict[str, dict[str, Any]] = {
    "fgm": {"adversarial": {"method": "fgm", "weight": 0.3}},
    "pgd": {"adversarial": {"method": "pgd", "norm": "sequence"}},
    "freelb": {"adversarial": {"method": "freelb", "weight": 1.0}},
    "gaussian": {"smoothing": {"noise": "gaussian", "copies": 2}},
    "states": {"smoothing": {"noise": "uniform", "at": "states"}},
    "both": {
        "adversarial": {"method": "fgm", "weight": 0.7},
        "smoothing": {"noise": "uniform", "weight": 0.3},
    },
}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())


@pytest.mark.parametrize("kind", KINDS)
def test_step_minimizes_the_sum_of_its_parts(kind: str) -> None:
    config = stepping.make_config(
        kind,
        loss={"matryoshka": (4,)},
        augmentation={"self_teaching": 0.7},
        distillation={"pooled": 0.5},
    )
    trainer, batch = stepping.make_trainer(config), stepping.make_batch()
    queries, documents, negatives, noisy = (
        trainer.encoder(torch.from_numpy(side.input_ids), torch.from_numpy(side.attention_mask))
        for side in (batch.query, batch.document, batch.negatives, batch.noisy)
    )
    masked = (torch.from_numpy(batch.masked[0]), torch.from_numpy(batch.masked[1]))
    contrast = matryoshka(
        lambda sides: info_nce(sides[0], sides[1], 0.05, masked=masked, negatives=sides[2]),
        [queries, documents, negatives],
        (4,),
    )
    positions, targets = trainer._losses._taught(batch, torch.device("cpu"))
    pooled = pooled_distillation([queries, documents], positions, targets)
    teaching = self_teaching_loss(queries, noisy, torch.cat([documents, negatives]), 0.05)
    trainer.step(batch, 0.0)
    assert trainer.parts["loss_contrastive"] == pytest.approx(contrast.item(), rel=1e-5)
    assert trainer.parts["loss_pooled"] == pytest.approx(pooled.item(), rel=1e-5)
    assert trainer.parts["loss_self_teaching"] == pytest.approx(teaching.item(), rel=1e-4)
    total = contrast + 0.5 * pooled + 0.7 * teaching
    assert trainer.parts["loss_clean"] == pytest.approx(total.item(), rel=1e-5)
    assert trainer.progress.loss == pytest.approx(total.item(), rel=1e-5)
    assert trainer.progress.metrics["gradient_norm"] > 0


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kind", KINDS)
def test_step_weighs_clean_and_noisy_losses(kind: str, noise: str, chunk: int) -> None:
    config = stepping.make_config(kind, chunk, **NOISES[noise])
    trainer = stepping.make_trainer(config)
    before = stepping.weights_of(trainer)
    trainer.step(stepping.make_batch(), 0.01)
    parts = trainer.parts
    weight = clean_weight(config)
    expected = weight * parts.get("loss_clean", 0.0)
    for name, section in (("adversarial", config.adversarial), ("smoothing", config.smoothing)):
        if f"loss_{name}" in parts:
            expected += section.weight * parts[f"loss_{name}"]
    assert trainer.progress.loss == pytest.approx(expected, rel=1e-5)
    # FreeLB with all of the weight needs no clean pass at all; FGM needs its gradient.
    assert ("loss_clean" in parts) == (noise != "freelb")
    assert not same(before, stepping.weights_of(trainer))
    if config.adversarial.method != "none":
        assert parts["relative_epsilon"] == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kind", KINDS)
def test_step_restored_goes_on_bit_identical(kind: str, noise: str) -> None:
    config = stepping.make_config(
        kind, 3, loss={"learn_temperature": True}, optim={"ema": 0.9}, **NOISES[noise]
    )
    whole, first = stepping.make_trainer(config), stepping.make_trainer(config)
    for step in range(4):
        whole.step(stepping.make_batch(step), 0.01)
    for step in range(2):
        first.step(stepping.make_batch(step), 0.01)
    snapshot = first.snapshot()
    second = stepping.make_trainer(config)
    second.encoder.load_state_dict(snapshot.weights)
    second.restore(snapshot)
    for step in range(2, 4):
        second.step(stepping.make_batch(step), 0.01)
    ours, theirs = whole.snapshot(), second.snapshot()
    assert same(dict(ours.weights), dict(theirs.weights))
    assert same(dict(ours.state), dict(theirs.state))
    assert "own.log_inverse" in ours.state
    assert ours.progress == theirs.progress


def test_step_learned_temperature_moves_and_is_told() -> None:
    config = stepping.make_config(loss={"learn_temperature": True, "temperature": 0.2})
    trainer = stepping.make_trainer(config)
    trainer.step(stepping.make_batch(), 0.01)
    assert trainer.progress.metrics["temperature"] == pytest.approx(0.2, rel=1e-5)
    trainer.step(stepping.make_batch(), 0.01)
    # Adam's first step is one of the rate, in the logarithm.
    moved = abs(math.log(trainer.progress.metrics["temperature"] / 0.2))
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_step_chunks_change_nothing() -> None:
    found = []
    for chunk in (0, 2, 64):
        config = stepping.make_config("transformer", chunk, **NOISES["fgm"])
        trainer = stepping.make_trainer(config)
        trainer.step(stepping.make_batch(), 0.01)
        found.append((trainer.progress.loss, trainer.parts["gradient_norm"]))
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_step_loss_of_states_is_a_part_of_the_clean_loss(kind: str) -> None:
    def states_loss_of(batch: Batch) -> Any:
        def loss(block: int, rows: Tensor, states: Tensor, mask: Tensor) -> Tensor:
            return (states * mask[..., None]).pow(2).sum() / 100 * (block < 2)

        return loss if batch.kind == "cross" else None

    config = stepping.make_config(kind, 3, distillation={"transport": 0.25})
    trainer = stepping.make_trainer(config, states_loss_of=states_loss_of)
    plain = stepping.make_trainer(config)
    for each in (trainer, plain):
        each.step(stepping.make_batch(), 0.01)
    extra = trainer.parts["loss_transport"]
    assert extra > 0.01
    # What is told of a part is without its weight, which the function has put in already.
    assert trainer.progress.loss == pytest.approx(plain.progress.loss + 0.25 * extra, rel=1e-5)
    norms = [each.parts["gradient_norm"] for each in (trainer, plain)]
    assert norms[0] != pytest.approx(norms[1])


@pytest.mark.parametrize("kind", KINDS)
def test_step_loss_that_is_no_number_stops_before_the_weights_move(kind: str) -> None:
    trainer = stepping.make_trainer(stepping.make_config(kind))
    trainer.step(stepping.make_batch(), 0.01)
    for parameter in trainer.encoder.parameters():
        parameter.data[..., 0] = math.nan
    before = stepping.weights_of(trainer)
    with pytest.raises(TrainingError, match=r"step 2 of 8: got .*loss nan.*Try a lower optim\.lr"):
        trainer.step(stepping.make_batch(), 0.01)
    after = stepping.weights_of(trainer)
    assert all(torch.equal(before[n].isnan(), after[n].isnan()) for n in before)
    assert trainer.progress.step == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["weights", "moments"])
def test_snapshot_with_numbers_that_are_none_is_refused(kind: str, where: str) -> None:
    trainer = stepping.make_trainer(stepping.make_config(kind))
    trainer.step(stepping.make_batch(), 0.01)
    assert trainer.snapshot().progress["step"] == 1
    if where == "weights":
        next(trainer.encoder.parameters()).data.view(-1)[-1] = math.inf
    else:
        moments = next(iter(trainer._optimizer.state.values()))
        max(moments.values(), key=lambda tensor: tensor.numel()).view(-1)[0] = math.nan
    with pytest.raises(TrainingError, match="step 1 of 8 left numbers that are not finite in "):
        trainer.snapshot()


def test_step_bf16_trains_near_float32() -> None:
    found = []
    for precision in ("fp32", "bf16"):
        trainer = stepping.make_trainer(
            stepping.make_config("transformer", run={"precision": precision})
        )
        for _ in range(8):
            trainer.step(stepping.make_batch(), 0.01)
        found.append(trainer.parts["loss_clean"])
        assert all(p.dtype == torch.float32 for p in trainer.encoder.parameters())
    assert found[0] != found[1]
    assert found[1] == pytest.approx(found[0], abs=0.2)


def test_step_fp16_overflow_skips_the_step_and_lowers_the_scale() -> None:
    config = stepping.make_config("transformer", run={"precision": "fp16"}, **NOISES["fgm"])
    trainer = stepping.make_trainer(config)
    scales, moved = [], []
    for _ in range(3):
        before = stepping.weights_of(trainer)
        if not scales:
            trainer._scaler.load_state_dict(trainer._scaler.state_dict() | {"scale": 2.0**60})
        trainer.step(stepping.make_batch(), 0.01)
        scales.append(trainer.parts["gradient_scale"])
        moved.append(not same(before, stepping.weights_of(trainer)))
        trainer._scaler.load_state_dict(trainer._scaler.state_dict() | {"scale": 2.0**10})
    assert moved == [False, True, True]
    snapshot = trainer.snapshot()
    assert snapshot.state["scaler.scale"].item() == 2.0**10
    again = stepping.make_trainer(config)
    again.encoder.load_state_dict(snapshot.weights)
    again.restore(snapshot)
    assert again._scaler.get_scale() == 2.0**10
