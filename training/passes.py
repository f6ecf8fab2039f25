"""A pass: encode all sides of a batch, compute one loss of their vectors, add its gradient.

A step of training is a few passes (clean, under adversarial noise, under random noise), each of
which adds its weighted gradient to the parameters at once: a step holds the activations of one pass
at a time, whatever it is made of.

With ``chunk`` a pass holds the activations of that many texts alone (gradient caching): all texts
are encoded without graph, the loss is differentiated down to the vectors, and then each chunk is
encoded again, with graph, and the gradient of its vectors is pushed through. The numbers are the
same, dropout included, for each chunk is seeded by its place; what is traded away is the time of a
second encoding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from training import distributed
from training.gradients import sparse_sums
from training.model import Encoder

MOST_BLOCKS = 8  # of a pass; keeps the seeds of chunks apart, alike in all passes

LossOf = Callable[[Sequence[Tensor]], Tensor]
"""From the unit rows of each block, each (all texts, dim), to a scalar."""

StatesLoss = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""From block index, rows (texts,) of the block in this process, their token states
(texts, seq, dim) and mask (texts, seq) to their share of a loss; the shares are summed."""


@dataclass(frozen=True, slots=True)
class Block:
    """One side of a batch in this process.

    Attributes:
        input_ids: Shape (texts, seq).
        attention_mask: Shape (texts, seq).
        first: Row of the whole batch that the first text is.
        rows: Texts of this side in the whole batch; 0: there are no others.
    """

    input_ids: Tensor
    attention_mask: Tensor
    first: int = 0
    rows: int = 0

    @property
    def all_rows(self) -> int:
        """Texts of this side in the whole batch."""
        return self.rows or len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Noise:
    """What is added on the way from tokens to vectors.

    Attributes:
        values: A tensor for each block, of the shape of its noise points (``at`` embeddings) or of
            its token states (``at`` states).
        at: Where it is added.
    """

    values: Sequence[Tensor]
    at: Literal["embeddings", "states"] = "embeddings"


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass leaves beside gradients; all without graph.

    Attributes:
        loss: Of the vectors of all processes, a scalar.
        states_loss: Of the token states of this process, a scalar.
        noise_gradients: Of the unweighted loss with respect to each block's noise points, if they
            were wanted.
        vectors: Unit rows of each block in this process, shape (texts, dim).
    """

    loss: Tensor
    states_loss: Tensor
    noise_gradients: list[Tensor]
    vectors: list[Tensor]


@dataclass(frozen=True, slots=True)
class Passes:
    """How the passes of one step are made.

    Attributes:
        encoder: In the mode in which it is trained.
        chunk: Texts whose activations are held at a time; 0: all.
        precision: Of autocast; None: none. Pooling and loss are always in float32.
        scale: Factor of all gradients, against underflow in float16.
        seed: Of dropout; the same in each pass, so that passes differ by their noise alone.
    """

    encoder: Encoder
    chunk: int = 0
    precision: torch.dtype | None = None
    scale: float = 1.0
    seed: int = 0

    def backward(
        self,
        blocks: Sequence[Block],
        loss_of: LossOf,
        *,
        weight: float = 1.0,
        noise: Noise | None = None,
        want_gradients: bool = False,
        states_loss: StatesLoss | None = None,
    ) -> PassResult:
        """Encode, compute the loss and add ``weight`` times its gradient to the parameters'.

        Args:
            blocks: The sides of the batch.
            loss_of: From the vectors of all processes to the loss.
            weight: Of the gradient; with 0 the parameters are left alone.
            noise: Added to embeddings or states.
            want_gradients: Also differentiate by the noise points.
            states_loss: Added to the loss, with the same weight.

        References:
            Gao et al. 2021, section 3.2, https://arxiv.org/abs/2101.06983.
        """
        run = _Pass(self, blocks, weight, noise, want_gradients, states_loss)
        chunks = list(_chunks(blocks, self.chunk, self.seed))
        differentiate = bool(weight) or want_gradients
        cached = bool(self.chunk) or not differentiate
        with _forked_rng(blocks[0].input_ids.device), sparse_sums(self.encoder):
            # First the vectors; kept with their graph only if all texts are encoded at once.
            kept: list[_Encoded | None] = []
            parts: list[list[Tensor]] = [[] for _ in blocks]
            with torch.set_grad_enabled(not cached):
                for chunk in chunks:
                    found = run.encode(chunk)
                    parts[chunk.block].append(found.vectors.detach())
                    kept.append(None if cached else found)
            leaves = [_joined(part, chunks, index) for index, part in enumerate(parts)]
            # Then the loss, down to the vectors.
            with torch.set_grad_enabled(differentiate):
                loss = loss_of([distributed.gather_rows(leaf) for leaf in leaves])
            result = PassResult(
                loss.detach(), torch.zeros_like(loss), [], [leaf.detach() for leaf in leaves]
            )
            # Then from the vectors to parameters and noise, chunk by chunk.
            if differentiate:
                gradients = run.differentiate(loss, leaves)
                for chunk, found in zip(chunks, kept, strict=True):
                    gradient = gradients[chunk.block][chunk.rows]
                    run.push(chunk, found or run.encode(chunk), gradient, result)
        return result


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some texts of a block: their rows, the columns that they need, and the seed of dropout."""

    block: int
    rows: Tensor
    width: int
    seed: int
    whole: bool = False

    def of(self, values: Tensor) -> Tensor:
        """Cut (texts of the block, seq, ...) to the chunk; the whole block is not copied."""
        return values if self.whole else values[self.rows, : self.width]


@dataclass(frozen=True, slots=True)
class _Encoded:
    vectors: Tensor  # (texts, dim)
    states: Tensor  # (texts, seq, dim)
    mask: Tensor  # (texts, seq)
    added: Tensor | None  # to the noise points, a leaf: (texts, points, dim_in)


@dataclass(frozen=True, slots=True)
class _Pass:
    """The parts of one call of ``Passes.backward``."""

    setup: Passes
    blocks: Sequence[Block]
    weight: float
    noise: Noise | None
    want_gradients: bool
    states_loss: StatesLoss | None

    @property
    def factor(self) -> float:
        """What gradients are multiplied by; those of noise alone are not weighted."""
        return (self.weight or 1.0) * self.setup.scale

    def encode(self, chunk: _Chunk) -> _Encoded:
        """Encode a chunk, always with the same random numbers."""
        block, encoder, precision = (
            self.blocks[chunk.block],
            self.setup.encoder,
            self.setup.precision,
        )
        ids, mask = chunk.of(block.input_ids), chunk.of(block.attention_mask)
        noise, at = None, self.noise.at if self.noise else ""
        if self.noise is not None:
            noise = chunk.of(self.noise.values[chunk.block])
        torch.manual_seed(chunk.seed)
        added = None
        # Entered anew each time: autocast keeps casts of weights, those made without graph too.
        with torch.autocast(
            ids.device.type, precision or torch.bfloat16, enabled=precision is not None
        ):
            points, mask = encoder.noise_points(ids, mask)
            if at == "embeddings" or self.want_gradients:
                start = noise if noise is not None and at == "embeddings" else None
                added = torch.zeros_like(points) if start is None else start.detach()
                added = added.requires_grad_(self.want_gradients)
                points = points + added
            states = encoder.token_states(points, mask)
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        if noise is not None and at == "states":
            states = states + noise
        return _Encoded(encoder.pool(states, mask), states, mask, added)

    def differentiate(self, loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradient of the weighted and scaled loss for each leaf."""
        scaled = loss * self.factor
        if self.weight:
            scaled.backward()  # parameters of the loss itself, such as a temperature, learn too
            found: Sequence[Tensor | None] = [leaf.grad for leaf in leaves]
        else:
            found = torch.autograd.grad(scaled, list(leaves), allow_unused=True)
        pairs = zip(leaves, found, strict=True)
        return [torch.zeros_like(leaf) if part is None else part for leaf, part in pairs]

    def push(self, chunk: _Chunk, encoded: _Encoded, gradient: Tensor, result: PassResult) -> None:
        """Send the gradient of a chunk's vectors on to parameters and noise."""
        pushed = (encoded.vectors * gradient).sum()
        if self.states_loss is not None:
            share = self.states_loss(chunk.block, chunk.rows, encoded.states, encoded.mask)
            result.states_loss.add_(share.detach())
            pushed = pushed + self.factor * share
        wanted = encoded.added if self.want_gradients else None
        if self.weight:
            pushed.backward()
            moved = None if wanted is None else wanted.grad
        else:
            moved = None if wanted is None else torch.autograd.grad(pushed, [wanted])[0]
        if moved is not None:
            self._note(chunk, moved / self.factor, result)

    def _note(self, chunk: _Chunk, gradient: Tensor, result: PassResult) -> None:
        if len(result.noise_gradients) == chunk.block:
            mask = self.blocks[chunk.block].attention_mask
            points = self.setup.encoder.noise_counts(mask, mask)[0].shape[1]
            shape = (len(mask), points, gradient.shape[-1])
            result.noise_gradients.append(gradient.new_zeros(shape))
        if self.setup.scale != 1.0:
            # An overflow in float16 is no error: the step will be skipped and the scale lowered.
            gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        result.noise_gradients[chunk.block][chunk.rows, : gradient.shape[1]] = gradient


def _chunks(blocks: Sequence[Block], size: int, seed: int) -> Iterator[_Chunk]:
    """Cut each block into chunks of texts of similar length."""
    for index, block in enumerate(blocks):
        texts, seq = block.input_ids.shape
        device = block.input_ids.device
        if not size:
            yield _Chunk(index, torch.arange(texts, device=device), seq, seed + index, whole=True)
            continue
        places = torch.arange(1, seq + 1, device=device)
        widths = (block.attention_mask * places).amax(dim=1).clamp(min=1)  # (texts,)
        widths, order = widths.sort(descending=True, stable=True)
        # The longest text of each chunk comes first in it; one copy to the host for all of them.
        for number, width in enumerate(widths[::size].tolist()):
            rows = order[number * size : (number + 1) * size]
            yield _Chunk(index, rows, width, seed + index + MOST_BLOCKS * number)


def _joined(parts: Sequence[Tensor], chunks: Sequence[_Chunk], index: int) -> Tensor:
    """Put the vectors of a block's chunks back in the order of its texts, as a leaf."""
    joined = torch.cat(list(parts))
    rows = torch.cat([chunk.rows for chunk in chunks if chunk.block == index])
    return torch.empty_like(joined).index_copy_(0, rows, joined).requires_grad_()


def _forked_rng(device: torch.device) -> Any:
    """Leave the random state of the CPU and of the device as it was."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
