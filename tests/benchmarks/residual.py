"""A transformer that begins as the static table it goes on from."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from torch import Tensor, nn

from training.checkpoint import EncoderConfig
from training.model import Encoder, masked_mean


class Layer(nn.Module):
    """Pre-norm self-attention and a feed-forward net, both added to what comes in."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.net_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix_in, self.mix_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.net_in, self.net_out = nn.Linear(width, hidden), nn.Linear(hidden, width)
        for last in (self.mix_out, self.net_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Move (batch, seq, width); mask is (batch, 1, 1, seq), True at real tokens."""
        batch, seq, width = states.shape
        parts = self.mix_in(self.attention_norm(states)).chunk(3, dim=-1)
        heads = [p.view(batch, seq, self.heads, width // self.heads).transpose(1, 2) for p in parts]
        mixed = F.scaled_dot_product_attention(*heads, attn_mask=mask)  # (batch, heads, seq, ..)
        states = states + self.mix_out(mixed.transpose(1, 2).reshape(batch, seq, width))
        return states + self.net_out(F.gelu(self.net_in(self.net_norm(states))))


class ResidualTransformer(Encoder):
    """A narrow table, transformer layers that begin as the identity, a mean, a projection."""

    def __init__(self, config: EncoderConfig, table: Tensor, width: int, layers: int) -> None:
        super().__init__()
        self.config = config
        # The best rank-width copy of the table: its first vectors are nearly the same.
        _, _, right = torch.linalg.svd(table.T @ table)
        self.embeddings = nn.Embedding.from_pretrained(table @ right[:width].T, freeze=False)
        self.up = nn.Linear(width, config.dim, bias=False)
        self.up.weight.data.copy_(right[:width].T)
        self.positions = nn.Parameter(torch.zeros(config.max_tokens, width))
        self.layers = nn.ModuleList(Layer(width, width // 64, 2 * width) for _ in range(layers))

    def token_embeddings(self, input_ids: Tensor) -> Tensor:
        """See ``Encoder``."""
        return self.embeddings(input_ids)

    def pool_from_embeddings(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """See ``Encoder``."""
        states = token_embeddings + self.positions[: token_embeddings.shape[1]]
        seen = attention_mask.bool()[:, None, None]
        for layer in self.layers:
            states = layer(states, seen)
        return F.normalize(self.up(masked_mean(states, attention_mask)), dim=-1)
