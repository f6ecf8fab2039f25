"""Random noise on token embeddings or last states (RS-RP): the loss of noisy copies, averaged.

Where adversarial noise asks for the worst neighbor of a text, this asks for all of them alike; it
needs no gradient. Sigma is the standard deviation of an entry; relative, it is the size of a
token's whole noise, sqrt(E |noise|^2) = sigma of an entry times sqrt(dim), over the mean norm of
the batch's token embeddings (or states). Uniform noise of standard deviation sigma is on
[-sqrt(3) sigma, sqrt(3) sigma]. Special tokens stay where they are, but for noise on states, of
which a special token's may be the vector itself. What it trades away: a pass for each copy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training import distributed
from training.adversarial import mean_token_norm, movable_tokens
from training.config import SmoothingSection
from training.draws import Draws, spread_rows
from training.model import Encoder
from training.passes import Block, LossOf, Noise, Passes

SAMPLED_TEXTS = 32  # of each block, to measure the norm of token states
MOST_UNIFORM = 12  # draws of a sum that are made one by one; a sum of more is taken as normal


@dataclass(frozen=True, slots=True)
class SmoothingResult:
    """What smoothing reports of a step.

    Attributes:
        loss: Under noise, the mean over the copies, a scalar.
        sigma: Standard deviation of an entry of a token's noise.
        relative_sigma: Size of a token's noise in mean token norms.
    """

    loss: Tensor
    sigma: Tensor
    relative_sigma: Tensor


class Smoother:
    """Random smoothing as one table of the configuration asks for it."""

    def __init__(self, section: SmoothingSection, special_ids: Sequence[int] = ()) -> None:
        self.section = section
        self._special_ids = tuple(special_ids)

    def run(
        self,
        passes: Passes,
        blocks: Sequence[Block],
        loss_of: LossOf,
        draws: Draws,
    ) -> SmoothingResult:
        """Add ``weight`` times the mean gradient over the copies to the parameters'.

        References:
            Huang, Ahmad, Peng and Chang 2021, RS-RP, https://arxiv.org/abs/2104.08645.
        """
        section, encoder = self.section, passes.encoder
        norm, dim = self._token_norm(encoder, blocks)
        sigma = section.sigma * (norm / math.sqrt(dim) if section.relative else 1.0)
        sigma = torch.as_tensor(sigma, device=norm.device)
        losses = []
        for _ in range(section.copies):
            values = [self.draw(encoder, block, sigma, dim, draws) for block in blocks]
            found = passes.backward(
                blocks,
                loss_of,
                weight=section.weight / section.copies,
                noise=Noise(values, section.at),
            )
            losses.append(found.loss)
        return SmoothingResult(torch.stack(losses).mean(), sigma, sigma * math.sqrt(dim) / norm)

    def draw(self, encoder: Encoder, block: Block, sigma: Tensor, dim: int, draws: Draws) -> Tensor:
        """Draw noise for a block, shape (batch, points, dim).

        A point that is the mean of n tokens, m of them movable, gets the mean of their noises:
        Gaussian of sigma sqrt(m) / n; the sum of m uniform ones over n.
        """
        at_states = self.section.at == "states"
        movable = block.attention_mask if at_states else movable_tokens(block, self._special_ids)
        moving, total = encoder.noise_counts(movable, block.attention_mask)
        moving, total = moving[..., None], total[..., None]  # (batch, points, 1)
        shape = (*moving.shape[:2], dim)
        if self.section.noise == "gaussian":
            drawn = draws.of(block).normal(shape, sigma.device)
            return sigma * moving.sqrt() / total * drawn
        return sigma / total * _uniform_sum(moving, shape, draws.of(block))

    def _token_norm(self, encoder: Encoder, blocks: Sequence[Block]) -> tuple[Tensor, int]:
        """Return the mean norm that sigma is relative to, and the dimension of the noise."""
        if self.section.at == "embeddings" or encoder.config.kind == "static":
            one = encoder.token_embeddings(blocks[0].input_ids[:1, :1])
            return mean_token_norm(encoder, blocks), one.shape[-1]
        return mean_state_norm(encoder, blocks), encoder.state_dim


@torch.no_grad()
def mean_state_norm(encoder: Encoder, blocks: Sequence[Block]) -> Tensor:
    """Return the mean L2 norm of the last states of some texts of the whole batch, clean."""
    totals = torch.zeros(2, device=blocks[0].input_ids.device)
    was_training = encoder.training
    encoder.eval()
    for block in blocks:
        rows = spread_rows(block, SAMPLED_TEXTS)
        ids, mask = block.input_ids[rows], block.attention_mask[rows]
        if not len(ids):
            continue
        norms = encoder.token_states(encoder.token_embeddings(ids), mask).norm(dim=-1)
        totals += torch.stack([(norms * mask).sum(), mask.sum().to(norms.dtype)])
    encoder.train(was_training)
    totals = distributed.total(totals)
    return totals[0] / totals[1]


def _uniform_sum(counts: Tensor, shape: tuple[int, ...], draws: Draws) -> Tensor:
    """Sum ``counts`` uniform variables of variance 1, entry by entry.

    The sum of more than a dozen differs from a normal one of its variance by less than any batch
    can tell, and a normal one is one draw.
    """
    device = counts.device
    summed = torch.zeros(shape, device=device)
    few = counts <= MOST_UNIFORM
    normals = draws.fork()  # how many uniform ones are drawn depends on this process' texts
    for index in range(int(counts[few].max()) if bool(few.any()) else 0):
        drawn = draws.uniform(shape, device)
        summed += math.sqrt(12.0) * (drawn - 0.5) * (counts > index)
    if bool(few.all()):
        return summed
    return torch.where(few, summed, counts.sqrt() * normals.normal(shape, device))
