"""Passes against plain autograd, finite differences and a count of what autograd keeps."""

import copy
import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from training.assembly import new_encoder
from training.config import EncoderSection
from training.contrastive import info_nce
from training.model import Encoder
from training.passes import Block, Noise, Passes, PassResult

KINDS = ("static", "transformer")


def make(kind: str, *, dropout: float = 0.0) -> Encoder:
    torch.manual_seed(1)
    section = EncoderSection(kind=kind, dim=16, max_tokens=24, layers=2, heads=2)  # type: ignore[arg-type]
    encoder = new_encoder(section, vocab_size=50, pad_id=0).train()
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return encoder


def batch(pairs: int = 10, seq: int = 7) -> list[Block]:
    generator = torch.Generator().manual_seed(3)
    blocks = []
    for _ in range(2):
        lengths = torch.randint(1, seq + 1, (pairs,), generator=generator)
        mask = (torch.arange(seq) < lengths[:, None]).long()
        ids = torch.randint(1, 50, (pairs, seq), generator=generator) * mask
        blocks.append(Block(ids, mask))
    return blocks


def contrast(vectors: Sequence[Tensor]) -> Tensor:
    return info_nce(vectors[0], vectors[1], 0.1)


def gradients(encoder: Encoder) -> dict[str, Tensor]:
    return {
        name: parameter.grad.to_dense().clone()
        for name, parameter in encoder.named_parameters()
        if parameter.grad is not None
    }


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], factor: float = 1) -> None:
    assert found.keys() == expected.keys()
    assert found
    for name, gradient in found.items():
        size = expected[name].abs().max().item()
        assert torch.allclose(gradient, factor * expected[name], atol=1e-5 * size + 1e-7), name


def plain(encoder: Encoder, blocks: list[Block], noises: list[Tensor] | None = None) -> Tensor:
    """Compute the loss and its gradients by one forward and one backward."""
    vectors = []
    for index, block in enumerate(blocks):
        points, mask = encoder.noise_points(block.input_ids, block.attention_mask)
        if noises is not None:
            points = points + noises[index]
        vectors.append(encoder.pool_from_embeddings(points, mask))
    loss = contrast(vectors)
    loss.backward()
    return loss.detach()


def noises_of(encoder: Encoder, blocks: list[Block]) -> list[Tensor]:
    torch.manual_seed(5)
    shapes = [encoder.noise_points(b.input_ids, b.attention_mask)[0].shape for b in blocks]
    return [0.3 * torch.randn(shape) for shape in shapes]


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("chunk", [0, 1, 3, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_backward_gradients_equal_plain_autograd(kind: str, chunk: int, noisy: bool) -> None:
    encoder, blocks = make(kind), batch()
    reference = copy.deepcopy(encoder)
    noises = noises_of(encoder, blocks) if noisy else None
    if noises is not None:
        for noise in noises:
            noise.requires_grad_()
    expected = plain(reference, blocks, noises)
    found = Passes(encoder, chunk=chunk).backward(
        blocks,
        contrast,
        weight=0.25,
        noise=Noise([n.detach() for n in noises]) if noises else None,
        want_gradients=noisy,
    )
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_close(gradients(encoder), gradients(reference), 0.25)
    assert len(found.noise_gradients) == (2 if noisy else 0)
    for mine, noise in zip(found.noise_gradients, noises or [], strict=True):
        assert noise.grad is not None  # the gradient of noise is not weighted
        assert torch.allclose(mine, noise.grad, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_backward_twice_adds_up(kind: str) -> None:
    encoder, blocks = make(kind), batch()
    reference = copy.deepcopy(encoder)
    plain(reference, blocks)
    for chunk, weight in ((0, 0.25), (3, 0.75)):
        Passes(encoder, chunk=chunk).backward(blocks, contrast, weight=weight)
    assert_close(gradients(encoder), gradients(reference))


@pytest.mark.parametrize("chunk", [0, 3])
def test_backward_with_dropout_equals_finite_differences(chunk: int) -> None:
    """The gradient is the slope of the loss, as it is only if both encodings agree."""
    encoder, blocks = make("transformer", dropout=0.2).double(), batch(pairs=5)
    passes = Passes(encoder, chunk=chunk, seed=7)
    torch.manual_seed(0)
    direction = [torch.randn_like(parameter) for parameter in encoder.parameters()]
    passes.backward(blocks, contrast)
    slope = sum(
        float((parameter.grad * along).sum())
        for parameter, along in zip(encoder.parameters(), direction, strict=True)
        if parameter.grad is not None
    )
    values = []
    for step in (1e-5, -1e-5):
        moved = copy.deepcopy(encoder)
        with torch.no_grad():
            for parameter, along in zip(moved.parameters(), direction, strict=True):
                parameter.add_(step * along)
        values.append(Passes(moved, chunk=chunk, seed=7).backward(blocks, contrast, weight=0).loss)
    assert slope == pytest.approx(float(values[0] - values[1]) / 2e-5, rel=1e-5)
    other = Passes(encoder, chunk=chunk, seed=8).backward(blocks, contrast, weight=0).loss
    assert abs(float(other - values[0])) > 1e-3  # dropout was on


def test_backward_weight_zero_leaves_parameters_alone() -> None:
    encoder, blocks = make("transformer"), batch()
    expected = Passes(encoder).backward(blocks, contrast, want_gradients=True)
    encoder.zero_grad(set_to_none=True)
    for chunk in (0, 3):
        found = Passes(encoder, chunk=chunk).backward(
            blocks, contrast, weight=0.0, want_gradients=True
        )
        assert not gradients(encoder)
        for mine, other in zip(found.noise_gradients, expected.noise_gradients, strict=True):
            assert mine.abs().max() > 0
            assert torch.allclose(mine, other, atol=1e-6)


@pytest.mark.parametrize("chunk", [0, 4])
def test_backward_parameters_of_the_loss_learn_once(chunk: int) -> None:
    encoder, blocks = make("transformer"), batch()
    factor = nn.Parameter(torch.tensor(2.0))
    found = Passes(encoder, chunk=chunk).backward(
        blocks, lambda vectors: contrast(vectors) * factor, weight=0.5
    )
    assert factor.grad is not None
    assert factor.grad.item() == pytest.approx(0.5 * found.loss.item() / 2.0, rel=1e-6)


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_backward_states_loss_and_noise_at_states_equal_plain_autograd(
    kind: str, chunk: int
) -> None:
    encoder, blocks = make(kind), batch()
    reference = copy.deepcopy(encoder)
    targets = torch.linspace(-1, 1, 10)

    def of_states(index: int, rows: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        means = (states * mask[..., None]).sum(1).mean(1)  # (texts,)
        return (index + 1) * ((means - targets[rows]) ** 2).sum()

    noises = noises_of(encoder, blocks)
    vectors, extra = [], torch.zeros(())
    for index, block in enumerate(blocks):
        points, mask = reference.noise_points(block.input_ids, block.attention_mask)
        states = reference.token_states(points, mask) + noises[index]
        extra = extra + of_states(index, torch.arange(10), states, mask)
        vectors.append(reference.pool(states, mask))
    (contrast(vectors) + extra).backward()
    found = Passes(encoder, chunk=chunk).backward(
        blocks, contrast, noise=Noise(noises, at="states"), states_loss=of_states
    )
    assert found.states_loss.item() == pytest.approx(extra.item(), rel=1e-5)
    assert_close(gradients(encoder), gradients(reference))


class Meter:
    """Counts the bytes that autograd keeps between forward and backward, weights apart."""

    def __init__(self, encoder: Encoder) -> None:
        self.now = self.peak = 0
        self._weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}

    def pack(self, tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        kept = tensor.view_as(tensor)
        size = kept.nbytes
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(kept, self._drop, size)
        return kept

    def _drop(self, size: int) -> None:
        self.now -= size


def peak_bytes(encoder: Encoder, blocks: list[Block], chunk: int) -> tuple[int, PassResult]:
    meter = Meter(encoder)
    with torch.autograd.graph.saved_tensors_hooks(meter.pack, lambda tensor: tensor):
        found = Passes(encoder, chunk=chunk).backward(blocks, lambda v: (v[0] * v[1]).sum())
    return meter.peak, found


def test_backward_cached_keeps_the_activations_of_one_chunk() -> None:
    encoder = make("transformer")
    small, _ = peak_bytes(encoder, batch(64), 64)
    chunked, _ = peak_bytes(encoder, batch(8192), 64)
    # Beside a chunk's activations the loss of all vectors keeps two of them.
    vectors = 2 * 8192 * 16 * 4
    assert chunked <= 1.2 * small + vectors
    plain_bytes, _ = peak_bytes(encoder, batch(1024), 0)
    assert chunked - vectors < plain_bytes / 8


@pytest.mark.parametrize("chunk", [0, 4])
def test_backward_bf16_autocast_is_near_float32_and_returns_float32(chunk: int) -> None:
    encoder, blocks = make("transformer"), batch()
    exact = Passes(encoder).backward(blocks, contrast)
    reference = gradients(encoder)
    encoder.zero_grad(set_to_none=True)
    found = Passes(encoder, chunk=chunk, precision=torch.bfloat16).backward(blocks, contrast)
    assert found.loss.dtype == found.vectors[0].dtype == torch.float32
    assert 0 < abs(found.loss.item() - exact.loss.item()) < 0.1
    mine = torch.cat([g.flatten() for g in gradients(encoder).values()])
    other = torch.cat([g.flatten() for g in reference.values()])
    assert torch.cosine_similarity(mine, other, dim=0) > 0.99


def test_backward_scale_multiplies_gradients_but_not_those_of_noise() -> None:
    encoder, blocks = make("transformer"), batch()
    reference = copy.deepcopy(encoder)
    plain(reference, blocks)
    exact = Passes(reference).backward(blocks, contrast, weight=0, want_gradients=True)
    found = Passes(encoder, scale=1024.0).backward(blocks, contrast, want_gradients=True)
    assert_close(gradients(encoder), gradients(reference), 1024.0)
    for mine, other in zip(found.noise_gradients, exact.noise_gradients, strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_backward_leaves_the_random_state_alone() -> None:
    encoder = make("transformer", dropout=0.1)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    Passes(encoder, chunk=3).backward(batch(), contrast)
    assert torch.equal(torch.get_rng_state(), before)
