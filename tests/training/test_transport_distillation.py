"""Distillation of token states, with a teacher whose states are words."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from training import distributed
from training.batches import Batch
from training.checkpoint import EncoderConfig
from training.config import TrainConfig
from training.corpus import CorpusError
from training.distillation import (
    TransportDistillation,
    english_texts,
    spread,
)
from training.model import Encoder, StaticEncoder
from training.passes import Block, Passes
from training.preparation import Preparation, prepare
from training.trainer import Trainer
from training.transport import plan_solver, transport_costs

DIM = 384


@cache
def word_vector(word: str) -> Tensor:
    dice = torch.Generator().manual_seed(zlib.crc32(word.encode()))
    return torch.randn(DIM, generator=dice)


class WordTeacher:
    """A state for each word of a text, whatever stands beside it; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.asked.extend(texts)
        words = [text.split() for text in texts]
        width = max(map(len, words))
        states, mask = torch.zeros(len(texts), width, DIM), torch.zeros(len(texts), width)
        for row, own in enumerate(words):
            states[row, : len(own)] = torch.stack([word_vector(word) for word in own])
            mask[row, : len(own)] = 1
        return states, mask


@pytest.fixture
def run(config: TrainConfig) -> TrainConfig:
    tree = config.model_dump()
    tree["encoder"]["dim"] = DIM
    tree["batches"]["cross_probability"] = 1.0
    tree["distillation"] |= {"transport": 10.0, "transport_pairs": 8}
    tree["optim"] |= {"steps": 60, "lr": 0.01}
    return TrainConfig.model_validate(tree)


@pytest.fixture
def material(run: TrainConfig, data: Path, monkeypatch: pytest.MonkeyPatch) -> Preparation:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    return prepare(run)


@pytest.fixture
def student(material: Preparation) -> StaticEncoder:
    torch.manual_seed(0)
    size = material.tokenizer.get_vocab_size()
    return StaticEncoder(
        EncoderConfig(kind="static", dim=DIM, vocab_size=size, max_tokens=32, pad_id=0)
    )


def distillation(
    run: TrainConfig, material: Preparation, student: Encoder, special_ids: Sequence[int] = ()
) -> TransportDistillation:
    return TransportDistillation(
        WordTeacher(), material.bitext, run.distillation, student, special_ids
    )


def blocks_of(batch: Batch) -> list[Block]:
    return [
        Block(torch.from_numpy(side.input_ids), torch.from_numpy(side.attention_mask))
        for side in (batch.query, batch.document)
    ]


def whole_loss(of: TransportDistillation, batch: Batch) -> float:
    """Sum the loss over both blocks, all rows at once."""
    loss = of(batch)
    assert loss is not None
    total = 0.0
    for index, block in enumerate(blocks_of(batch)):
        rows = torch.arange(len(block.input_ids))
        nothing = torch.zeros(len(rows), 1, DIM)
        total += loss(index, rows, nothing, block.attention_mask[:, :1]).item()
    return total


def test_english_texts_are_those_of_either_side(material: Preparation) -> None:
    bitext = material.bitext
    english = english_texts(bitext)
    assert set(np.flatnonzero(english)) == set(bitext.text_a.tolist())
    turned = replace(
        bitext,
        text_a=bitext.text_b,
        text_b=bitext.text_a,
        lang_a=bitext.lang_b,
        lang_b=bitext.lang_a,
    )
    assert np.array_equal(english_texts(turned), english)


def test_transport_distillation_shows_the_teacher_english_alone(
    run: TrainConfig, material: Preparation, student: StaticEncoder
) -> None:
    teacher = WordTeacher()
    of = TransportDistillation(teacher, material.bitext, run.distillation, student)
    for step in range(5):
        assert of(material.batches.batch(step)) is not None
    english = material.bitext.texts.take(np.unique(material.bitext.text_a)).to_pylist()
    assert len(teacher.asked) == 5 * 8  # transport_pairs of the 16 of each batch
    assert set(teacher.asked) <= set(english)


def test_transport_distillation_leaves_batches_without_english_alone(
    run: TrainConfig, material: Preparation, student: StaticEncoder
) -> None:
    of = distillation(run, material, student)
    batch = material.batches.batch(0)
    assert of(replace(batch, kind="mono")) is None
    foreign = np.flatnonzero(~english_texts(material.bitext))[: len(batch.pivots)]
    assert of(replace(batch, pivots=foreign, sources=(foreign, foreign))) is None


def test_transport_distillation_without_english_corpora_is_refused(
    run: TrainConfig, material: Preparation, student: StaticEncoder
) -> None:
    langs = tuple(lang.replace("eng_Latn", "deu_Latn") for lang in material.bitext.langs)
    with pytest.raises(CorpusError, match="no text of the corpora is in eng_Latn"):
        TransportDistillation(
            WordTeacher(), replace(material.bitext, langs=langs), run.distillation, student
        )


def test_transport_loss_is_the_mean_of_pairs_one_by_one(
    run: TrainConfig, material: Preparation, student: StaticEncoder
) -> None:
    batch = material.batches.batch(0)
    bitext, plan_of = material.bitext, plan_solver("ipot")
    expected = []
    for row in spread(np.arange(16), 8).tolist():
        states, mask = WordTeacher()(bitext.texts.take([int(batch.pivots[row])]).to_pylist())
        for block in blocks_of(batch):
            ids = block.input_ids[row][block.attention_mask[row].bool()]
            ids = ids[ids != 7][None]  # one token counts as special
            own = student.token_embeddings(ids)
            cost = transport_costs(states, mask, own, torch.ones(ids.shape), plan_of)
            expected.append(cost.item())
    found = whole_loss(distillation(run, material, student, [7]), batch)
    assert found == pytest.approx(10.0 * sum(expected) / 8, rel=1e-4)


def test_transport_loss_of_processes_adds_up(
    run: TrainConfig,
    material: Preparation,
    student: StaticEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = material.batches.batch(1)
    of = distillation(run, material, student)
    whole = whole_loss(of, batch)
    monkeypatch.setattr(distributed, "world", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(whole_loss(of, batch.shard(rank, 3)))
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(whole, rel=1e-5)


def test_transport_loss_reaches_the_table_sparsely_and_no_other_block(
    run: TrainConfig, material: Preparation, student: StaticEncoder
) -> None:
    batch = material.batches.batch(0)
    loss = distillation(run, material, student)(batch)
    assert loss is not None
    block = blocks_of(batch)[0]
    rows = torch.arange(16)
    loss(0, rows, torch.zeros(16, 1, DIM), torch.ones(16, 1)).backward()
    gradient = student.embeddings.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    places = loss.places >= 0
    used = set(block.input_ids[places][block.attention_mask[places].bool()].tolist())
    rows_moved = gradient.coalesce()
    moved = rows_moved.indices()[0][rows_moved.values().abs().sum(dim=1) > 0]
    assert set(moved.tolist()) == used
    assert loss(2, rows, torch.zeros(16, 1, DIM), torch.ones(16, 1)).item() == 0.0


class Mixing(StaticEncoder):
    """States that depend on their neighbors, as a transformer's do, and weights without a table."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.turn = torch.nn.Linear(config.dim, config.dim)

    def noise_points(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.token_embeddings(input_ids), attention_mask

    def token_states(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        means = (token_embeddings * attention_mask[:, :, None]).sum(dim=1, keepdim=True)
        return self.turn(token_embeddings + means / attention_mask.sum(dim=1)[:, None, None])


@pytest.mark.parametrize("kind", [StaticEncoder, Mixing])
def test_transport_loss_in_chunks_has_the_gradient_of_the_whole(
    run: TrainConfig,
    material: Preparation,
    kind: Callable[[EncoderConfig], StaticEncoder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind is Mixing:
        monkeypatch.setattr("training.distillation.StaticEncoder", type(None))
    size = material.tokenizer.get_vocab_size()
    layout = EncoderConfig(kind="static", dim=DIM, vocab_size=size, max_tokens=32, pad_id=0)
    torch.manual_seed(0)
    encoder = kind(layout)
    batch = material.batches.batch(2)
    loss = distillation(run, material, encoder)(batch)
    found: list[tuple[float, list[Tensor]]] = []
    for chunk in (0, 5):
        encoder.zero_grad()
        result = Passes(encoder, chunk).backward(
            blocks_of(batch), lambda vectors: (vectors[0] * vectors[1]).sum(), states_loss=loss
        )
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        dense = [g.to_dense() if g.is_sparse else g.clone() for g in gradients]
        found.append((float(result.states_loss), dense))
    (whole, expected), (parts, gradients) = found
    assert whole > 0
    assert parts == pytest.approx(whole, rel=1e-4)
    assert len(expected) == len(list(encoder.parameters()))
    for one, other in zip(expected, gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("solver", ["ipot", "sinkhorn"])
def test_training_with_transport_lowers_its_cost(
    run: TrainConfig, material: Preparation, student: StaticEncoder, solver: str
) -> None:
    section = run.distillation.model_copy(update={"solver": solver})
    run = run.model_copy(update={"distillation": section})
    unseen = material.batches.batch(10_000)

    before = whole_loss(distillation(run, material, student), unseen) / run.distillation.transport

    def trained(weight: float) -> float:
        """Train; return the cost of a batch, of both sides together."""
        encoder = StaticEncoder(student.config)
        encoder.load_state_dict(student.state_dict())
        of = distillation(run, material, encoder)
        states_loss_of = of if weight else None
        trainer = Trainer(
            run, encoder, material.tokenizer, material.bitext, states_loss_of=states_loss_of
        )
        for step in range(run.optim.steps):
            trainer.step(material.batches.batch(step), run.optim.lr)
        if weight:
            parts = trainer.parts
            assert 0 < parts["loss_transport"] < 4  # two sides; told without its weight
            assert parts["loss_clean"] == pytest.approx(
                parts["loss_contrastive"] + 10.0 * parts["loss_transport"], rel=1e-5
            )
        return whole_loss(of, unseen) / run.distillation.transport

    without, with_transport = trained(0.0), trained(1.0)
    assert before > 1.5  # of 2: both sides know nothing of the teacher
    assert without > 1.5
    assert with_transport < 0.8 * min(before, without)
