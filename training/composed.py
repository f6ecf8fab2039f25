"""A static encoder whose rows share what they are spelled with, while it is trained.

The row of a token is a row of its own plus the mean of rows of its character n-grams. A form that
is rare, or of a small language, so begins near the forms and cognates that are spelled like it, and
each text teaches them all. Nothing of that is left at serving: ``folded`` adds the parts up to a
plain table. What it trades away: a step takes about twice the time of a plain one.

References:
    Bojanowski et al. 2017, section 3.2, https://arxiv.org/abs/1607.04606 (there the grams of words
    are hashed and summed; here those of tokens are counted out and averaged).
"""

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from tokenizers import Tokenizer
from torch import Tensor, nn

from training.checkpoint import EncoderConfig
from training.model import Encoder, StaticEncoder, bag_mean
from training.tokenization import is_han

SHORTEST, LONGEST = 3, 5  # characters of an n-gram, the mark of a word's beginning among them
LEAST_TOKENS = 2  # an n-gram of one token says nothing that its own row does not


@dataclass(frozen=True, slots=True)
class Grams:
    """The n-grams of each token of a vocabulary.

    Attributes:
        ids: Of the first token's n-grams, then of the second's, and so on, shape (n,).
        starts: Where those of each token start, and the end, shape (vocab + 1,).
        count: How many n-grams there are.
    """

    ids: Tensor
    starts: Tensor
    count: int


def grams_of(tokenizer: Tokenizer) -> Grams:
    """Find the n-grams of 3 to 5 characters that two or more tokens share.

    A Chinese character is one too, whatever its token. A token is no n-gram of itself, and special
    tokens have none.
    """
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    found: list[list[str]] = []
    for index in range(tokenizer.get_vocab_size()):
        token = tokenizer.id_to_token(index)
        found.append([] if token is None or token in special else _grams(token))
    counts = Counter(gram for grams in found for gram in grams)
    shared = (gram for gram, count in counts.items() if count >= LEAST_TOKENS)
    numbers = {gram: number for number, gram in enumerate(shared)}
    ids = [[numbers[gram] for gram in grams if gram in numbers] for grams in found]
    ends = torch.tensor([0, *map(len, ids)]).cumsum(0)
    return Grams(torch.tensor([i for row in ids for i in row]).long(), ends, len(numbers))


def _grams(token: str) -> list[str]:
    grams = {
        token[start : start + size]
        for size in range(SHORTEST, LONGEST + 1)
        for start in range(len(token) - size + 1)
    }
    grams |= {character for character in token if is_han(ord(character))}
    return sorted(grams - {token})


class ComposedEncoder(StaticEncoder):
    """A static encoder with a second table, of n-grams; see the module's docstring."""

    def __init__(self, config: EncoderConfig, grams: Grams) -> None:
        super().__init__(config)
        self._index = grams
        self.grams = nn.Embedding(max(1, grams.count), config.dim)
        nn.init.zeros_(self.grams.weight)

    def rows(self, tokens: Tensor) -> Tensor:
        """Compose the rows of some tokens, each given once, (tokens,) -> (tokens, dim)."""
        own = F.embedding(tokens, self.embeddings.weight, sparse=True)
        starts = self._index.starts.to(tokens.device)
        first, sizes = starts[tokens], starts[tokens + 1] - starts[tokens]
        having = sizes.nonzero()[:, 0]
        if not len(having):
            return own
        first, sizes = first[having], sizes[having]
        places = torch.repeat_interleave(first - (sizes.cumsum(0) - sizes), sizes)
        places = places + torch.arange(len(places), device=tokens.device)
        grams = self._index.ids.to(tokens.device)[places]
        return own.index_add(0, having, bag_mean(self.grams.weight, grams, sizes))

    def token_embeddings(self, input_ids: Tensor) -> Tensor:
        """See ``Encoder``."""
        tokens, places = torch.unique(input_ids, return_inverse=True)
        return F.embedding(places, self.rows(tokens))

    def noise_points(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See ``StaticEncoder``; each token's row is composed once for the whole batch."""
        kept = attention_mask.bool()
        tokens, places = torch.unique(input_ids[kept], return_inverse=True)
        lengths = kept.sum(dim=1)
        starts = lengths.cumsum(0) - lengths
        means = F.embedding_bag(places, self.rows(tokens), starts, mode="mean")
        return means[:, None], torch.ones_like(attention_mask[:, :1])


def folded(encoder: Encoder) -> Encoder:
    """Return a plain static encoder with the rows of a composed one; any other as it is."""
    if not isinstance(encoder, ComposedEncoder):
        return encoder
    plain = StaticEncoder(encoder.config.model_copy(update={"grams": False}))
    with torch.no_grad():
        every = torch.arange(encoder.config.vocab_size, device=encoder.grams.weight.device)
        plain.embeddings.weight.copy_(encoder.rows(every))
    return plain.eval()
