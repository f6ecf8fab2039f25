"""Texts with words of other languages, and with typos."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text.dictionaries import Entry
from app.text.lexicon import Lexicon
from app.text.normalize import normalize
from app.text.perturbations.passage import clusters_of
from training.augmentation import Augment, CodeSwitch, Draw, Typos, load_lexicon
from training.corpus import CorpusError

ENTRIES = (
    Entry("eng_Latn", "dog", "deu_Latn", "Hund"),
    Entry("eng_Latn", "dog", "zho_Hans", "狗"),
    Entry("eng_Latn", "dog", "zho_Hans", "犬"),
    Entry("eng_Latn", "dog", "zho_Hans", "小狗"),
    Entry("eng_Latn", "cat", "eng_Latn", "kitty"),
    Entry("eng_Latn", "a", "hin_Deva", "क्"),
)
LEXICON = Lexicon.of(ENTRIES)
AUGMENTS: tuple[Augment, ...] = (CodeSwitch(LEXICON, 1.0), CodeSwitch(LEXICON, 0.5), Typos(3))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(draw: Draw, count: int = 2000) -> Counter[str]:
    augment, generator = CodeSwitch(LEXICON, 1.0, draw=draw), rng()
    return Counter(augment("dog", "eng_Latn", generator) for _ in range(count))


def test_code_switch_replaces_known_words_and_nothing_else() -> None:
    augment = CodeSwitch(LEXICON, 1.0, languages=("deu_Latn", "eng_Latn"))
    text = "The dog, a Cat -- and the doghouse!"
    assert augment(text, "eng_Latn", rng()) == "The Hund, a Kitty -- and the doghouse!"


def test_code_switch_with_probability_zero_or_an_unknown_language_changes_nothing() -> None:
    assert CodeSwitch(LEXICON, 0.0)("dog cat", "eng_Latn", rng()) == "dog cat"
    assert CodeSwitch(LEXICON, 1.0)("dog cat", "swh_Latn", rng()) == "dog cat"


def test_code_switch_replaces_words_as_often_as_asked() -> None:
    augment, generator = CodeSwitch(LEXICON, 0.3), rng()
    words = " ".join(augment(" ".join(["dog"] * 50), "eng_Latn", generator) for _ in range(40))
    # 2,000 words, binomial with p = 0.3: standard deviation 0.01
    assert words.split().count("dog") / 2000 == pytest.approx(0.7, abs=0.05)


def test_code_switch_draws_uniformly_among_neighbors() -> None:
    counts = drawn("neighbor")
    assert set(counts) == {"Hund", "狗", "犬", "小狗"}
    assert all(count / 2000 == pytest.approx(1 / 4, abs=0.05) for count in counts.values())


def test_code_switch_draws_uniformly_among_the_word_and_its_neighbors() -> None:
    counts = drawn("itself")
    assert set(counts) == {"dog", "Hund", "狗", "犬", "小狗"}
    assert all(count / 2000 == pytest.approx(1 / 5, abs=0.05) for count in counts.values())


def test_code_switch_draws_a_language_first() -> None:
    counts = drawn("language")
    assert counts["Hund"] / 2000 == pytest.approx(1 / 2, abs=0.05)
    assert counts["犬"] / 2000 == pytest.approx(1 / 6, abs=0.05)


def test_code_switch_through_a_language_reaches_a_third_one() -> None:
    augment = CodeSwitch(LEXICON, 1.0, languages=("zho_Hans",), through="eng_Latn")
    assert augment("Ein Hund.", "deu_Latn", rng()) in {"Ein 狗.", "Ein 犬.", "Ein 小狗."}


def test_code_switch_language_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="no words of swh_Latn in the dictionaries"):
        CodeSwitch(LEXICON, 0.5, languages=("swh_Latn",))
    with pytest.raises(ValueError, match="expected 0 to 1"):
        CodeSwitch(LEXICON, 1.5)


def test_load_lexicon_bad_line_is_a_corpus_error(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("eng_Latn\tdog\n")
    with pytest.raises(CorpusError, match="line 1: 2 columns"):
        load_lexicon([str(path)])


def test_typos_make_at_most_so_many_edits_in_the_script_of_the_text() -> None:
    for text in (
        "The doctor comes",
        "Доктор приходит",
        "डॉक्टर आता है",
        "医生每个星期",
        "의사가 온다",
    ):
        changed = Typos(1)(text, "und_Zyyy", rng())
        assert changed != text
        assert abs(len(clusters_of(changed)) - len(clusters_of(text))) <= 1
    assert Typos(2)("?! 12", "eng_Latn", rng()) == "?! 12"
    with pytest.raises(ValueError, match="at least 1"):
        Typos(0)


def test_typos_differ_from_draw_to_draw() -> None:
    generator = rng()
    texts = {Typos(1)("the doctor comes on thursday", "eng_Latn", generator) for _ in range(20)}
    assert len(texts) > 10


@pytest.mark.parametrize("augment", AUGMENTS, ids=("all", "half", "typos"))
@settings(deadline=None, max_examples=60)
@given(
    text=st.text()
    | st.lists(st.sampled_from(("dog", "Cat", "a", "狗", "小狗", " ", ".", "क", "\u0301"))).map(
        "".join
    ),
    lang=st.sampled_from(("eng_Latn", "zho_Hans", "deu_Latn", "swh_Latn")),
    seed=st.integers(0, 2**32),
)
def test_augment_any_text_gives_a_text_and_the_same_one_again(
    augment: Augment, text: str, lang: str, seed: int
) -> None:
    changed = augment(text, lang, rng(seed))
    assert changed == augment(text, lang, rng(seed))
    assert bool(normalize(changed)) == bool(normalize(text))


@settings(deadline=None, max_examples=60)
@given(text=st.text(min_size=1), seed=st.integers(0, 2**32))
def test_typos_tear_no_grapheme_cluster(text: str, seed: int) -> None:
    """Clusters lose at most their letter to another: their marks stay together and in place."""
    before, after = clusters_of(text), clusters_of(Typos(1)(text, "eng_Latn", rng(seed)))
    assert -1 <= len(after) - len(before) <= 1
    kept = sum((Counter(before) & Counter(after)).values())
    assert kept >= len(before) - 2
