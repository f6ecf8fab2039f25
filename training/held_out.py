"""A held-out file of one's own: queries with their documents, and how many find one of them first.

The file has the columns of an own corpus. All its documents are searched, so its figures depend on
how many there are; what is compared is one checkpoint with another.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.retrieval.store import Encode
from training.corpus import Bitext
from training.reading import read_part
from training.registry import OWN_LICENCE, Corpus, CorpusError
from training.selection import HELD_OUT
from training.tokens import Role

log = logging.getLogger(__name__)

_BLOCK = 256
# Equal documents differ in the last bits of their scores; a tie counts against the encoder.
_TIE = 8 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Queries and documents, and which belong together.

    Attributes:
        queries: Each query of a language once.
        langs: Language of each query.
        documents: The distinct documents.
        pair_query: Index into ``queries`` of each pair, shape (pairs,).
        pair_document: Index into ``documents`` of each pair, shape (pairs,).
    """

    queries: list[str]
    langs: list[str]
    documents: list[str]
    pair_query: NDArray[np.int64]
    pair_document: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> "HeldOut":
        """Read a Parquet file of query, document, lang_query and lang_document.

        Raises:
            CorpusError: If it cannot be read, has no usable row, or one document only.
        """
        part = read_part(Path(), Corpus(HELD_OUT, OWN_LICENCE, False, path=str(path)))
        for reason, count in part.skipped.items():
            log.warning("%s: %d rows left out: %s", path, count, reason)
        asked, pair_query = np.unique(
            np.stack([part.text_b, part.lang_b]), axis=1, return_inverse=True
        )
        given, pair_document = np.unique(part.text_a, return_inverse=True)
        if len(given) < 2:
            raise CorpusError(
                f"run.held_out: {path} has one document only, which every query finds first: give "
                "some more"
            )
        texts, langs = part.texts.to_pylist(), part.langs.to_pylist()
        return cls(
            [texts[text] for text in asked[0]],
            [langs[lang] for lang in asked[1]],
            [texts[text] for text in given],
            pair_query.reshape(-1),
            pair_document.reshape(-1),
        )

    def warn_of_leaks(self, bitext: Bitext) -> None:
        """Log how many texts a run is trained on too: the figures are too good by these."""
        for name, texts in (("queries", self.queries), ("documents", self.documents)):
            known = pc.call_function("is_in", [texts], pc.SetLookupOptions(bitext.texts))
            if count := int(pc.call_function("sum", [known]).as_py() or 0):
                log.warning("%d of %d held-out %s are trained on too", count, len(set(texts)), name)

    def figures(self, encode_as: Callable[[Role], Encode]) -> dict[str, float]:
        """Measure accuracy at 1: the share of queries that have one of their documents first.

        Returns:
            Under ``held-out`` the mean over the languages of the queries, and under
            ``held-out:LANG`` the share of each.
        """
        queries, documents = encode_as("query")(self.queries), encode_as("document")(self.documents)
        first = np.zeros(len(queries), dtype=bool)
        for start in range(0, len(queries), _BLOCK):
            rows = slice(start, start + _BLOCK)
            scores = queries[rows] @ documents.T  # (block, documents)
            inside = (self.pair_query >= start) & (self.pair_query < start + _BLOCK)
            own = np.zeros(scores.shape, dtype=bool)
            own[self.pair_query[inside] - start, self.pair_document[inside]] = True
            best = np.where(own, scores, -np.inf).max(axis=1)
            rival = np.where(own, -np.inf, scores).max(axis=1)
            first[rows] = best > rival + _TIE
        langs = np.asarray(self.langs)
        shares = {lang: float(first[langs == lang].mean()) for lang in sorted(set(self.langs))}
        mean = sum(shares.values()) / len(shares)
        return {HELD_OUT: mean} | {f"{HELD_OUT}:{lang}": share for lang, share in shares.items()}
