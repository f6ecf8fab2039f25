"""Which pairs a step has where own files stand beside the corpora of the registry."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext, Corpus, CorpusError, load_bitext, select_corpora
from training.pairing import PairSource
from training.tokens import TokenTable

LANGS = ("fra_Latn", "rus_Cyrl", "swh_Latn")


def questions(langs: tuple[str, str], count: int) -> list[dict[str, Any]]:
    query, document = langs
    return [
        {
            "query": f"question {number} {query} {document}",
            "document": f"answer {number // 2} {document} with some more words than that",
            "lang_query": query,
            "lang_document": document,
        }
        for number in range(count)
    ]


def own(path: Path, *langs: tuple[str, str], count: int = 20) -> Corpus:
    rows = [row for pair in langs for row in questions(pair, count)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Corpus(path.stem, "mine", shippable=False, path=str(path))


def table_of(bitext: Bitext) -> TokenTable:
    lengths = np.array([len(text.split()) for text in bitext.texts.to_pylist()])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenTable(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets, pad_id=0)


def source(bitext: Bitext, **batches: Any) -> PairSource:
    weights = {corpus.name: 1.0 for corpus in bitext.corpora}
    section = BatchesSection(pairs=16, **batches)
    corpora = CorporaSection(weights=weights, language_exponent=0.0)
    return PairSource(bitext, table_of(bitext), corpora, section, room=8, seed=3)


@pytest.fixture
def bitext(data: Path, tmp_path: Path) -> Bitext:
    mine = own(
        tmp_path / "faq.parquet",
        ("fra_Latn", "fra_Latn"),
        ("spa_Latn", "spa_Latn"),
        ("fra_Latn", "eng_Latn"),
    )
    return load_bitext(data, [*select_corpora(["nllb-seed"], shippable=True), mine])


def test_draw_mono_takes_real_pairs_where_a_language_has_them(bitext: Bitext) -> None:
    made = source(bitext, cross_probability=0.0)
    texts = bitext.texts.to_pylist()
    seen: dict[str, set[bool]] = {}
    for step in range(60):
        pairing = made.draw(step)
        langs = {*pairing.query.langs.tolist(), *pairing.document.langs.tolist()}
        assert pairing.kind == "mono"
        assert len(langs) == 1
        lang = bitext.langs[langs.pop()]
        seen.setdefault(lang, set()).add(pairing.real)
        if pairing.real:
            for query, document in zip(pairing.query.texts, pairing.document.texts, strict=True):
                number = int(texts[query].split()[1])
                assert texts[query] == f"question {number} {lang} {lang}"
                assert texts[document].startswith(f"answer {number // 2} {lang} ")
            assert not (pairing.query.cropped | pairing.document.cropped).any()
            assert (pairing.query.pivots == pairing.document.texts).all()
    with_pairs = {"fra_Latn", "spa_Latn"}
    assert with_pairs < set(seen)
    assert all(real == {lang in with_pairs} for lang, real in seen.items())


def test_draw_cross_of_an_own_file_asks_queries_for_documents(bitext: Bitext) -> None:
    made = source(bitext, cross_probability=1.0, pivot_free=1.0)
    texts = bitext.texts.to_pylist()
    directions = set()
    for step in range(20):
        pairing = made.draw(step)
        mine = bitext.corpus[pairing.rows] == 1
        for query, document in zip(
            pairing.query.texts[mine], pairing.document.texts[mine], strict=True
        ):
            assert texts[query].startswith("question")
            assert texts[document].startswith("answer")
            assert texts[query].split()[2:] == ["fra_Latn", "eng_Latn"]  # never of one language
        directions |= set(
            zip(pairing.query.langs[~mine], pairing.document.langs[~mine], strict=True)
        )
    # Translations go in both directions still.
    assert {(b, a) for a, b in directions} == directions


def test_draw_weights_of_corpora_hold_for_real_pairs_too(bitext: Bitext) -> None:
    made = source(bitext, cross_probability=0.0)
    real = [made.draw(step).real for step in range(800)]
    # The own file has half of all batches: a third each in French and Spanish, of pairs, and in
    # English, whose documents answer French questions and are lines here.
    assert np.mean(real) == pytest.approx(0.5 * 2 / 3, abs=0.05)


def turns_of(bitext: Bitext, **batches: Any) -> dict[tuple[str, str], list[int]]:
    """List what a run draws, as bucket -> rows or texts in the order in which they come."""
    made, found = source(bitext, **batches), {}
    corpus_of = dict(zip(bitext.text_a.tolist(), bitext.corpus.tolist(), strict=True))
    corpus_of |= dict(zip(bitext.text_b.tolist(), bitext.corpus.tolist(), strict=True))
    for step in range(150):
        pairing = made.draw(step)
        query = pairing.query
        for row, text, lang in zip(pairing.rows, query.texts, query.langs, strict=True):
            name = bitext.corpora[corpus_of[int(text)]].name
            langs = bitext.langs[lang]
            if pairing.kind == "cross":
                langs = f"{bitext.langs[bitext.lang_a[row]]}-{bitext.langs[bitext.lang_b[row]]}"
            found.setdefault((name, langs), []).append(int(row if row >= 0 else text))
    return found


@pytest.mark.parametrize(
    "batches",
    [
        {"cross_probability": 1.0, "pivot_free": 0.5},
        {"cross_probability": 1.0, "single_corpus": 1.0},
        {"cross_probability": 0.0, "neighbor_probability": 0.5},
    ],
)
def test_draw_each_pair_of_a_bucket_once_before_any_twice(
    bitext: Bitext, batches: dict[str, float]
) -> None:
    uses = {(u.corpus, u.languages): u for u in source(bitext, **batches).uses(150) if u.drawn}
    found = turns_of(bitext, **batches)
    assert found.keys() == uses.keys()
    for name, drawn in found.items():
        size = uses[name].size
        assert len(drawn) == uses[name].drawn >= 2 * size
        epochs = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        assert all(len(set(epoch)) == len(epoch) for epoch in epochs)
        assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs[:-1])
        assert set(epochs[-1]) <= set(epochs[0])
        assert epochs[0] != epochs[1]


def test_uses_sizes_are_those_of_the_corpora(bitext: Bitext) -> None:
    sizes = {(u.kind, u.corpus, u.languages): u.size for u in source(bitext).uses(0)}
    seed = {("cross", "nllb-seed", f"eng_Latn-{lang}"): 60 for lang in LANGS}
    lines = {("mono", "nllb-seed", lang): 60 for lang in ("eng_Latn", "rus_Cyrl", "swh_Latn")}
    own_ones = {
        ("cross", "faq", "eng_Latn-fra_Latn"): 20,
        ("mono", "faq", "fra_Latn"): 20,
        ("mono", "faq", "spa_Latn"): 20,
        ("mono", "faq", "eng_Latn"): 10,
    }
    assert sizes == seed | lines | own_ones


def test_draw_of_a_fresh_source_goes_on_where_another_stopped(bitext: Bitext) -> None:
    settings = {"cross_probability": 0.5, "single_corpus": 0.5}
    first, resumed = source(bitext, **settings), source(bitext, **settings)
    made = [first.draw(step) for step in range(40)]
    for step in (30, 31, 32, 3, 39):
        again, wanted = resumed.draw(step), made[step]
        assert again.kind == wanted.kind
        for side in ("query", "document"):
            ours, theirs = getattr(again, side), getattr(wanted, side)
            assert ours.texts.tolist() == theirs.texts.tolist()
            assert ours.starts.tolist() == theirs.starts.tolist()


def test_source_without_pairs_in_two_languages_says_what_to_set(tmp_path: Path) -> None:
    bitext = load_bitext(tmp_path, [own(tmp_path / "faq.parquet", ("fra_Latn", "fra_Latn"))])
    with pytest.raises(CorpusError, match=r"set batches\.cross_probability = 0"):
        source(bitext, cross_probability=0.5)
    assert source(bitext, cross_probability=0.0).draw(0).real


def test_source_that_would_never_draw_an_own_file_is_refused(data: Path, tmp_path: Path) -> None:
    mine = own(tmp_path / "faq.parquet", ("fra_Latn", "fra_Latn"))
    bitext = load_bitext(data, [*select_corpora(["nllb-seed"], shippable=True), mine])
    with pytest.raises(CorpusError, match="faq, all of whose pairs are in one language"):
        source(bitext, cross_probability=1.0)


def test_source_without_lines_for_monolingual_batches_says_what_to_set(tmp_path: Path) -> None:
    rows = [{**row, "document": f"a{n}"} for n, row in enumerate(questions(("a", "b"), 9))]
    rows = [{**row, "lang_query": "fra_Latn", "lang_document": "eng_Latn"} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "short.parquet")
    mine = Corpus("short", "mine", shippable=False, path=str(tmp_path / "short.parquet"))
    bitext = load_bitext(tmp_path, [mine])
    with pytest.raises(CorpusError, match=r"set batches\.cross_probability = 1"):
        source(bitext, cross_probability=0.5)
