"""Random noise: its size against the configuration, and the static short cut against tokens."""

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from training.adversarial import mean_token_norm
from training.assembly import new_encoder
from training.config import EncoderSection, SmoothingSection
from training.contrastive import info_nce
from training.draws import Draws
from training.model import Encoder
from training.passes import Block, Noise, Passes
from training.smoothing import Smoother, mean_state_norm

SPECIAL = 2
DIM = 32


def make(kind: str) -> Encoder:
    torch.manual_seed(1)
    section = EncoderSection(kind=kind, dim=DIM, max_tokens=16, layers=1, heads=2)  # type: ignore[arg-type]
    return new_encoder(section, vocab_size=50, pad_id=0)


def batch(texts: int = 8) -> list[Block]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 50, (2, texts, 6), generator=generator)
    mask = torch.ones(2, texts, 6, dtype=torch.int64)
    ids[:, :, 0] = SPECIAL
    ids[:, ::2, 4:], mask[:, ::2, 4:] = 0, 0
    return [Block(ids[0], mask[0]), Block(ids[1], mask[1])]


def contrast(vectors: Sequence[Tensor]) -> Tensor:
    return info_nce(vectors[0], vectors[1], 0.1)


def smoother(noise: str, **keys: object) -> Smoother:
    return Smoother(SmoothingSection(noise=noise, **keys), [SPECIAL])  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_smoother_entries_have_deviation_sigma_at_tokens_that_may_move(noise: str) -> None:
    encoder, (block, _) = make("transformer"), batch(2000)
    drawn = smoother(noise).draw(encoder, block, torch.tensor(0.3), DIM, Draws(0))
    assert drawn.shape == (2000, 6, DIM)
    free = block.attention_mask.bool() & (block.input_ids != SPECIAL)
    assert drawn[free].std().item() == pytest.approx(0.3, rel=0.01)
    assert drawn[free].mean().item() == pytest.approx(0.0, abs=0.005)
    assert drawn[~free].abs().max() == 0
    if noise == "uniform":
        assert drawn.abs().max().item() == pytest.approx(0.3 * math.sqrt(3), rel=0.001)


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_smoother_noise_of_a_mean_is_the_mean_of_noises(noise: str) -> None:
    """Moments and extremes of the static short cut against noise at tokens, then averaged."""
    texts = 12_000
    static, (block, _) = make("static"), batch(texts)
    chosen, draws = smoother(noise), Draws(0)
    sigma = torch.tensor(0.3)
    short = chosen.draw(static, block, sigma, DIM, draws)[:, 0]  # (texts, dim)
    tokens = chosen.draw(make("transformer"), block, sigma, DIM, draws)
    means = tokens.sum(dim=1) / block.attention_mask.sum(dim=1, keepdim=True)
    for rows in (slice(0, None, 2), slice(1, None, 2)):  # 3 of 4 tokens move, and 5 of 6
        for power in (2, 4):
            mine, other = (part[rows].pow(power).mean().item() for part in (short, means))
            assert mine == pytest.approx(other, rel=0.03)
    exact = 0.3 * math.sqrt(3) / 4
    assert short[::2].std().item() == pytest.approx(exact, rel=0.01)


def test_smoother_uniform_mean_of_many_tokens_has_the_variance_of_their_sum() -> None:
    ids = torch.full((3000, 40), 5)
    drawn = smoother("uniform").draw(
        make("static"), Block(ids, torch.ones_like(ids)), torch.tensor(1.0), DIM, Draws(0)
    )
    assert drawn.std().item() == pytest.approx(1 / math.sqrt(40), rel=0.01)


@pytest.mark.parametrize(("at", "kind"), [("embeddings", "static"), ("states", "transformer")])
def test_smoother_relative_sigma_is_the_size_of_a_tokens_noise_in_mean_norms(
    at: str, kind: str
) -> None:
    encoder, blocks = make(kind), batch()
    found = smoother("gaussian", sigma=0.2, at=at).run(Passes(encoder), blocks, contrast, Draws(0))
    norm = (mean_token_norm if at == "embeddings" else mean_state_norm)(encoder, blocks).item()
    size = torch.randn(4000, DIM).norm(dim=1).pow(2).mean().sqrt().item() * found.sigma.item()
    assert size / norm == pytest.approx(0.2, rel=0.02)
    assert found.relative_sigma.item() == pytest.approx(0.2, rel=1e-5)
    absolute = smoother("gaussian", sigma=0.2, at=at, relative=False).run(
        Passes(encoder), blocks, contrast, Draws(0)
    )
    assert absolute.sigma.item() == pytest.approx(0.2)
    assert absolute.relative_sigma.item() == pytest.approx(0.2 * math.sqrt(DIM) / norm, rel=1e-5)


def test_mean_state_norm_is_over_real_tokens() -> None:
    encoder, blocks = make("transformer").eval(), batch()
    norms = [
        encoder.token_states(encoder.token_embeddings(b.input_ids), b.attention_mask)[
            b.attention_mask.bool()
        ].norm(dim=-1)
        for b in blocks
    ]
    expected = torch.cat(norms).mean().item()
    assert mean_state_norm(encoder.train(), blocks).item() == pytest.approx(expected, rel=1e-5)
    assert encoder.training


@pytest.mark.parametrize("at", ["embeddings", "states"])
@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_smoother_averages_loss_and_gradients_over_copies(kind: str, at: str) -> None:
    encoder, blocks = make(kind), batch()
    reference = copy.deepcopy(encoder)
    chosen = smoother("gaussian", sigma=0.5, copies=3, at=at, weight=0.6, relative=False)
    found = chosen.run(Passes(encoder), blocks, contrast, Draws(4))
    draws = Draws(4)
    losses = []
    for _ in range(3):
        values = [chosen.draw(reference, block, torch.tensor(0.5), DIM, draws) for block in blocks]
        noise = Noise(values, at)  # type: ignore[arg-type]
        losses.append(Passes(reference).backward(blocks, contrast, weight=0.2, noise=noise).loss)
    assert found.loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)
    assert max(losses) > min(losses)
    for mine, other in zip(encoder.parameters(), reference.parameters(), strict=True):
        if mine.grad is not None and other.grad is not None:
            assert torch.allclose(mine.grad.to_dense(), other.grad.to_dense(), atol=1e-6)
