"""FLORES-200 dev: 997 sentences in 205 languages, each the translation of the others.

Settings: every language to English and from it; ``between`` low-resource languages; ``pooled``,
one pool of many languages in which a query has one right document in each of them.
"""

from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np

from training.registry import CorpusError
from training.xtyntegra.parquet import column_names, read_texts
from training.xtyntegra.task import POOLED, Cell, Pool, one_to_one
from training.xtyntegra.tracks import LOW_RESOURCE_TRACK

NAME = "flores200"
ENGLISH = "eng_Latn"

_POOL = """
    eng_Latn
    amh_Ethi ban_Latn bho_Deva ckb_Arab hau_Latn kab_Latn khm_Khmr mri_Latn quy_Latn sin_Sinh
    swh_Latn tat_Cyrl uig_Arab yor_Latn
    aeb_Arab lin_Latn lug_Latn mai_Deva pap_Latn war_Latn
    ayr_Latn ilo_Latn luo_Latn sat_Olck twi_Latn
"""
POOL_LANGUAGES = tuple(_POOL.split())
"""Languages of the pool: English, then of the low-resource track 14 seen, 6 related, 5 unseen."""

STRIDE = 40
"""``between``: each language of the track searches the one this many places on, by code."""


def between_pairs(there: Collection[str]) -> list[tuple[str, str]]:
    """List the pairs of ``between``: query language, document language.

    The low-resource track, in order of codes, is a ring; each language searches the one ``STRIDE``
    places on, which is seldom a relative, and is searched by the one as many places before.

    Args:
        there: Languages of the file.
    """
    ring = sorted(set(LOW_RESOURCE_TRACK) & set(there))
    if len(ring) < 2:
        return []
    step = STRIDE if STRIDE % len(ring) else 1
    return [(lang, ring[(place + step) % len(ring)]) for place, lang in enumerate(ring)]


def load(data: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make the cells of FLORES-200 dev.

    Args:
        data: The data folder, which holds ``eval/``.
        languages: Cells whose languages are among these; empty: all. The pool stays whole.

    Raises:
        CorpusError: If the file cannot be read or lacks a language of the pool.
    """
    path = data / "eval" / "flores200-dev.parquet"
    there = column_names(path)
    if missing := sorted({*POOL_LANGUAGES, ENGLISH} - set(there)):
        raise CorpusError(f"{path}: no column {', '.join(missing)}; expected FLORES-200 dev whole")
    chosen = [lang for lang in there if not languages or lang in languages]
    asked = [lang for lang in POOL_LANGUAGES if lang in chosen]
    pool = POOL_LANGUAGES if asked else ()
    texts = read_texts(path, sorted({*chosen, *pool, ENGLISH}))
    pools = {lang: _pool(lang, texts[lang]) for lang in {*chosen, ENGLISH}}
    others = [lang for lang in sorted(chosen) if lang != ENGLISH]
    pairs = [("to-english", lang, ENGLISH) for lang in others]
    pairs += [("from-english", ENGLISH, lang) for lang in others]
    pairs += [
        ("between", one, other)
        for one, other in between_pairs(there)
        if one in chosen and other in chosen
    ]
    cells = [
        Cell(
            NAME,
            setting,
            one,
            other,
            texts[one],
            _ids(len(texts[one])),
            pools[other],
            one_to_one(len(texts[one])),
        )
        for setting, one, other in pairs
    ]
    return cells + _pooled(texts, asked)


@cache
def _ids(n: int) -> tuple[str, ...]:
    return tuple(f"{NAME}:{row}" for row in range(n))


def _pool(lang: str, texts: list[str]) -> Pool:
    return Pool(f"{NAME}:{lang}", texts, [lang] * len(texts), _ids(len(texts)))


def _pooled(texts: dict[str, list[str]], asked: Collection[str]) -> list[Cell]:
    """Make a cell for each query language; the query's own text does not compete."""
    if not asked:
        return []
    n = len(texts[ENGLISH])
    pool = Pool(
        f"{NAME}:{POOLED}",
        [text for lang in POOL_LANGUAGES for text in texts[lang]],
        [lang for lang in POOL_LANGUAGES for _ in range(n)],
        [f"{lang}:{row}" for lang in POOL_LANGUAGES for row in range(n)],
    )
    starts = np.arange(len(POOL_LANGUAGES), dtype=np.intp) * n
    rows = starts + np.arange(n, dtype=np.intp)[:, None]  # (sentences, languages)
    return [
        Cell(
            NAME,
            "pooled",
            lang,
            POOLED,
            texts[lang],
            _ids(n),
            pool,
            list(np.delete(rows, place, axis=1)),
            list(rows[:, place : place + 1]),
        )
        for place, lang in enumerate(POOL_LANGUAGES)
        if lang in asked
    ]
