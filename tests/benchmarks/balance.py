"""Language bias of searches, with and without balance, in pools of eleven languages.

    python tests/benchmarks/balance.py [--queries 2000] [--fit] [ARTIFACT]

Ranks the whole pool of XQuAD-R for each question: by cosine, calibrated and interleaved, by words
and fused; first with all languages alike, then with English ten times and fifty times as large as
the others, then with three small languages. ``--fit`` shows instead, on FLORES-200 dev, the two
constants of the calibration. Checks on some queries that the service ranks the same.

- mAP: mean average precision over each question's answers, one in each language of the pool.
- own: share of the hits up to rank 10 in the question's language. English: in English.
- distance: rank of the last answer less that of the first, over questions all of whose two or more
  answers are found; by words few are.
- recall own, other: share of the answers in the question's language, and in others, up to rank 10.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pool import (
    ABSENT,
    Ints,
    Pool,
    Rows,
    Words,
    blocks,
    encode,
    flores,
    ranks,
    rows_by_lang,
    sample,
    thin,
    xquad,
)
from store_in_memory import MatrixStore

from app.encoder.encoder import TextEncoder
from app.retrieval import balance
from app.retrieval.fusion import RRF_K
from app.retrieval.ranking import LEAST_FUSED, Ask, prepare
from app.settings import DEFAULT_ARTIFACT

Rank = Callable[[Rows, Pool, slice], Ints]
Measured = dict[str, NDArray[np.float64]]
FAR = 10**6
POOLS: dict[str, Callable[[str], float]] = {
    "all alike": lambda lang: 1,
    "English, a tenth of others": lambda lang: 1 if lang.startswith("en") else 0.1,
    "English, a fiftieth of others": lambda lang: 1 if lang.startswith("en") else 0.02,
    "a twentieth of three": lambda lang: 0.05 if lang in SMALL else 1,
}
SMALL = {"hi", "th", "tr", "hau_Latn", "amh_Ethi", "yor_Latn"}


def plain(scores: Rows, pool: Pool, part: slice) -> Ints:
    """By cosine."""
    return ranks(scores)


def calibrated(scores: Rows, pool: Pool, part: slice) -> Ints:
    """As ``app.retrieval.balance`` does, over the whole pool."""
    rows = rows_by_lang(pool)
    sizes = balance.reference_hits([len(some) for some in rows])
    tops = [
        -np.sort(-scores[:, some], axis=1)[:, :size].astype(np.float64)
        for some, size in zip(rows, sizes, strict=True)
    ]
    offsets = np.array(
        [balance.biases([top[query] for top in tops]) for query in range(len(scores))]
    )
    return ranks(scores - offsets[:, pool.lang_of_document])


def interleaved(scores: Rows, pool: Pool, part: slice) -> Ints:
    """In rounds; within a round by cosine."""
    keys = scores.astype(np.float64) / 4  # less than half a round apart
    for rows in rows_by_lang(pool):
        keys[:, rows] -= ranks(scores[:, rows])
    return ranks(keys)


def lexical(words: Words) -> Rank:
    """By words alone; documents that share none are never found."""

    def rank(scores: Rows, pool: Pool, part: slice) -> Ints:
        alike = words.scores(pool.queries[part])
        return np.where(alike > 0, ranks(alike), FAR)

    return rank


def hybrid(words: Words) -> Rank:
    """Both fused, each to the depth of a search with top_k 10."""

    def rank(scores: Rows, pool: Pool, part: slice) -> Ints:
        fused = np.zeros_like(scores)
        for each in (plain(scores, pool, part), lexical(words)(scores, pool, part)):
            fused += np.where(each <= LEAST_FUSED, 1 / (RRF_K + each), 0).astype(np.float32)
        return np.where(fused > 0, ranks(fused), FAR)

    return rank


def measure(pool: Pool, vectors: tuple[Rows, Rows], rank: Rank) -> Measured:
    """Measure one ranking; each value is one a query, not a number where there is none."""
    queries, documents = vectors
    found: dict[str, list[NDArray[np.float64]]] = {}
    for part in blocks(pool):
        scores = queries[part] @ documents.T
        own = pool.own[part]
        scores[np.flatnonzero(own != ABSENT), own[own != ABSENT]] = -2
        placed = rank(scores, pool, part)
        for name, values in _values(pool, part, placed).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def _values(pool: Pool, part: slice, placed: Ints) -> Measured:
    answers, langs = pool.answers[part], pool.lang_of_query[part]
    there = answers != ABSENT
    at = np.where(there, np.take_along_axis(placed, np.maximum(answers, 0), 1), FAR)
    many = there.sum(axis=1)
    precision = np.where(np.sort(at) < FAR, np.arange(1, at.shape[1] + 1) / np.sort(at), 0)
    is_own = np.arange(at.shape[1]) == langs[:, None]
    first = placed <= 10
    lang = pool.lang_of_document
    english = [name[:2] for name in pool.langs].index("en")
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mAP": precision.sum(axis=1) / many,
            "recall own": (is_own & there & (at <= 10)).sum(axis=1) / (is_own & there).sum(axis=1),
            "recall other": (~is_own & (at <= 10)).sum(axis=1) / (~is_own & there).sum(axis=1),
            "own": (first & (lang == langs[:, None])).sum(axis=1) / 10,
            "English": (first & (lang == english)).sum(axis=1) / 10,
            "languages": np.array([len(set(lang[row])) for row in first], np.float64),
            "distance": np.where(
                (many > 1) & (np.where(there, at, 0).max(axis=1) < FAR),
                np.where(there, at, 0).max(axis=1) - at.min(axis=1),
                np.nan,
            ),
        }


def print_pool(name: str, pool: Pool, found: dict[str, Measured]) -> None:
    """Print the measures of several rankings, and each mAP against the first's."""
    base = found["cosine"]["mAP"]
    print(f"\n{name}: {len(pool.documents)} documents, {len(pool.queries)} queries")
    columns = list(found["cosine"])
    print("| ranking | " + " | ".join(columns) + " | mAP against cosine |")
    print("|---" * (len(columns) + 2) + "|")
    for ranking, values in found.items():
        figures = [f"{np.nanmean(values[column]):.4g}" for column in columns]
        change = values["mAP"] - base
        change = change[~np.isnan(change)]
        spread = 1.96 * change.std(ddof=1) / len(change) ** 0.5
        print(f"| {ranking} | {' | '.join(figures)} | {change.mean():+.4f} ± {spread:.4f} |")


def pools(
    whole: Pool, vectors: tuple[Rows, Rows], names: Sequence[str]
) -> list[tuple[str, Pool, tuple[Rows, Rows]]]:
    """Thin a pool in several ways."""
    made = []
    for name in names:
        thinned, kept = thin(whole, POOLS[name])
        made.append((name, thinned, (vectors[0], vectors[1][kept])))
    return made


def check_service(pool: Pool, vectors: tuple[Rows, Rows], queries: int = 22) -> None:
    """Compare the first ten of some queries with the service's own ranking."""
    store = MatrixStore(pool, vectors[1]).as_store()
    rows = np.linspace(0, len(pool.queries) - 1, queries).astype(int)
    methods: dict[balance.Method, Rank] = {"calibrated": calibrated, "interleaved": interleaved}
    for method, rank in methods.items():
        ranker = prepare(store, Ask("pool", balance=method))
        for row in rows:
            part = slice(row, row + 1)
            placed = rank(vectors[0][part] @ vectors[1].T, pool, part)[0]
            (found,) = ranker.rank([pool.queries[row]], vectors[0][part])
            got = [placed[int(one.hit.document.doc_id)] for one in found]
            if sorted(got) != list(range(1, 11)):
                raise SystemExit(f"the service ranks {method} otherwise: {got}")
    print(f"\nthe service has the same first ten for {queries} queries, both methods")


def fit(encoder: TextEncoder) -> None:
    """Print mAP on FLORES-200 dev for other constants of the calibration."""
    pool = sample(flores(), 1000)
    vectors = encode(encoder, pool.queries, "document"), encode(encoder, pool.documents, "document")
    made = pools(pool, vectors, list(POOLS))
    print("| share | prior | " + " | ".join(POOLS) + " |\n" + "|---" * (len(POOLS) + 2) + "|")
    figures = [measure(thinned, some, plain)["mAP"] for _, thinned, some in made]
    print("| cosine | | " + " | ".join(f"{np.nanmean(each):.4f}" for each in figures) + " |")
    for share in (0.002, 0.005, 0.01, 0.02, 0.05):
        for prior in (0.0, 1.0, 3.0, 10.0):
            balance.REFERENCE_SHARE, balance.PRIOR_HITS = share, prior
            figures = [measure(thinned, some, calibrated)["mAP"] for _, thinned, some in made]
            row = " | ".join(f"{np.nanmean(each):.4f}" for each in figures)
            print(f"| {share} | {prior:g} | {row} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, default=DEFAULT_ARTIFACT)
    parser.add_argument("--queries", type=int, default=2000, help="of 13,090, drawn at random")
    parser.add_argument("--fit", action="store_true", help="the constants, on FLORES-200 dev")
    chosen = parser.parse_args()
    encoder = TextEncoder.open(chosen.artifact)
    if chosen.fit:
        fit(encoder)
        return
    whole = sample(xquad(), chosen.queries)
    vectors = encode(encoder, whole.queries, "query"), encode(encoder, whole.documents, "document")
    for name, pool, some in pools(whole, vectors, list(POOLS)):
        ways: dict[str, Rank] = {
            "cosine": plain,
            "calibrated": calibrated,
            "interleaved": interleaved,
        }
        if name == "all alike":
            check_service(pool, some)
            words = Words(pool.documents)
            ways |= {"lexical": lexical(words), "hybrid": hybrid(words)}
        print_pool(name, pool, {way: measure(pool, some, rank) for way, rank in ways.items()})


if __name__ == "__main__":
    main()
