"""Short pairs cut out of long ones: phrases whose tokens are linked with each other alone.

The corpora are sentences, queries are a few words. A phrase of one to six tokens and what stands
for it in the translation is a pair of its own, which teaches at once what a sentence teaches
together with thirty other tokens: which word says what. Such pairs are a corpus beside those they
are cut from (``corpora.phrases``). Their texts are as the tokenizer writes them: lower-case, and
romanized if it romanizes.

What it trades away: links are guesses, so some phrases are a word short or wrong.

References:
    Koehn, Och and Marcu 2003, https://aclanthology.org/N03-1017 (phrases consistent with links).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.random import Generator
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.collation import Ints, within_runs
from training.corpus import Bitext
from training.links import find_links
from training.registry import Corpus
from training.tokens import TokenTable

PHRASES = "phrases"
LONGEST = 6  # tokens of a phrase's pivot side
MOST_OF_LANGUAGES = 20_000  # phrases of a pair of languages
LEAST_PAIRS = 500  # of two languages; with fewer, links are chance
_GROW = 4  # tokens, at most, by which the other side grows to whole words
_MARK = "\u2581"


@dataclass(frozen=True, slots=True)
class _Words:
    """What is to be known of each token of a vocabulary; all of shape (vocab,)."""

    starts: NDArray[np.bool_]  # it begins a word
    lettered: NDArray[np.bool_]  # a letter is in it


@dataclass(frozen=True, slots=True)
class _Sides:
    """The texts of linked pairs, one after the other.

    Attributes:
        first: Position of each text's first token in the token table, shape (pairs,).
        lengths: Tokens of each text, shape (pairs,).
        before: Tokens of all texts before it, shape (pairs,).
        partner: Position in the other text that each token is linked with, or -1, shape (tokens,).
        edge: Whether a word begins there, and true after the last, shape (tokens + 1,).
    """

    first: Ints
    lengths: Ints
    before: Ints
    partner: Ints
    edge: NDArray[np.bool_]


def add_phrases(
    bitext: Bitext, tokens: TokenTable, tokenizer: Tokenizer, *, seed: int
) -> tuple[Bitext, TokenTable]:
    """Cut phrases out of the pairs, as one more corpus.

    Args:
        bitext: All pairs; own files, whose sides do not translate each other, are left alone.
        tokens: Token ids of its texts.
        tokenizer: Of a vocabulary whose words begin with U+2581.
        seed: Of the draws.

    Returns:
        Both with the phrases after what was there; as they were if no two languages have enough
        pairs.
    """
    rng = np.random.default_rng(seed)
    names = [tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size())]
    words = _Words(
        np.array([name.startswith(_MARK) for name in names]),
        np.array([any(map(str.isalpha, name)) for name in names]),
    )
    parts: list[tuple[Ints, int]] = []
    for rows in _language_pairs(bitext):
        spans = _phrases_of(bitext, tokens, words, rows, rng)
        parts.append((spans, int(rows[0])))
    if not sum(spans.shape[1] for spans, _ in parts):
        return bitext, tokens
    found = np.concatenate([spans for spans, _ in parts], axis=1)  # (4, phrases)
    counts = [spans.shape[1] for spans, _ in parts]
    like = np.repeat([row for _, row in parts], counts)
    starts, ends = np.concatenate(found[::2]), np.concatenate(found[1::2])
    _, first, index = np.unique(
        _hashes(tokens, starts, ends), return_index=True, return_inverse=True
    )
    starts, ends = starts[first], ends[first]
    ids = tokens.ids[np.repeat(starts, ends - starts) + within_runs(ends - starts)]
    texts = _write(ids, ends - starts, names)
    source, target = np.split((len(bitext.texts) + index).astype(np.int32), 2)
    corpus = Corpus(PHRASES, "cut from the others", all(c.shippable for c in bitext.corpora))
    longer = replace(
        bitext,
        texts=pa.concat_arrays([bitext.texts, pa.array(texts, pa.large_string())]),
        corpora=(*bitext.corpora, corpus),
        text_a=np.concatenate([bitext.text_a, source]),
        text_b=np.concatenate([bitext.text_b, target]),
        lang_a=np.concatenate([bitext.lang_a, bitext.lang_a[like]]),
        lang_b=np.concatenate([bitext.lang_b, bitext.lang_b[like]]),
        corpus=np.concatenate(
            [bitext.corpus, np.full(len(source), len(bitext.corpora), bitext.corpus.dtype)]
        ),
    )
    offsets = tokens.offsets[-1] + np.cumsum(ends - starts)
    table = replace(
        tokens,
        ids=np.concatenate([tokens.ids, ids]),
        offsets=np.concatenate([tokens.offsets, offsets]),
    )
    return longer, table


def whole_pairs(bitext: Bitext) -> NDArray[np.bool_]:
    """Mark the pairs that stand in a corpus as they are, shape (pairs,)."""
    return np.array([corpus.name != PHRASES for corpus in bitext.corpora])[bitext.corpus]


def _language_pairs(bitext: Bitext) -> Iterator[Ints]:
    """Yield the rows of each two languages that have enough of them."""
    own = np.array([corpus.own for corpus in bitext.corpora])[bitext.corpus]
    keys = bitext.lang_a.astype(np.int64) * len(bitext.langs) + bitext.lang_b
    rows = np.flatnonzero(~own & (bitext.lang_a != bitext.lang_b))
    rows = rows[np.argsort(keys[rows], kind="stable")]
    for part in np.split(rows, np.flatnonzero(np.diff(keys[rows])) + 1):
        if len(part) >= LEAST_PAIRS:
            yield part


def _phrases_of(
    bitext: Bitext, tokens: TokenTable, words: _Words, rows: Ints, rng: Generator
) -> Ints:
    """Cut the phrases of two languages.

    Returns:
        Start and end of both sides in the token table, shape (4, phrases).
    """
    texts = bitext.text_a[rows].astype(np.int64), bitext.text_b[rows].astype(np.int64)
    links = find_links(tokens, *texts, rng)
    source = _side(tokens, words, texts[0], (links.pairs, links.source, links.target))
    target = _side(tokens, words, texts[1], (links.pairs, links.target, links.source))
    sized = [_phrases_of_size(source, target, size) for size in range(1, LONGEST + 1)]
    spans = np.concatenate(sized, axis=1)
    spans = spans[:, rng.permutation(spans.shape[1])]
    left, right = _hashes(tokens, *spans[:2]), _hashes(tokens, *spans[2:])
    # A name that is the same in both languages teaches nothing.
    useful = np.flatnonzero((left != right) & _any(words.lettered[tokens.ids], *spans[:2]))
    _, first = np.unique(left[useful] * np.uint64(3) + right[useful], return_index=True)
    return spans[:, useful[np.sort(first)[:MOST_OF_LANGUAGES]]]


def _side(tokens: TokenTable, words: _Words, texts: Ints, links: tuple[Ints, Ints, Ints]) -> _Sides:
    first, lengths = tokens.offsets[texts], tokens.lengths[texts]
    before = np.cumsum(lengths) - lengths
    pairs, places, others = links
    partner = np.full(int(lengths.sum()), -1)
    partner[before[pairs] + places] = others
    edge = words.starts[tokens.ids[np.repeat(first, lengths) + within_runs(lengths)]]
    return _Sides(first, lengths, before, partner, np.append(edge, True))


def _phrases_of_size(source: _Sides, target: _Sides, size: int) -> Ints:
    """Cut the phrases whose source side has ``size`` tokens; returns as ``_phrases_of``."""
    pair = np.repeat(np.arange(len(source.lengths)), source.lengths)
    start = within_runs(source.lengths)
    # Whole words of the source, half of whose tokens are linked; of short ones the outer ones are.
    places = np.flatnonzero((start + size <= source.lengths[pair]) & source.edge[:-1])
    after = start[places] + size
    places = places[(after == source.lengths[pair[places]]) | source.edge[places + size]]
    others = source.partner[places + np.arange(size)[:, None]]  # (size, windows)
    linked = (others >= 0).sum(axis=0)
    low = np.where(others >= 0, others, LONGEST**9).min(axis=0)
    high = others.max(axis=0)
    good = (2 * linked >= size) & (linked > 0) & (high - low < 2 * size + 2)
    if size <= 2:
        good &= (others[0] >= 0) & (others[-1] >= 0)
    places, low, high = places[good], low[good], high[good]
    pair, start = pair[places], start[places]
    low, high = _whole_words(target, pair, low, high)
    # Nothing within the target side may be linked with what is outside the source side.
    width = high - low + 1
    columns = np.arange(width.max(initial=0))[:, None]
    inside = columns < width
    back = target.partner[np.where(inside, target.before[pair] + low + columns, 0)]
    back = np.where(inside, back, -1)
    foreign = (back >= 0) & ((back < start) | (back >= start + size))
    kept = ~foreign.any(axis=0) & (2 * (back >= 0).sum(axis=0) >= width)
    pair, start, low, high = pair[kept], start[kept], low[kept], high[kept]
    begin, other = source.first[pair] + start, target.first[pair]
    return np.stack([begin, begin + size, other + low, other + high + 1])


def _whole_words(side: _Sides, pair: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Grow spans (first and last position) to whole words, by a few tokens."""
    last = side.lengths[pair] - 1
    for _ in range(_GROW):
        low = low - (~side.edge[side.before[pair] + low] & (low > 0))
        high = high + ((high < last) & ~side.edge[side.before[pair] + high + 1])
    return low, high


def _hashes(tokens: TokenTable, starts: Ints, ends: Ints) -> NDArray[np.uint64]:
    """Hash the ids of spans, each of at least one token, so that equal ones are equal."""
    lengths = ends - starts
    if not len(lengths):
        return np.zeros(0, np.uint64)
    place = within_runs(lengths)
    # One random factor for each place in a span.
    size = int(lengths.max())
    factors = np.random.default_rng(0).integers(0, 1 << 64, size, np.uint64, endpoint=False)
    values = (tokens.ids[np.repeat(starts, lengths) + place].astype(np.uint64) + 1) * factors[place]
    return np.add.reduceat(values, np.cumsum(lengths) - lengths)


def _any(marks: NDArray[np.bool_], starts: Ints, ends: Ints) -> NDArray[np.bool_]:
    """Tell of each span whether one of its tokens is marked."""
    before = np.concatenate([[0], np.cumsum(marks)])
    return before[ends] > before[starts]


def _write(ids: NDArray[np.int32], lengths: Ints, names: list[str]) -> list[str]:
    """Write token rows as texts."""
    ends = np.cumsum(lengths)
    pieces = [names[i] for i in ids.tolist()]
    return [
        "".join(pieces[end - size : end]).replace(_MARK, " ").strip()
        for end, size in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]
