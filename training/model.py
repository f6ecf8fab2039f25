"""The encoder: token ids -> unit vectors, with hooks on the way where noise can be added.

``forward`` is ``pool`` after ``token_states`` after ``token_embeddings``; adversarial training and
smoothing put their perturbation between two of them. Two kinds: ``static`` (an embedding table and
a mean, thousands of texts per second on one core, but blind to word order) and ``transformer`` (any
transformers backbone, from a local folder or new).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from app.retrieval.store import Encode
from app.text.normalize import normalize
from training.checkpoint import EncoderConfig
from training.dense import Dense
from training.tokens import Role, tokenize_texts


class Encoder(nn.Module):
    """A text encoder; see the module's docstring for the two halves of ``forward``."""

    config: EncoderConfig

    @property
    def state_dim(self) -> int:
        """Entries of a token's last state; dense layers may make vectors of another size."""
        return self.config.dim

    def token_embeddings(self, input_ids: Tensor) -> Tensor:
        """Look the input embeddings up, (batch, seq) -> (batch, seq, dim_in)."""
        raise NotImplementedError

    def token_states(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the last hidden states, (batch, seq, dim_in) -> (batch, seq, dim)."""
        raise NotImplementedError

    def pool(self, token_states: Tensor, attention_mask: Tensor) -> Tensor:
        """Make one unit row of each text's states, (batch, seq, dim) -> (batch, dim)."""
        return F.normalize(masked_mean(token_states, attention_mask), dim=-1)

    def pool_from_embeddings(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode from (batch, seq, dim_in) and (batch, seq) to unit rows (batch, dim)."""
        return self.pool(self.token_states(token_embeddings, attention_mask), attention_mask)

    def noise_points(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what noise may be added to, and its mask, as ``token_states`` takes them.

        Shapes (batch, points, dim_in) and (batch, points); here each token is a point.
        """
        return self.token_embeddings(input_ids), attention_mask

    def noise_counts(self, movable: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Count the tokens that each point stands for.

        Args:
            movable: 1 at tokens that may move, shape (batch, seq).
            attention_mask: 1 at all tokens, shape (batch, seq).

        Returns:
            How many of a point's tokens may move, and how many tokens its value is the mean of (at
            least 1), both of shape (batch, points) and floating.
        """
        moving = (movable * attention_mask).float()
        return moving, torch.ones_like(moving)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode token ids and mask, both (batch, seq), to unit rows (batch, dim)."""
        return self.pool_from_embeddings(*self.noise_points(input_ids, attention_mask))


class StaticEncoder(Encoder):
    """An embedding table; a vector is the mean of the rows of a text's tokens."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.Embedding(config.vocab_size, config.dim)
        nn.init.normal_(self.embeddings.weight, std=config.dim**-0.5)  # rows of norm about 1

    def token_embeddings(self, input_ids: Tensor) -> Tensor:
        """See ``Encoder``."""
        return self.embeddings(input_ids)

    def token_states(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the embeddings: a token of a static encoder knows nothing of its neighbors."""
        return token_embeddings

    def noise_points(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of each text as its one point, (batch, 1, dim) and (batch, 1).

        The vector depends on the tokens through their mean alone, so all that noise at the tokens
        can do, noise at the mean can do, within a radius that follows from ``noise_counts``. It
        spares the (batch, seq, dim) block, which large batches cannot hold.
        """
        kept = attention_mask.bool()
        means = bag_mean(self.embeddings.weight, input_ids[kept], kept.sum(dim=1))
        return means[:, None], torch.ones_like(attention_mask[:, :1])

    def noise_counts(self, movable: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Encoder``; the one point of a text stands for all of its tokens."""
        moving = (movable * attention_mask).sum(dim=1, keepdim=True).float()  # (batch, 1)
        return moving, attention_mask.sum(dim=1, keepdim=True).float().clamp(min=1.0)


def bag_mean(table: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Average rows of a table over bags of ids, with a sparse gradient; no bag may be empty.

    Args:
        table: Shape (rows, dim).
        ids: Those of the first bag, then of the second, and so on, shape (ids,).
        lengths: Of each bag, shape (bags,).

    Returns:
        Shape (bags, dim).
    """
    return _BagMean.apply(table, ids, lengths)


class _BagMean(torch.autograd.Function):
    """Mean of rows of a table over bags of ids, with a coalesced sparse gradient.

    torch's own sparse gradient keeps one row for each token; here the rows of one token are summed
    first, by the same fast kernel, over the tokens sorted by id.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """Average; table (rows, dim), ids (tokens,), lengths (bags,) -> (bags, dim)."""
        ctx.save_for_backward(ids, lengths)
        ctx.shape = table.shape
        starts = lengths.cumsum(0) - lengths
        return F.embedding_bag(ids, table, starts, mode="mean")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Spread the (bags, dim) gradient over the rows that were used."""
        ids, lengths = ctx.saved_tensors
        shares = (grads[0] / lengths[:, None]).contiguous()  # (bags, dim)
        bags = torch.repeat_interleave(torch.arange(len(lengths), device=ids.device), lengths)
        ordered, order = ids.sort(stable=True)
        used, counts = torch.unique_consecutive(ordered, return_counts=True)
        summed = F.embedding_bag(bags[order], shares, counts.cumsum(0) - counts, mode="sum")
        gradient = torch.sparse_coo_tensor(
            used[None], summed, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return gradient, None, None


class TransformerEncoder(Encoder):
    """A transformers backbone, mean, first-token or last-token pooling, and dense layers if any."""

    def __init__(self, config: EncoderConfig, backbone: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.backbone: Any = backbone
        self.dense = nn.ModuleList(Dense(layer) for layer in config.dense)

    @property
    def state_dim(self) -> int:
        """See ``Encoder``."""
        return self.config.dense[0].inputs if self.config.dense else self.config.dim

    def token_embeddings(self, input_ids: Tensor) -> Tensor:
        """See ``Encoder``."""
        return self.backbone.get_input_embeddings()(input_ids)

    def token_states(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """See ``Encoder``."""
        return self.backbone(
            inputs_embeds=token_embeddings, attention_mask=attention_mask
        ).last_hidden_state  # (batch, seq, dim)

    def pool(self, token_states: Tensor, attention_mask: Tensor) -> Tensor:
        """See ``Encoder``; first and last token are those of the text, wherever the padding is."""
        pooled = self._pooled(token_states, attention_mask)  # (batch, hidden)
        for layer in self.dense:
            pooled = layer(pooled)  # (batch, outputs of the layer)
        return F.normalize(pooled, dim=-1)

    def _pooled(self, token_states: Tensor, attention_mask: Tensor) -> Tensor:
        if self.config.pooling == "mean":
            return masked_mean(token_states, attention_mask)
        order = torch.arange(1, token_states.shape[1] + 1, device=token_states.device)
        if self.config.pooling == "cls":
            order = -order
        # Padding comes after all tokens: below every place from the left or from the right.
        places = torch.where(attention_mask.bool(), order, -token_states.shape[1] - 1)
        chosen = places.argmax(dim=1)[:, None, None].expand(-1, 1, token_states.shape[2])
        return token_states.gather(1, chosen)[:, 0]


def masked_mean(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Average (batch, seq, dim) over the tokens that (batch, seq) marks, to (batch, dim)."""
    weights = attention_mask.to(states.dtype)  # (batch, seq)
    total = torch.einsum("bsd,bs->bd", states, weights)
    return total / weights.sum(dim=1, keepdim=True).clamp(min=1.0)


def as_encode(
    encoder: Encoder, tokenizer: Tokenizer, batch_size: int = 256, role: Role | None = None
) -> Encode:
    """Wrap an encoder and its tokenizer as a function from texts to unit rows.

    Args:
        encoder: Is run in evaluation mode, whatever mode it is in.
        tokenizer: Its own.
        batch_size: Texts of a forward pass.
        role: Whose prompt to put before each text; None: no prompt.
    """
    max_tokens = encoder.config.max_tokens
    prompt = encoder.config.prompts.get(role, "") if role else ""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        prompted = (normalize(prompt + text) for text in texts)
        table = tokenize_texts(tokenizer, prompted, encoder.config.pad_id)
        lengths = np.minimum(table.lengths, table.room(max_tokens))
        order = np.argsort(lengths, kind="stable")  # little padding within a batch
        vectors = np.zeros((len(lengths), encoder.config.dim), np.float32)
        device = next(encoder.parameters()).device
        # Dropout would make the vectors of an encoder under training random.
        was_training = encoder.training
        encoder.eval()
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                ids, mask = table.gather(table.offsets[rows], lengths[rows])
                block = encoder(
                    torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
                )  # (rows, dim)
                vectors[rows] = block.float().cpu().numpy()
        encoder.train(was_training)
        return vectors

    return encode
