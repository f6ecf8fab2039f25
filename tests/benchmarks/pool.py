"""Pools of documents in several languages with queries and answers, and rankings of whole pools.

XQuAD-R (Roy et al. 2020): each question, in 11 languages, has one answering sentence in each; all
sentences of all languages are the pool. FLORES-200 dev in the same shape: a sentence asks for its
translations. What is fitted is fitted on FLORES alone.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse
from numpy.typing import NDArray

from app.encoder.encoder import TextEncoder
from app.retrieval.lexical import Sparse, document_weights, idf, query_weights
from training.corpus import data_folder

Rows = NDArray[np.float32]
Ints = NDArray[np.int64]
ABSENT = -1
BLOCK = 500
FLORES = (
    "amh_Ethi ben_Beng fra_Latn hau_Latn ind_Latn jpn_Jpan kor_Hang eng_Latn swh_Latn ukr_Cyrl "
    "yor_Latn"
)


@dataclass(frozen=True)
class Pool:
    """Queries against a pool.

    Attributes:
        langs: The languages.
        queries: Texts.
        documents: Texts.
        lang_of_query: Index into ``langs``, shape (queries,).
        lang_of_document: The same, shape (documents,).
        answers: Row of each query's answer in each language, shape (queries, languages);
            ``ABSENT`` where the pool has none.
        own: Row of the document that is the query itself, which is no hit; ``ABSENT``: none.
    """

    langs: list[str]
    queries: list[str]
    documents: list[str]
    lang_of_query: Ints
    lang_of_document: Ints
    answers: Ints
    own: Ints


def xquad() -> Pool:
    """Read XQuAD-R."""
    files = sorted((data_folder() / "eval" / "xquad-r").glob("*.json.gz"))
    langs = [file.name.split(".")[0] for file in files]
    queries, documents, of_query, of_document = [], [], [], []
    answer: dict[tuple[str, int], int] = {}
    names = []
    for number, file in enumerate(files):
        content = json.loads(gzip.decompress(file.read_bytes()))
        for paragraph in (p for article in content["data"] for p in article["paragraphs"]):
            for question in paragraph["qas"]:
                begin = question["answers"][0]["answer_start"]
                sentence = next(
                    index
                    for index, (start, end) in enumerate(paragraph["sentence_breaks"])
                    if start <= begin < end
                )
                answer[question["id"], number] = len(documents) + sentence
                queries.append(question["question"])
                names.append(question["id"])
                of_query.append(number)
            documents += paragraph["sentences"]
            of_document += [number] * len(paragraph["sentences"])
    answers = [[answer[name, lang] for lang in range(len(langs))] for name in names]
    own = np.full(len(queries), ABSENT)
    return Pool(
        langs, queries, documents, np.array(of_query), np.array(of_document), np.array(answers), own
    )


def flores() -> Pool:
    """Read FLORES-200 dev in eleven languages, most of them other than XQuAD-R's."""
    table = pq.read_table(data_folder() / "eval" / "flores200-dev.parquet")
    langs: list[str] = list(FLORES.split())
    texts = [text for lang in langs for text in table[lang].to_pylist()]
    size = len(table)
    rows = np.arange(len(texts))
    of = rows // size
    answers = (rows % size)[:, None] + size * np.arange(len(langs))
    answers[rows, of] = ABSENT
    return Pool(langs, texts, texts, of, of, answers, rows)


def sample(pool: Pool, queries: int, seed: int = 0) -> Pool:
    """Keep some of the queries, drawn at random."""
    drawn = np.random.default_rng(seed).permutation(len(pool.queries))[:queries]
    rows = np.sort(drawn)
    return replace(
        pool,
        queries=[pool.queries[row] for row in rows],
        lang_of_query=pool.lang_of_query[rows],
        answers=pool.answers[rows],
        own=pool.own[rows],
    )


def thin(pool: Pool, share: Callable[[str], float], seed: int = 0) -> tuple[Pool, Ints]:
    """Keep a share of each language's documents; returns the pool and the rows kept."""
    draw = np.random.default_rng(seed)
    kept = np.sort(
        np.concatenate(
            [
                draw.permutation(rows)[: round(share(lang) * len(rows))]
                for lang, rows in zip(pool.langs, rows_by_lang(pool), strict=True)
            ]
        )
    )
    place = np.full(len(pool.documents) + 1, ABSENT)
    place[kept] = np.arange(len(kept))
    thinned = replace(
        pool,
        documents=[pool.documents[row] for row in kept],
        lang_of_document=pool.lang_of_document[kept],
        answers=place[pool.answers],
        own=place[pool.own],
    )
    return thinned, kept


def rows_by_lang(pool: Pool) -> list[Ints]:
    """Rows of each language's documents."""
    return [np.flatnonzero(pool.lang_of_document == number) for number in range(len(pool.langs))]


def encode(encoder: TextEncoder, texts: Sequence[str], kind: str) -> Rows:
    """Encode any number of texts, in parts."""
    call = encoder.encode_query if kind == "query" else encoder.encode_document
    parts = [call(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)]
    return np.concatenate(parts)


def blocks(pool: Pool) -> Iterator[slice]:
    """Split the queries, so that their scores against a whole pool fit in memory."""
    for start in range(0, len(pool.queries), BLOCK):
        yield slice(start, min(start + BLOCK, len(pool.queries)))


class Words:
    """BM25 scores of a pool, as every engine counts them."""

    def __init__(self, documents: Sequence[str]) -> None:
        sparse = [document_weights(text) for text in documents]
        tokens = sorted({index for each in sparse for index in each.indices})
        self._column = {token: column for column, token in enumerate(tokens)}
        matrix = self._matrix(sparse)
        having = np.diff(matrix.tocsc().indptr)
        weights = np.array([idf(len(documents), int(count)) for count in having])
        weighed = matrix.multiply(weights[None])
        self._by_token = scipy.sparse.csr_matrix(weighed.T)  # (tokens, documents)

    def scores(self, queries: Sequence[str]) -> Rows:
        """Score each query against all documents, shape (queries, documents)."""
        asked = [query_weights(text) for text in queries]
        matrix = self._matrix(asked)
        return np.asarray(scipy.sparse.csr_matrix(matrix @ self._by_token).todense(), np.float32)

    def _matrix(self, rows: Sequence[Sparse]) -> scipy.sparse.csr_matrix:
        found = [
            (row, self._column[index], value)
            for row, each in enumerate(rows)
            for index, value in zip(each.indices, each.values, strict=True)
            if index in self._column
        ]
        at, columns, values = zip(*found, strict=True) if found else ((), (), ())
        shape = (len(rows), len(self._column))
        return scipy.sparse.csr_matrix((values, (at, columns)), shape=shape)


def ranks(order_keys: NDArray[np.floating]) -> Ints:
    """Ranks from 1 by falling key, equal keys in the order of rows, of the same shape."""
    order = np.argsort(-order_keys, axis=1, kind="stable")
    placed = np.empty_like(order)
    np.put_along_axis(placed, order, np.arange(1, order.shape[1] + 1)[None], 1)
    return placed
