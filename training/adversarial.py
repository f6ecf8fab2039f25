"""Worst-case noise on token embeddings: the loss is also minimized where it is locally worst.

FGM takes one step of the gradient ascent that adversarial training asks for: each token moves by
``epsilon`` along its own gradient, and the encoder must still find the right document. One step
costs one more forward and backward pass. Special tokens and padding stay where they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.model import Encoder

LossOf = Callable[[Sequence[Tensor]], Tensor]
"""From the unit rows of each block, each (batch, dim), to a scalar."""


@dataclass(frozen=True, slots=True)
class Block:
    """Token ids and mask of one side of a batch, both of shape (batch, seq)."""

    input_ids: Tensor
    attention_mask: Tensor


@dataclass(frozen=True, slots=True)
class AdversarialLoss:
    """What a step yields: the two losses and the radius used, in units of the embeddings."""

    clean: Tensor
    adversarial: Tensor
    epsilon: Tensor


def fgm_noise(gradient: Tensor, mask: Tensor, epsilon: Tensor | float) -> Tensor:
    """Scale a gradient to norm ``epsilon`` at each token that may move.

    Args:
        gradient: Of the loss with respect to the token embeddings, shape (batch, seq, dim).
        mask: 1 where a token may move, shape (batch, seq).
        epsilon: L2 norm of the noise at each such token, in units of the embeddings.

    Returns:
        Noise of the gradient's shape; 0 at the other tokens and where the gradient is 0.

    References:
        Miyato, Dai and Goodfellow 2017, equation 3, https://arxiv.org/abs/1605.07725; here for
        each token in place of the whole sequence.
    """
    gradient = gradient * mask[..., None].to(gradient.dtype)
    norms = gradient.norm(dim=-1, keepdim=True)  # (batch, seq, 1)
    return epsilon * gradient / norms.clamp(min=torch.finfo(gradient.dtype).tiny)


def adversarial_loss(
    encoder: Encoder,
    blocks: Sequence[Block],
    loss_of: LossOf,
    epsilon: float,
    *,
    relative: bool = True,
    special_ids: Sequence[int] = (),
) -> AdversarialLoss:
    """Compute the loss on clean texts and on texts moved against it by one step of FGM.

    Args:
        encoder: In the mode in which it is trained.
        blocks: The sides of the batch.
        loss_of: From their vectors to the loss.
        epsilon: Radius at each token.
        relative: Take the radius in units of the mean norm of the batch's token embeddings.
        special_ids: Tokens that may not move, beside padding.

    Returns:
        Both losses, to be weighted and differentiated; the noise itself is a constant.
    """
    points = [encoder.noise_points(block.input_ids, block.attention_mask) for block in blocks]
    clean = loss_of([encoder.pool_from_embeddings(*point) for point in points])
    gradients = torch.autograd.grad(clean, [place for place, _ in points], retain_graph=True)
    radius = torch.tensor(epsilon, device=clean.device)
    if relative:
        radius = radius * mean_token_norm(encoder, blocks)
    moved = []
    for block, (places, mask), gradient in zip(blocks, points, gradients, strict=True):
        free = mask
        if special_ids and mask.shape == block.input_ids.shape:
            special = torch.tensor(special_ids, device=mask.device)
            free = mask * ~torch.isin(block.input_ids, special)
        moved.append(encoder.pool_from_embeddings(places + fgm_noise(gradient, free, radius), mask))
    return AdversarialLoss(clean, loss_of(moved), radius)


@torch.no_grad()
def mean_token_norm(encoder: Encoder, blocks: Sequence[Block], sample: int = 4096) -> Tensor:
    """Return the mean L2 norm of the embeddings of the batch's first tokens."""
    ids = torch.cat([block.input_ids[block.attention_mask.bool()] for block in blocks])
    return encoder.token_embeddings(ids[None, :sample]).norm(dim=-1).mean()
