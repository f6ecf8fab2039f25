"""Noise balls by hand, and passes under noise against the same noise put on each token."""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from training.adversarial import Adversary, Ball, advance, mean_token_norm, movable_tokens
from training.assembly import new_encoder
from training.config import AdversarialSection, EncoderSection
from training.contrastive import info_nce
from training.draws import Draws
from training.model import Encoder
from training.passes import Block, Noise, Passes

KINDS = ("static", "transformer")
NORMS = ("token", "sequence", "max")
SPECIAL = 2


def make(kind: str) -> Encoder:
    torch.manual_seed(1)
    section = EncoderSection(kind=kind, dim=16, max_tokens=16, layers=2, heads=2)  # type: ignore[arg-type]
    return new_encoder(section, vocab_size=50, pad_id=0)


def batch() -> list[Block]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 50, (2, 8, 6), generator=generator)
    mask = torch.ones(2, 8, 6, dtype=torch.int64)
    ids[:, :, 0] = SPECIAL
    ids[0, ::2, 4:], mask[0, ::2, 4:] = 0, 0
    return [Block(ids[0], mask[0]), Block(ids[1], mask[1])]


def contrast(vectors: Sequence[Tensor]) -> Tensor:
    return info_nce(vectors[0], vectors[1], 0.1)


def adversary(method: str, **keys: Any) -> Adversary:
    return Adversary(AdversarialSection(method=method, **keys), [SPECIAL])  # type: ignore[arg-type]


class Recording(Passes):
    """Passes that remember what noise they were given."""

    def backward(self, *args: Any, **options: Any) -> Any:
        if options.get("noise") is not None:
            SEEN.append(options["noise"].values)
        return super().backward(*args, **options)


SEEN: list[Sequence[Tensor]] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    SEEN.clear()


def attack(encoder: Encoder, chosen: Adversary, blocks: list[Block], chunk: int = 0) -> float:
    """Run the clean pass and the adversary; returns the loss under noise."""
    passes = Recording(encoder, chunk)
    clean = Passes(encoder, chunk).backward(
        blocks, contrast, weight=0.5, want_gradients=chosen.wants_clean_gradients
    )
    return chosen.run(passes, blocks, contrast, clean.noise_gradients, Draws(0)).loss.item()


def loss_at_tokens(encoder: Encoder, blocks: list[Block], noises: Sequence[Tensor]) -> float:
    """Compute the loss with noise (batch, seq, dim) on each token, without short cuts."""
    vectors = [
        encoder.pool_from_embeddings(
            encoder.token_embeddings(block.input_ids) + noise, block.attention_mask
        )
        for block, noise in zip(blocks, noises, strict=True)
    ]
    return contrast(vectors).item()


def token_gradients(encoder: Encoder, blocks: list[Block]) -> list[Tensor]:
    places = [encoder.token_embeddings(b.input_ids).detach().requires_grad_() for b in blocks]
    vectors = [
        encoder.pool_from_embeddings(place, block.attention_mask)
        for place, block in zip(places, blocks, strict=True)
    ]
    return list(torch.autograd.grad(contrast(vectors), places))


def token_ball(block: Block, norm: str, radius: float) -> Ball:
    """Return the ball with a point for each token, whatever the encoder."""
    reach = movable_tokens(block, [SPECIAL])[..., None].float()
    return Ball(norm, torch.tensor(radius), reach)  # type: ignore[arg-type]


GRADIENT = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [5.0, 12.0], [0.0, -1.0]]])
FREE = torch.tensor([[[1.0], [1.0], [0.0], [1.0]]])


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("token", [[6.0, 8.0], [0.0, 0.0], [0.0, 0.0], [0.0, -10.0]]),
        ("sequence", [[30 / 26**0.5, 40 / 26**0.5], [0.0, 0.0], [0.0, 0.0], [0.0, -10 / 26**0.5]]),
        ("max", [[10.0, 10.0], [0.0, 0.0], [0.0, 0.0], [0.0, -10.0]]),
    ],
)
def test_ball_ascent_hand_computed(norm: str, expected: list[list[float]]) -> None:
    ball = Ball(norm, torch.tensor(10.0), FREE)  # type: ignore[arg-type]
    assert torch.allclose(ball.ascent(GRADIENT)[0], torch.tensor(expected))
    # Gradients so small that their squares are 0 in float32 have a direction all the same.
    assert torch.allclose(ball.ascent(GRADIENT * 1e-30)[0], torch.tensor(expected))


def test_ball_project_hand_computed() -> None:
    noise = torch.tensor([[[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [0.0, -12.0]]])
    found = {norm: Ball(norm, torch.tensor(1.0), FREE).project(noise) for norm in NORMS}  # type: ignore[arg-type]
    assert torch.allclose(
        found["token"], torch.tensor([[[0.6, 0.8], [0.3, 0.4], [0.0, 0.0], [0.0, -1.0]]])
    )
    assert torch.allclose(found["sequence"], noise / math.sqrt(25 + 0.25 + 144))
    assert torch.allclose(
        found["max"], torch.tensor([[[1.0, 1.0], [0.3, 0.4], [0.0, 0.0], [0.0, -1.0]]])
    )
    for norm in NORMS:
        assert torch.equal(
            Ball(norm, torch.tensor(20.0), FREE).project(noise),  # type: ignore[arg-type]
            noise,
        )


@pytest.mark.parametrize("norm", NORMS)
def test_ball_steps_and_samples_stay_inside_and_off_what_may_not_move(norm: str) -> None:
    torch.manual_seed(0)
    free = (torch.rand(5, 7, 1) > 0.3).float()
    ball = Ball(norm, torch.tensor(0.3), free)  # type: ignore[arg-type]
    noise = ball.sample(0.5, 4, Draws(1))
    assert 0 < ball.size(noise).max() <= 0.5 * 0.3 * (1 + 1e-5)
    for _ in range(5):
        (noise,) = advance([ball], [noise], [torch.randn(5, 7, 4)], 0.7)
        assert ball.size(noise).max() <= 0.3 * (1 + 1e-5)
        assert torch.equal(noise * (1 - free), torch.zeros_like(noise))
    assert ball.size(noise).max() > 0.25


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_fgm_equals_noise_at_each_token(kind: str, norm: str) -> None:
    """The static encoder's short cut through its mean gives what noise at each token gives."""
    encoder, blocks = make(kind), batch()
    noises = [
        token_ball(block, norm, 0.05).ascent(gradient)
        for block, gradient in zip(blocks, token_gradients(encoder, blocks), strict=True)
    ]
    chosen = adversary("fgm", norm=norm, epsilon=0.05, relative=False)
    clean = loss_at_tokens(encoder, blocks, [torch.zeros(8, 6, 16)] * 2)
    expected = loss_at_tokens(encoder, blocks, noises)
    assert expected > clean + 1e-4
    assert attack(encoder, chosen, blocks) == pytest.approx(expected, rel=1e-5)
    assert attack(encoder, chosen, blocks, chunk=3) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_pgd_equals_steps_at_each_token(kind: str, norm: str) -> None:
    encoder, blocks = make(kind), batch()
    balls = [token_ball(block, norm, 0.1) for block in blocks]
    noises = [torch.zeros(8, 6, 16) for _ in blocks]
    for _ in range(3):
        places = [noise.clone().requires_grad_() for noise in noises]
        vectors = [
            encoder.pool_from_embeddings(
                encoder.token_embeddings(block.input_ids) + place, block.attention_mask
            )
            for block, place in zip(blocks, places, strict=True)
        ]
        gradients = torch.autograd.grad(contrast(vectors), places)
        noises = advance(balls, noises, gradients, 0.6)
    chosen = adversary(
        "pgd", norm=norm, epsilon=0.1, relative=False, start=0.0, steps=3, step_size=0.6
    )
    expected = loss_at_tokens(encoder, blocks, noises)
    assert attack(encoder, chosen, blocks) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["fgm", "pgd", "freelb"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_adversary_noise_stays_in_its_ball(kind: str, norm: str, method: str) -> None:
    encoder, blocks = make(kind), batch()
    chosen = adversary(method, norm=norm, epsilon=0.4, relative=True)
    attack(encoder, chosen, blocks)
    radius = 0.4 * mean_token_norm(encoder, blocks)
    balls = chosen.balls(encoder, blocks, radius)
    assert len(SEEN) == {"fgm": 1, "pgd": 3, "freelb": 2}[method]
    for values, (ball, side) in itertools.product(
        SEEN, zip(balls, range(len(blocks)), strict=True)
    ):
        assert 0 < ball.size(values[side]).max() <= radius * (1 + 1e-5)
        if kind == "transformer":
            assert values[side][:, 0].abs().max() == 0  # special
            assert (values[side].abs().sum(-1) * (1 - blocks[side].attention_mask)).max() == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_pgd_raises_the_loss_more_than_random_noise_of_equal_norm(kind: str, norm: str) -> None:
    encoder, blocks = make(kind), batch()
    chosen = adversary("pgd", norm=norm, epsilon=0.3, steps=3)
    found = attack(encoder, chosen, blocks)
    clean = loss_at_tokens(encoder, blocks, [torch.zeros(8, 6, 16)] * 2)
    assert found > clean
    balls = chosen.balls(encoder, blocks, 0.3 * mean_token_norm(encoder, blocks))
    for seed in range(10):
        draws = Draws(seed)
        random = [ball.sample(1.0, 16, draws) for ball in balls]
        noisy = Passes(encoder).backward(blocks, contrast, weight=0, noise=Noise(random)).loss
        assert found >= noisy.item()


@pytest.mark.parametrize("method", ["fgm", "pgd", "freelb"])
@pytest.mark.parametrize("kind", KINDS)
def test_adversary_tiny_radius_gives_the_clean_loss(kind: str, method: str) -> None:
    encoder, blocks = make(kind), batch()
    clean = loss_at_tokens(encoder, blocks, [torch.zeros(8, 6, 16)] * 2)
    found = attack(encoder, adversary(method, epsilon=1e-7), blocks)
    assert found == pytest.approx(clean, rel=1e-5)


def test_adversary_only_special_tokens_nothing_moves() -> None:
    encoder, blocks = make("transformer"), batch()
    blocks = [Block(b.input_ids[:, :1], b.attention_mask[:, :1]) for b in blocks]
    clean = loss_at_tokens(encoder, blocks, [torch.zeros(8, 1, 16)] * 2)
    found = attack(encoder, adversary("fgm", epsilon=5.0), blocks)
    assert found == pytest.approx(clean, rel=1e-6)


@pytest.mark.parametrize("method", ["fgm", "pgd"])
@pytest.mark.parametrize("kind", KINDS)
def test_adversary_gradient_is_that_of_the_noisy_loss(kind: str, method: str) -> None:
    encoder, blocks = make(kind), batch()
    reference = copy.deepcopy(encoder)
    attack(encoder, adversary(method, weight=0.5), blocks)
    for noise in (None, Noise(SEEN[-1])):
        Passes(reference).backward(blocks, contrast, weight=0.5, noise=noise)
    pairs = zip(encoder.parameters(), reference.parameters(), strict=True)
    for mine, other in pairs:
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None and other.grad is not None:
            assert torch.allclose(mine.grad.to_dense(), other.grad.to_dense(), atol=1e-6)


def test_freelb_averages_gradients_over_its_steps() -> None:
    encoder, blocks = make("transformer"), batch()
    reference = copy.deepcopy(encoder)
    found = attack(encoder, adversary("freelb", steps=3, weight=0.6), blocks)
    Passes(reference).backward(blocks, contrast, weight=0.5)
    losses = [
        Passes(reference).backward(blocks, contrast, weight=0.2, noise=Noise(values)).loss.item()
        for values in SEEN
    ]
    assert len(losses) == 3
    assert losses[2] > losses[0]
    assert found == pytest.approx(sum(losses) / 3, rel=1e-6)
    for mine, other in zip(encoder.parameters(), reference.parameters(), strict=True):
        if mine.grad is not None and other.grad is not None:
            assert torch.allclose(mine.grad, other.grad, atol=1e-6)


def test_adversary_radius_is_told_either_way() -> None:
    encoder, blocks = make("static"), batch()
    norm = mean_token_norm(encoder, blocks).item()
    ids = torch.cat([b.input_ids[b.attention_mask.bool()] for b in blocks])
    rows = encoder.get_parameter("embeddings.weight")[ids].norm(dim=1)
    assert norm == pytest.approx(rows.mean().item(), rel=1e-5)
    for relative, radius, share in ((True, 0.5 * norm, 0.5), (False, 0.5, 0.5 / norm)):
        chosen = adversary("freelb", epsilon=0.5, relative=relative)
        found = chosen.run(Passes(encoder), blocks, contrast, [], Draws(0))
        assert found.radius.item() == pytest.approx(radius, rel=1e-5)
        assert found.relative_radius.item() == pytest.approx(share, rel=1e-5)
