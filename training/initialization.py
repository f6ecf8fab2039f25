"""A first embedding table for the static encoder, from the teacher's words and from bitext.

Random rows must first learn that ``dog`` and ``dogs`` are near one another. Here a whole English
word starts at the teacher's vector, and every other token at the mean of the English sentences
whose translations hold it. Function words average out and start with short rows.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from training.corpus import Bitext, CorpusError
from training.tables import TEACHER_DIM
from training.teacher import ENGLISH, encode_teacher
from training.tokens import TokenTable

PAIRS_OF_CORPUS = 100_000  # at most so many of each, so that no domain decides alone
CHUNK = 50_000  # pairs whose sentence vectors are in memory at a time
MIN_COUNT = 5  # occurrences that make a token an English word
SCALE = 0.4  # length of the row of a rare English word
NOISE = 0.003  # standard deviation added to each entry, so that no two rows are the same
_WORD_MARK = "\u2581"
_WORD = re.compile(r"[a-z]+")
_SIF = 1e-3
_SHRINK = 2.0  # sentences of zero added to the mean of a token's contexts
_MIN_SEEN = 3


def initial_table(
    bitext: Bitext, tokens: TokenTable, tokenizer: Tokenizer, *, seed: int
) -> NDArray[np.float32]:
    """Build the table.

    A token that stands in English alone takes the mean of the English sentences themselves. All
    means are shrunk towards zero, the more the rarer the token.

    Args:
        bitext: The corpora.
        tokens: The token ids of all its texts.
        tokenizer: The student's tokenizer; a token that starts a word begins with U+2581.
        seed: Of the sample of pairs and of the noise.

    Returns:
        Table of shape (vocab, 384).

    Raises:
        CorpusError: If the corpora hold no English, or the vocabulary no English word.
    """
    rng = np.random.default_rng(seed)
    rows = _sample_pairs(bitext, rng)
    if not len(rows):
        raise CorpusError("no pairs with English: expected some, to start from the teacher's words")
    english = np.unique(bitext.text_a[rows])
    table, filled = word_rows(tokenizer, _count_words(bitext.texts.take(english).to_pylist()))
    source = bag_matrix(tokens, bitext.text_a[rows], len(table))  # (pairs, vocab)
    target = bag_matrix(tokens, bitext.text_b[rows], len(table))
    center = np.asarray(source.sum(axis=0)) @ table / len(rows)  # (1, dim)
    contexts, own = np.zeros_like(table), np.zeros_like(table)  # (vocab, dim)
    seen_source, seen_target = np.zeros(len(table)), np.zeros(len(table))  # (vocab,)
    for start in range(0, len(rows), CHUNK):
        texts, translations = source[start : start + CHUNK], target[start : start + CHUNK]
        sentences = np.asarray(texts @ table) - center  # (chunk, dim)
        sentences /= np.linalg.norm(sentences, axis=1, keepdims=True) + 1e-6
        texts.data[:] = 1.0  # a token counts once in a sentence
        translations.data[:] = 1.0
        contexts += translations.T @ sentences
        own += texts.T @ sentences
        seen_source += np.asarray(texts.sum(axis=0)).ravel()
        seen_target += np.asarray(translations.sum(axis=0)).ravel()
    contexts /= (seen_target + _SHRINK)[:, None]
    own /= (seen_source + _SHRINK)[:, None]
    of_english = (seen_target < _MIN_SEEN) & (seen_source > seen_target)
    contexts[of_english] = own[of_english]
    contexts[filled] = table[filled]
    return SCALE * contexts + rng.normal(0.0, NOISE, contexts.shape).astype(np.float32)


def word_rows(
    tokenizer: Tokenizer, counts: Mapping[str, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Put the teacher's vector of each whole English word into its token's row.

    Vectors are centered, brought to unit length and weighted by smooth inverse frequency, so that
    frequent words count for little.

    Args:
        tokenizer: The student's tokenizer.
        counts: Occurrences of lower-case English words.

    Returns:
        Table of shape (vocab, 384), zero in other rows, and which rows were filled, (vocab,).

    Raises:
        CorpusError: If no token of the vocabulary is an English word.

    References:
        Arora, Liang and Ma 2017, algorithm 1, https://openreview.net/forum?id=SyK00v5xx.
    """
    found = {
        index: token[1:]
        for token, index in tokenizer.get_vocab().items()
        if token.startswith(_WORD_MARK) and counts.get(token[1:], 0) >= MIN_COUNT
    }
    if not found:
        raise CorpusError(
            "the vocabulary holds no English word: expected tokens that begin with U+2581; learn "
            "it from texts that hold English"
        )
    order = sorted(found)
    frequency = np.array([counts[found[index]] for index in order], np.float64)
    vectors = encode_teacher([found[index] for index in order], batch_size=256)
    weights = np.sqrt(frequency)[:, None]
    vectors = vectors - (vectors * weights).sum(axis=0) / weights.sum()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    vectors *= (_SIF / (_SIF + frequency / frequency.sum()))[:, None]
    table = np.zeros((tokenizer.get_vocab_size(), TEACHER_DIM), np.float32)
    filled = np.zeros(len(table), bool)
    table[order], filled[order] = vectors, True
    return table, filled


def bag_matrix(tokens: TokenTable, texts: NDArray[np.integer], vocab_size: int) -> csr_matrix:
    """Count the tokens of some texts: a sparse matrix of shape (texts, vocab_size)."""
    lengths = tokens.lengths[texts]
    ends = np.cumsum(lengths)
    places = np.arange(ends[-1]) + np.repeat(tokens.offsets[texts] - (ends - lengths), lengths)
    counts = np.ones(len(places), np.float32)
    pointers = np.concatenate([[0], ends])
    matrix = csr_matrix((counts, tokens.ids[places], pointers), (len(texts), vocab_size))
    matrix.sum_duplicates()
    return matrix


def _sample_pairs(bitext: Bitext, rng: np.random.Generator) -> NDArray[np.int64]:
    if ENGLISH not in bitext.langs:
        return np.zeros(0, np.int64)
    from_english = bitext.lang_a == bitext.langs.index(ENGLISH)
    parts = [
        rng.permutation(np.flatnonzero(from_english & (bitext.corpus == index)))[:PAIRS_OF_CORPUS]
        for index in range(len(bitext.corpora))
    ]
    return np.concatenate(parts)


def _count_words(texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text.lower()))
    return counts
