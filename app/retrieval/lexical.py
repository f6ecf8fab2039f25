"""Texts to sparse BM25 vectors, for the search of exact names, codes and rare words.

Every engine keeps a passage's weights and multiplies them by the query's and by each token's idf
(``idf``), so that all of them score alike:

    score = sum over tokens t of the query, each by its weight there, of
            idf(t) * tf (K1 + 1) / (tf + K1 (1 - B + B length / MEAN_LENGTH))

The mean length is a constant, because a true mean would change every stored weight with every
write. Which tokens a text has is said in ``words.py``. A word that has two forms, as written and
plain, is stored under both, and both share the one weight that it has in a query: spelled alike it
counts in full, without its marks about half, and no more than a word that has one form.

References:
    Robertson and Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond, section 3.
    K1 and B are Anserini's for passages, https://github.com/castorini/anserini.
"""

import hashlib
import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np

from app.retrieval import wording
from app.retrieval.words import forms_of, joined_in, simplify, single_clusters_in, words_in

K1 = 0.9
B = 0.4
MEAN_LENGTH = 64
"""Words of a passage that is neither long nor short: a few sentences."""
JOINED_WEIGHT = 2.0
"""What punctuation joins counts so much in a query: ``AB-12.7`` more than its parts elsewhere."""
_REMEMBERED_CHARS = 64
_REMEMBERED_WORDS = 1 << 17
"""About 30 MB."""
_FEW = 4
"""So few texts are quicker one by one."""
_AT_ONCE_CHARS = 1 << 18
_SHIFT, _TOKEN = np.uint64(32), np.uint64((1 << 32) - 1)
_known: dict[str, tuple[int, ...]] = {}
"""Tokens of words, those of several forms under both."""
_remembering = threading.Lock()


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector.

    Attributes:
        indices: Tokens by their hash, ascending, 0 to 2**32 - 1.
        values: The weight of each, above 0.
    """

    indices: list[int]
    values: list[float]


def document_weights(text: str) -> Sparse:
    """Weigh a passage's tokens, all of the formula but idf and the query's weights."""
    simple = simplify(text)
    words = list(words_in(simple))
    further = itertools.chain(joined_in(simple), single_clusters_in(simple))
    counts = Counter(
        token_id(form) for word in itertools.chain(words, further) for form in forms_of(word)
    )
    length = K1 * (1 - B + B * len(words) / MEAN_LENGTH)
    indices = sorted(counts)
    return Sparse(indices, [counts[t] * (K1 + 1) / (counts[t] + length) for t in indices])


def weights_of(texts: Sequence[str]) -> list[Sparse]:
    """Weigh the tokens of many passages, each as ``document_weights`` does, in half the time."""
    if len(texts) < _FEW:
        return list(map(document_weights, texts))
    weighed: list[Sparse] = []
    some, size = list[str](), 0
    for text in texts:
        some.append(simplify(text))
        size += len(text)
        if size > _AT_ONCE_CHARS:
            weighed += _weigh(some)
            some, size = [], 0
    return weighed + _weigh(some) if some else weighed


def _weigh(simple: Sequence[str]) -> list[Sparse]:
    found = wording.split(simple)
    ids = _ids_of(set(found.words))
    tokens = [ids[word] for word in found.words]
    owners = np.repeat(found.owners, np.fromiter(map(len, tokens), np.intp, len(tokens)))
    flat = np.fromiter(itertools.chain.from_iterable(tokens), np.uint64, len(owners))
    pairs, counts = np.unique(owners.astype(np.uint64) << _SHIFT | flat, return_counts=True)
    of = (pairs >> _SHIFT).astype(np.intp)
    lengths = K1 * (1 - B + B * found.lengths / MEAN_LENGTH)
    values = (counts * (K1 + 1) / (counts + lengths[of])).tolist()
    indices = (pairs & _TOKEN).tolist()
    ends = np.cumsum(np.bincount(of, minlength=len(simple))).tolist()
    return [
        Sparse(indices[a:b], values[a:b]) for a, b in itertools.pairwise(itertools.chain([0], ends))
    ]


def _ids_of(words: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Look up the tokens of words, those of most words in memory."""
    known = _known.get
    found = {word: known(word) for word in words}
    new = [word for word, ids in found.items() if ids is None]
    plain = wording.plain_forms(new)
    digests = b"".join(map(_digest, itertools.chain(new, plain.values())))
    ids = np.frombuffer(digests, ">u4").tolist()
    made: dict[str, tuple[int, ...]] = dict(zip(new, zip(ids, strict=True), strict=False))
    for word, second in zip(plain, ids[len(new) :], strict=True):
        made[word] += (second,)
    _remember(made)
    found.update(made)
    return cast("dict[str, tuple[int, ...]]", found)


def _remember(made: Mapping[str, tuple[int, ...]]) -> None:
    with _remembering:
        _known.update({w: ids for w, ids in made.items() if len(w) <= _REMEMBERED_CHARS})
        if len(_known) > _REMEMBERED_WORDS:  # The older half goes
            for word in list(itertools.islice(_known, len(_known) // 2)):
                del _known[word]


def query_weights(text: str) -> Sparse:
    """Weigh a query's tokens: each word by how often it occurs, shared by its forms."""
    simple = simplify(text)
    weights: dict[int, float] = {}
    for words, weight in ((words_in(simple), 1.0), (joined_in(simple), JOINED_WEIGHT)):
        for word in words:
            forms = forms_of(word)
            for form in forms:
                token = token_id(form)
                weights[token] = weights.get(token, 0.0) + weight / len(forms)
    indices = sorted(weights)
    return Sparse(indices, [weights[t] for t in indices])


def idf(passages: int, having: int) -> float:
    """Weigh a token by how few of the collection's passages have it.

    Args:
        passages: Passages of the whole collection, filtered or not.
        having: Those of them that have the token.
    """
    return math.log(1 + (passages - having + 0.5) / (having + 0.5))


def token_id(token: str) -> int:
    """Hash a token to 32 bits; two of a million tokens share one by chance, which is borne."""
    return _remembered_id(token) if len(token) <= _REMEMBERED_CHARS else _id(token)


def _id(token: str) -> int:
    return int.from_bytes(_digest(token), "big")


def _digest(token: str) -> bytes:
    try:
        encoded = token.encode()
    except UnicodeEncodeError:
        # A lone surrogate can stand in a text that no API has seen; a character like any other.
        encoded = token.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=4).digest()


_remembered_id = lru_cache(maxsize=1 << 16)(_id)
