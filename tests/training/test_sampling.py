"""Drawing follows its formulas: checked on corpora of known sizes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.config import BatchesSection
from training.corpus import Bitext, Corpus, load_bitext
from training.epochs import Timetable
from training.sampling import Lines, Pairs

SIZES = {"one": {"fra_Latn": 10, "swh_Latn": 40, "rus_Cyrl": 250}, "two": {"fra_Latn": 90}}
DRAWS = 30_000


def bitext_of(folder: Path, sizes: dict[str, dict[str, int]], *, n_way: bool = False) -> Bitext:
    (folder / "bitext").mkdir()
    corpora = []
    for name, langs in sizes.items():
        rows = [
            {
                "lang_a": "eng_Latn",
                "lang_b": lang,
                "text_a": f"{name} {number}",
                "text_b": f"{name} {number} {lang}",
            }
            for lang, size in langs.items()
            for number in range(size)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "bitext" / f"{name}.parquet")
        corpora.append(Corpus(name, "mine", shippable=False, n_way=n_way))
    return load_bitext(folder, corpora)


def shares(names: list[str]) -> dict[str, float]:
    return {name: names.count(name) / len(names) for name in sorted(set(names))}


def expected(exponent: float, weights: dict[str, float]) -> dict[str, float]:
    """Sum over corpora of weight * n ** exponent / (that of all languages of the corpus)."""
    found: dict[str, float] = {}
    for corpus, langs in SIZES.items():
        powers = {lang: size**exponent for lang, size in langs.items()}
        for lang, power in powers.items():
            share = weights[corpus] * power / sum(powers.values()) / sum(weights.values())
            found[lang] = found.get(lang, 0.0) + share
    return found


def timetable(pairs: Pairs, lines: Lines, **batches: float) -> Timetable:
    section = BatchesSection(pairs=20, **batches)  # type: ignore[arg-type]
    return Timetable(pairs.buckets, lines.buckets, section, seed=0)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("single", [0.0, 0.6])
def test_batches_draw_languages_by_tempered_size_and_corpora_by_weight(
    tmp_path: Path, exponent: float, single: float
) -> None:
    bitext, weights = bitext_of(tmp_path, SIZES), np.array([3.0, 1.0])
    pairs = Pairs(bitext, weights, exponent)
    lines = Lines(bitext, np.full(len(bitext.texts), 10), weights, exponent)
    steps = DRAWS // 20 if not single else DRAWS
    made = timetable(pairs, lines, cross_probability=1.0, single_corpus=single)
    counts = made.counts(steps)[0]
    found: dict[str, float] = {}
    for (_, langs), count in zip(pairs.names, counts.tolist(), strict=True):
        lang = langs.removeprefix("eng_Latn-")
        found[lang] = found.get(lang, 0.0) + count / counts.sum()
    assert found == pytest.approx(expected(exponent, {"one": 3.0, "two": 1.0}), abs=0.012)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_pairs_draw_languages_by_tempered_size_and_corpora_by_weight(
    tmp_path: Path, exponent: float
) -> None:
    bitext = bitext_of(tmp_path, SIZES)
    pairs = Pairs(bitext, np.array([3.0, 1.0]), exponent)
    drawn = pairs.draw(np.random.default_rng(0), DRAWS, pivot_free=0.0)
    langs = [bitext.langs[lang] for lang in bitext.lang_b[drawn.rows]]
    wanted = expected(exponent, {"one": 3.0, "two": 1.0})
    assert shares(langs) == pytest.approx(wanted, abs=0.01)
    if exponent == 0.0:
        assert wanted["swh_Latn"] == wanted["rus_Cyrl"] == 0.25
    # Either side may be the query.
    assert np.mean(drawn.query_langs == bitext.langs.index("eng_Latn")) == pytest.approx(
        0.5, abs=0.02
    )


def test_pairs_of_a_single_corpus_come_from_one_at_a_time(tmp_path: Path) -> None:
    bitext = bitext_of(tmp_path, SIZES)
    pairs, rng = Pairs(bitext, weights := np.array([3.0, 1.0]), 0.5), np.random.default_rng(0)
    lines = Lines(bitext, np.full(len(bitext.texts), 10), weights, 0.5)
    made = timetable(pairs, lines, cross_probability=1.0, single_corpus=1.0)
    drawn = [made.at(step).buckets for step in range(400)]
    first = [pairs.take(buckets, np.zeros(20, int), rng, pivot_free=0.0) for buckets in drawn]
    found = [bitext.corpus[each.rows] for each in first]
    assert all(len(set(corpus.tolist())) == 1 for corpus in found)
    assert np.mean([corpus[0] == 0 for corpus in found]) == pytest.approx(0.75, abs=0.06)


def test_pairs_pivot_free_of_n_way_corpora_reach_every_pair_of_languages(tmp_path: Path) -> None:
    langs = ("fra_Latn", "swh_Latn", "rus_Cyrl")
    bitext = bitext_of(tmp_path, {"one": dict.fromkeys(langs, 12)}, n_way=True)
    pairs = Pairs(bitext, np.array([1.0]), 0.5)
    drawn = pairs.draw(np.random.default_rng(0), 4000, pivot_free=0.9)
    ways = {
        (bitext.langs[query], bitext.langs[document])
        for query, document in zip(drawn.query_langs, drawn.document_langs, strict=True)
    }
    every = (*langs, "eng_Latn")
    assert ways == {(a, b) for a in every for b in every if a != b}
    texts = bitext.texts.to_pylist()
    for query, document, pivot in zip(drawn.queries, drawn.documents, drawn.pivots, strict=True):
        # "one 7 fra_Latn" and "one 7 swh_Latn" translate "one 7".
        assert texts[query].split()[1] == texts[document].split()[1] == texts[pivot].split()[1]
    mates = (drawn.query_langs != bitext.langs.index("eng_Latn")) & (
        drawn.document_langs != bitext.langs.index("eng_Latn")
    )
    # A pair leaves the pivot out where the mate, one of three, is another text.
    assert mates.mean() == pytest.approx(0.9 * 2 / 3, abs=0.03)


def test_pairs_of_other_corpora_always_have_the_pivot(tmp_path: Path) -> None:
    bitext = bitext_of(tmp_path, SIZES)
    pairs = Pairs(bitext, np.array([1.0, 1.0]), 0.5)
    drawn = pairs.draw(np.random.default_rng(0), 500, pivot_free=1.0)
    english = bitext.langs.index("eng_Latn")
    assert ((drawn.query_langs == english) | (drawn.document_langs == english)).all()


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_lines_draw_languages_by_tempered_size(tmp_path: Path, exponent: float) -> None:
    bitext = bitext_of(tmp_path, {"one": SIZES["one"]})
    lengths = np.full(len(bitext.texts), 10)
    lines, weights = Lines(bitext, lengths, np.array([1.0]), exponent), np.array([1.0])
    made = timetable(Pairs(bitext, weights, exponent), lines, cross_probability=0.0)
    found = []
    for step in range(6000):
        langs = lines.of(lines.take(made.at(step).buckets, np.zeros(20, int)))[2]
        assert len(set(langs.tolist())) == 1
        found.append(bitext.langs[langs[0]])
    sizes = {**SIZES["one"], "eng_Latn": 250}  # an English text beside three translations is one
    total = sum(size**exponent for size in sizes.values())
    wanted = {lang: size**exponent / total for lang, size in sizes.items()}
    assert shares(found) == pytest.approx(wanted, abs=0.025)


def test_lines_like_a_line_are_of_its_language(tmp_path: Path) -> None:
    bitext = bitext_of(tmp_path, SIZES)
    lines = Lines(bitext, np.full(len(bitext.texts), 10), np.array([3.0, 1.0]), 0.5)
    rng = np.random.default_rng(0)
    langs = lines.of(np.arange(len(lines)))[2]
    for line in range(0, len(lines), 7):
        drawn = lines.draw(rng, 8, like=line)
        assert set(langs[drawn].tolist()) == {langs[line]}
    french = lines.draw(rng, 3000, like=int(np.flatnonzero(langs == langs[0])[0]))
    assert len(set(french.tolist())) == (langs == langs[0]).sum()


def test_lines_that_are_too_short_are_not_drawn(tmp_path: Path) -> None:
    bitext = bitext_of(tmp_path, {"one": SIZES["one"]})
    lengths = np.arange(len(bitext.texts)) % 12
    lines = Lines(bitext, lengths, np.array([1.0]), 0.5)
    assert lengths[lines.texts].min() == 6
    assert len(lines) < len(bitext)
