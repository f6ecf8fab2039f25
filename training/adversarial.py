"""Worst-case noise on token embeddings: the loss is also minimized where it is locally worst.

Noise lives in a ball around the clean embeddings: L2 at each token, Frobenius over a text, or a
bound of each entry. FGM takes one step of gradient ascent to its surface, with the gradient that
the clean pass computes anyway; PGD takes several steps, each projected back; FreeLB learns from the
gradients at all of its steps. Special tokens and padding stay where they are. What it trades away:
2, K + 2 and K + 1 passes a step in place of one.

A static encoder has one noise point for a text, the mean of its tokens, which can go just where
noise at the tokens can move it: with m movable of n tokens, radius r at each token moves the mean
by r m / n, and radius r over the text by r sqrt(m) / n. That factor is the ``reach`` of a point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training import distributed
from training.config import AdversarialSection
from training.draws import Draws, spread_rows
from training.model import Encoder
from training.passes import Block, LossOf, Noise, Passes

Norm = Literal["token", "sequence", "max"]


@dataclass(frozen=True, slots=True)
class Ball:
    """Where the noise of a block may be.

    With u = noise / reach: ``token`` bounds the L2 norm of u at each point, ``sequence`` its
    Frobenius norm over the points of a text, ``max`` each of its entries.

    Attributes:
        norm: Which of these.
        radius: Bound of that norm, a scalar.
        reach: Factor of each point, 0 where nothing may move, shape (batch, points, 1).
    """

    norm: Norm
    radius: Tensor
    reach: Tensor

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the noise in the ball along which the loss rises most, to first order.

        Args:
            gradient: Of the loss, shape (batch, points, dim).

        Returns:
            Noise on the surface of the ball; 0 where the gradient is 0 or nothing may move.

        References:
            Miyato, Dai and Goodfellow 2017, equation 3, https://arxiv.org/abs/1605.07725; for the
            entries Goodfellow et al. 2015, section 4, https://arxiv.org/abs/1412.6572.
        """
        steepest = self.reach * gradient
        if self.norm == "max":
            return self.radius * self.reach * steepest.sign()
        return self.radius * self.reach * self._unit(steepest)

    def project(self, noise: Tensor) -> Tensor:
        """Return the nearest noise in the ball (with ``reach`` as the unit of each point)."""
        inside = self._inside(noise)
        if self.norm == "max":
            inside = inside.clamp(-self.radius, self.radius)
        else:
            size = inside.norm(dim=self._dims, keepdim=True)
            inside = inside * (self.radius / size.clamp(min=self.radius)).clamp(max=1.0)
        return self.reach * inside

    def sample(self, share: float, dim: int, draws: Draws) -> Tensor:
        """Draw noise of norm ``share`` of the radius (``max``: uniform up to it)."""
        shape = (*self.reach.shape[:2], dim)
        drawn = 2 * draws.uniform(shape, self.reach.device) - 1
        drawn = drawn * (self.reach > 0)
        if self.norm != "max":
            drawn = self._unit(drawn)
        return share * self.radius * self.reach * drawn

    def size(self, noise: Tensor) -> Tensor:
        """Return the norm of noise: (batch, points, 1) for ``token``, else (batch, 1, 1)."""
        inside = self._inside(noise)
        if self.norm == "max":
            return inside.abs().amax(dim=(1, 2), keepdim=True)
        return inside.norm(dim=self._dims, keepdim=True)

    @property
    def _dims(self) -> tuple[int, ...]:
        return (1, 2) if self.norm == "sequence" else (2,)

    def _inside(self, noise: Tensor) -> Tensor:
        """Return noise in units of its reach."""
        return torch.where(self.reach > 0, noise / self.reach, 0.0)

    def _unit(self, values: Tensor) -> Tensor:
        """Scale to norm 1; the largest entry first, so that squares of tiny ones are not lost."""
        tiny = torch.finfo(values.dtype).tiny
        values = values / values.abs().amax(dim=self._dims, keepdim=True).clamp(min=tiny)
        return values / values.norm(dim=self._dims, keepdim=True).clamp(min=tiny)


@dataclass(frozen=True, slots=True)
class AdversarialResult:
    """What adversarial training reports of a step.

    Attributes:
        loss: Under noise, a scalar; the mean over the steps for FreeLB.
        radius: In units of the embeddings.
        relative_radius: In mean token norms of the batch.
    """

    loss: Tensor
    radius: Tensor
    relative_radius: Tensor


class Adversary:
    """Adversarial training as one table of the configuration asks for it."""

    def __init__(self, section: AdversarialSection, special_ids: Sequence[int] = ()) -> None:
        self.section = section
        self._special_ids = tuple(special_ids)

    @property
    def wants_clean_gradients(self) -> bool:
        """Whether the first step is taken with the gradient of the clean pass."""
        method = self.section.method
        return method == "fgm" or (method == "pgd" and self.section.start == 0.0)

    def run(
        self,
        passes: Passes,
        blocks: Sequence[Block],
        loss_of: LossOf,
        clean_gradients: Sequence[Tensor],
        draws: Draws,
    ) -> AdversarialResult:
        """Add ``weight`` times the gradient of the loss under noise to the parameters'.

        Args:
            passes: Of this step.
            blocks: The sides of the batch.
            loss_of: From their vectors to the loss.
            clean_gradients: Of the clean loss by each block's noise points, if wanted.
            draws: Of the first noise.

        References:
            PGD: Madry et al. 2018, section 2.1, https://arxiv.org/abs/1706.06083. FreeLB: Zhu et
            al. 2020, algorithm 1, https://arxiv.org/abs/1909.11764; its ball is ``sequence``, and
            the clean loss that is added here is not in it.
        """
        section = self.section
        token_norm = mean_token_norm(passes.encoder, blocks)
        radius = section.epsilon * (token_norm if section.relative else torch.ones_like(token_norm))
        balls = self.balls(passes.encoder, blocks, radius)
        attack = _Attack(section, passes, blocks, loss_of, balls)
        if section.method == "freelb":
            loss = attack.learn_on_the_way(attack.start(draws))
            return AdversarialResult(loss, radius, radius / token_norm)
        if section.method == "fgm":
            noise = [ball.ascent(g) for ball, g in zip(balls, clean_gradients, strict=True)]
        else:
            noise = attack.climb(attack.start(draws), clean_gradients)
        found = passes.backward(blocks, loss_of, weight=section.weight, noise=Noise(noise))
        return AdversarialResult(found.loss, radius, radius / token_norm)

    def balls(self, encoder: Encoder, blocks: Sequence[Block], radius: Tensor) -> list[Ball]:
        """Return where the noise of each block may be."""
        balls = []
        for block in blocks:
            movable = movable_tokens(block, self._special_ids)
            moving, total = encoder.noise_counts(movable, block.attention_mask)  # (batch, points)
            share = moving.sqrt() if self.section.norm == "sequence" else moving
            balls.append(Ball(self.section.norm, radius, (share / total)[..., None]))
        return balls


@dataclass(frozen=True, slots=True)
class _Attack:
    """Steps of noise against one batch."""

    section: AdversarialSection
    passes: Passes
    blocks: Sequence[Block]
    loss_of: LossOf
    balls: Sequence[Ball]

    def start(self, draws: Draws) -> list[Tensor]:
        """Draw the first noise."""
        one = self.passes.encoder.token_embeddings(self.blocks[0].input_ids[:1, :1])
        dim = one.shape[-1]
        return [
            ball.sample(self.section.start, dim, draws.of(block))
            for ball, block in zip(self.balls, self.blocks, strict=True)
        ]

    def climb(self, noise: Sequence[Tensor], first: Sequence[Tensor]) -> list[Tensor]:
        """Take the steps of PGD; ``first``: gradients at the first noise, if they are known."""
        gradients = first
        for _ in range(self.section.steps):
            if not gradients:
                gradients = self.passes.backward(
                    self.blocks, self.loss_of, weight=0.0, noise=Noise(noise), want_gradients=True
                ).noise_gradients
            noise = advance(self.balls, noise, gradients, self.section.step_size)
            gradients = ()
        return list(noise)

    def learn_on_the_way(self, noise: Sequence[Tensor]) -> Tensor:
        """Take the steps of FreeLB, each also a step's share of learning; returns the mean loss."""
        losses = []
        for step in range(self.section.steps):
            found = self.passes.backward(
                self.blocks,
                self.loss_of,
                weight=self.section.weight / self.section.steps,
                noise=Noise(noise),
                want_gradients=step + 1 < self.section.steps,
            )
            losses.append(found.loss)
            if found.noise_gradients:
                noise = advance(self.balls, noise, found.noise_gradients, self.section.step_size)
        return torch.stack(losses).mean()


def advance(
    balls: Sequence[Ball], noise: Sequence[Tensor], gradients: Sequence[Tensor], step_size: float
) -> list[Tensor]:
    """Take one step of ``step_size`` radii up the gradient and back into the ball."""
    return [
        ball.project(place + step_size * ball.ascent(gradient))
        for ball, place, gradient in zip(balls, noise, gradients, strict=True)
    ]


def movable_tokens(block: Block, special_ids: Sequence[int]) -> Tensor:
    """Mark the tokens that are neither padding nor special, shape (batch, seq)."""
    if not special_ids:
        return block.attention_mask
    special = torch.tensor(special_ids, device=block.input_ids.device)
    return block.attention_mask * ~torch.isin(block.input_ids, special)


@torch.no_grad()
def mean_token_norm(encoder: Encoder, blocks: Sequence[Block], sample: int = 8192) -> Tensor:
    """Return the mean L2 norm of the embeddings of some tokens of the whole batch.

    Args:
        encoder: Whose embeddings.
        blocks: Of this process.
        sample: Tokens to look at, padding counted; whole texts are taken.
    """
    texts = sample // sum(block.input_ids.shape[1] for block in blocks)
    chosen = [(block, spread_rows(block, texts)) for block in blocks]
    ids = torch.cat([b.input_ids[rows][b.attention_mask[rows].bool()] for b, rows in chosen])
    norms = encoder.token_embeddings(ids[None]).norm(dim=-1)[0]  # (tokens,)
    both = distributed.total(torch.stack([norms.sum(), norms.new_tensor(float(len(norms)))]))
    return both[0] / both[1]
