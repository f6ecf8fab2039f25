"""Texts to sparse BM25 vectors, for the search of exact names, codes and rare words.

Every engine keeps a passage's weights and multiplies them by the query's and by each token's idf
(``idf``), so that all of them score alike:

    score = sum over tokens t of the query, as often as it has them, of
            idf(t) * tf (K1 + 1) / (tf + K1 (1 - B + B length / MEAN_LENGTH))

The mean length is a constant, because a true mean would change every stored weight with every
write. Tokens are runs of letters, marks and digits, folded; what hyphens, dots and the like join
counts as a whole too, so that ``AB-12.7`` finds itself. Scripts without spaces give bigrams.

References:
    Robertson and Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond, section 3.
"""

import hashlib
import itertools
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import regex

K1 = 1.2
B = 0.75
MEAN_LENGTH = 32
"""Tokens of a passage that is neither long nor short: a sentence or two."""
MAX_TOKEN_CHARS = 64
_UNSPACED = (
    r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}"
    r"\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}ー々"
)
_LETTERS = r"[\p{L}\p{M}\p{N}]"
_WORD = regex.compile(rf"[{_UNSPACED}\p{{M}}]+|(?:(?![{_UNSPACED}]){_LETTERS})+")
_JOINED = regex.compile(rf"{_LETTERS}+(?:[-_./:@+#'’]+{_LETTERS}+)+")
_FIRST_UNSPACED = regex.compile(rf"[{_UNSPACED}]")


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector.

    Attributes:
        indices: Tokens by their hash, ascending, 0 to 2**32 - 1.
        values: The weight of each, above 0.
    """

    indices: list[int]
    values: list[float]


def tokens(text: str) -> Iterator[str]:
    """Yield a text's tokens, folded, in order of kind and then of place."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    for word in _WORD.findall(folded):
        if _FIRST_UNSPACED.search(word) is None:
            yield word[:MAX_TOKEN_CHARS]
            continue
        clusters = regex.findall(r"\X", word)
        if len(clusters) == 1:
            yield word
        yield from (left + right for left, right in itertools.pairwise(clusters))
    for joined in _JOINED.findall(folded):
        yield joined[:MAX_TOKEN_CHARS]


def document_weights(text: str) -> Sparse:
    """Weigh a passage's tokens, all of the formula but idf and the query's counts."""
    counts = Counter(map(token_id, tokens(text)))
    length = K1 * (1 - B + B * counts.total() / MEAN_LENGTH)
    indices = sorted(counts)
    return Sparse(indices, [counts[t] * (K1 + 1) / (counts[t] + length) for t in indices])


def query_weights(text: str) -> Sparse:
    """Count a query's tokens."""
    counts = Counter(map(token_id, tokens(text)))
    indices = sorted(counts)
    return Sparse(indices, [float(counts[t]) for t in indices])


def idf(passages: int, having: int) -> float:
    """Weigh a token by how few of the collection's passages have it.

    Args:
        passages: Passages of the whole collection, filtered or not.
        having: Those of them that have the token.
    """
    return math.log(1 + (passages - having + 0.5) / (having + 0.5))


@lru_cache(maxsize=1 << 16)
def token_id(token: str) -> int:
    """Hash a token to 32 bits; two of a million tokens share one by chance, which is borne."""
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=4).digest(), "big")
