from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from training.adversarial import Block, adversarial_loss, fgm_noise, mean_token_norm
from training.assembly import new_encoder
from training.config import EncoderSection
from training.contrastive import info_nce
from training.model import Encoder

KINDS = ("static", "transformer")
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


def noisy_loss(encoder: Encoder, blocks: list[Block], noises: list[Tensor]) -> float:
    vectors = [
        encoder.pool_from_embeddings(
            encoder.token_embeddings(block.input_ids) + noise, block.attention_mask
        )
        for block, noise in zip(blocks, noises, strict=True)
    ]
    return contrast(vectors).item()


def test_fgm_noise_hand_computed() -> None:
    gradient = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [5.0, 12.0]]])
    noise = fgm_noise(gradient, torch.tensor([[1, 1, 0]]), 10.0)
    assert torch.equal(noise, torch.tensor([[[6.0, 8.0], [0.0, 0.0], [0.0, 0.0]]]))


def test_fgm_noise_norm_is_epsilon_at_each_real_token() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    norms = fgm_noise(torch.randn(2, 3, 8) * 1e-9, mask, 0.25).norm(dim=-1)
    assert torch.allclose(norms, 0.25 * mask.float())


@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_loss_is_above_clean_and_above_random_noise(kind: str) -> None:
    encoder, blocks = make(kind), batch()
    found = adversarial_loss(encoder, blocks, contrast, 0.3, relative=True)
    clean = noisy_loss(encoder, blocks, [torch.zeros(8, 6, 16)] * 2)
    assert found.clean.item() == pytest.approx(clean, rel=1e-5)
    assert found.adversarial > found.clean
    for seed in range(10):
        torch.manual_seed(seed)
        random = [
            fgm_noise(torch.randn(8, 6, 16), block.attention_mask, found.epsilon)
            for block in blocks
        ]
        assert found.adversarial.item() > noisy_loss(encoder, blocks, random)


@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_loss_equals_noise_at_each_token(kind: str) -> None:
    """The static encoder's short cut through its mean gives what noise at each token gives."""
    encoder, blocks = make(kind), batch()
    places = [encoder.token_embeddings(b.input_ids).detach().requires_grad_() for b in blocks]
    loss = contrast(
        [
            encoder.pool_from_embeddings(place, block.attention_mask)
            for place, block in zip(places, blocks, strict=True)
        ]
    )
    noises = [
        fgm_noise(gradient, block.attention_mask, 0.05)
        for gradient, block in zip(torch.autograd.grad(loss, places), blocks, strict=True)
    ]
    found = adversarial_loss(encoder, blocks, contrast, 0.05, relative=False)
    assert found.adversarial.item() == pytest.approx(noisy_loss(encoder, blocks, noises), rel=1e-5)


def test_adversarial_loss_special_tokens_stay() -> None:
    encoder, blocks = make("transformer"), batch()
    only_special = [Block(b.input_ids[:, :1], b.attention_mask[:, :1]) for b in blocks]
    free = adversarial_loss(encoder, blocks, contrast, 0.3)
    kept = adversarial_loss(encoder, blocks, contrast, 0.3, special_ids=[SPECIAL])
    still = adversarial_loss(encoder, only_special, contrast, 0.3, special_ids=[SPECIAL])
    assert kept.adversarial.item() != pytest.approx(free.adversarial.item())
    assert still.adversarial.item() == pytest.approx(still.clean.item())


def test_adversarial_loss_relative_epsilon_is_in_token_norms() -> None:
    encoder, blocks = make("static"), batch()
    found = adversarial_loss(encoder, blocks, contrast, 0.5, relative=True)
    ids = torch.cat([b.input_ids[b.attention_mask.bool()] for b in blocks])
    expected = 0.5 * encoder.get_parameter("embeddings.weight")[ids].norm(dim=1).mean()
    assert found.epsilon.item() == pytest.approx(expected.item(), rel=1e-5)
    assert mean_token_norm(encoder, blocks).item() == pytest.approx(2 * expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_loss_reaches_the_weights(kind: str) -> None:
    encoder = make(kind)
    adversarial_loss(encoder, batch(), contrast, 0.3).adversarial.backward()
    gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert sum(float(g.to_dense().abs().sum()) for g in gradients) > 0
