"""Exact names, numbers and codes: searches by meaning, by words, and by both.

    python tests/benchmarks/words.py [--queries 500] [ARTIFACT]

The documents are the 13,014 sentences of XQuAD-R in 11 languages. A query is a piece that stands in
one sentence only, which is the answer: names are two or more words with a capital letter in a row
(languages that have such letters), numbers have three digits or more, and codes, such as
``QX-7041.3``, are put at the end of 500 sentences, a digit apart from one another by tens. A piece
within its question is a query of that kind too: "what is said about ...?", as people ask. Nothing
here looks at how lexical search finds its words.

Then, what the plain forms of words are worth: queries are three words in a row of a sentence of
FLORES-200 dev, typed without marks and special letters (by anyascii, another table than ours), the
documents all sentences of that language; by words with and without plain forms.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import regex
from anyascii import anyascii
from pool import Pool, Words, encode, xquad
from store_in_memory import MatrixStore

from app.encoder.encoder import TextEncoder
from app.retrieval import lexical
from app.retrieval.metrics import mrr, recall_at_k, wilson_interval
from app.retrieval.ranking import Ask, Mode, prepare
from app.settings import DEFAULT_ARTIFACT
from training.corpus import data_folder

NAME = regex.compile(r"(?<=\p{Ll} )\p{Lu}\p{Ll}+(?: \p{Lu}\p{Ll}+)+")
NUMBER = regex.compile(r"(?<![\p{L}\p{N}])\d[\d.,]*\d\d(?![\p{L}\p{N}])")
CODES = 500
MARKED = [f"{code}_Latn" for code in ("yor", "hau", "ibo", "ewe", "fon", "twi", "vie", "tur")]
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
Asked = list[tuple[str, int]]


def pieces(documents: Sequence[str], pattern: "regex.Pattern[str]") -> Asked:
    """Pieces that stand in one document only, with its row."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for row, text in enumerate(documents):
        for piece in pattern.findall(text):
            found[piece].add(row)
    once = {piece: rows.pop() for piece, rows in found.items() if len(rows) == 1}
    return [
        (piece, row) for piece, row in once.items() if sum(piece in text for text in documents) == 1
    ]


def with_codes(pool: Pool, draw: random.Random) -> tuple[Pool, Asked]:
    """Put a code at the end of some sentences; returns the pool and the codes with their rows."""
    rows = draw.sample(range(len(pool.documents)), CODES)
    first = draw.randrange(1000, 4000)
    codes = [f"QX-{first + number // 10}.{number % 10}" for number in range(CODES)]
    documents = list(pool.documents)
    for code, row in zip(codes, rows, strict=True):
        documents[row] = f"{documents[row]} ({code})"
    return replace(pool, documents=documents), list(zip(codes, rows, strict=True))


def kinds(
    pool: Pool, codes: Asked, queries: int, draw: random.Random
) -> Iterator[tuple[str, Asked]]:
    """Name each kind of query, with some of them."""
    for name, found in (
        ("names", pieces(pool.documents, NAME)),
        ("numbers", pieces(pool.documents, NUMBER)),
        ("codes", codes),
    ):
        some = draw.sample(found, min(queries, len(found)))
        yield name, some
        yield f"{name} in a question", [(f"What is said about {p}?", row) for p, row in some]


def print_plain_forms() -> None:
    """Print the share of queries without marks whose sentence is first by words."""
    table = pq.read_table(data_folder() / "eval" / "flores200-dev.parquet")
    print("\n| language | queries | plain forms | as written alone |\n|---|---|---|---|")
    for lang in MARKED:
        sentences = table[lang].to_pylist()
        asked = []
        for row, text in enumerate(sentences):
            words = regex.findall(r"[\p{L}\p{M}]+", text)
            middle = words[len(words) // 2 - 1 : len(words) // 2 + 2]
            typed = anyascii(" ".join(middle))
            if typed != " ".join(middle):
                asked.append((typed, row))
        shares = [_first_share(sentences, asked)]
        forms_of, lexical.forms_of = lexical.forms_of, lambda word: (word,)
        shares.append(_first_share(sentences, asked))
        lexical.forms_of = forms_of
        print(f"| {lang} | {len(asked)} | {shares[0]:.3f} | {shares[1]:.3f} |", flush=True)


def _first_share(documents: Sequence[str], asked: Asked) -> float:
    scores = Words(documents).scores([text for text, _ in asked])
    own = scores[np.arange(len(asked)), [row for _, row in asked]]
    return float(np.mean((scores >= own[:, None]).sum(axis=1) == 1))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, default=DEFAULT_ARTIFACT)
    parser.add_argument("--queries", type=int, default=500, help="of each kind")
    chosen = parser.parse_args()
    draw = random.Random(0)
    pool, codes = with_codes(xquad(), draw)
    encoder = TextEncoder.open(chosen.artifact)
    vectors = encode(encoder, pool.documents, "document")
    store = MatrixStore(pool, vectors, Words(pool.documents)).as_store()
    print("| queries | n | mode | first | within 10 | mean reciprocal rank |")
    print("|---|---|---|---|---|---|")
    for kind, asked in kinds(pool, codes, chosen.queries, draw):
        texts = [text for text, _ in asked]
        rows = encode(encoder, texts, "query")
        for mode in MODES:
            ranker = prepare(store, Ask("pool", mode, 10))
            ranks = np.zeros(len(asked), np.int64)
            for start in range(0, len(asked), 50):
                part = slice(start, start + 50)
                found = ranker.rank(texts[part], rows[part])
                for number, (hits, (_, answer)) in enumerate(zip(found, asked[part], strict=True)):
                    places = [int(one.hit.document.doc_id) for one in hits]
                    ranks[start + number] = places.index(answer) + 1 if answer in places else 0
            first = recall_at_k(ranks, 1)
            low, high = wilson_interval(int((ranks == 1).sum()), len(ranks))
            print(
                f"| {kind} | {len(asked)} | {mode} | {first:.3f} ({low:.3f} to {high:.3f}) "
                f"| {recall_at_k(ranks, 10):.3f} | {mrr(ranks, 10):.3f} |",
                flush=True,
            )
    print_plain_forms()


if __name__ == "__main__":
    main()
