"""Texts changed on the fly, by small fakes of the augmentations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from training.batches import Batch, HybridBatches
from training.config import AugmentationSection, BatchesSection, CorporaSection
from training.corpus import Bitext, CorpusError, iterate_texts, load_bitext, select_corpora
from training.rewriting import Augment, Rewriter, make_rewriter
from training.tokens import TokenTable, tokenize_texts

PAD, UNK, BEGIN, SWITCHED, TYPO = 0, 1, 2, 3, 4
PAIRS = 24


def switch(text: str, lang: str, rng: Generator) -> str:
    """Replace one word by the language's mark."""
    words = text.split()
    words[int(rng.integers(len(words)))] = f"<{lang}>"
    return " ".join(words)


def typo(text: str, lang: str, rng: Generator) -> str:
    return f"{text} <typo>"


@pytest.fixture(scope="module")
def bitext(data: Path) -> Bitext:
    return load_bitext(data, select_corpora(["nllb-seed"], shippable=True))


@pytest.fixture(scope="module")
def tokenizer(bitext: Bitext) -> Tokenizer:
    """Whole words; [BEGIN] before each text; the fakes' marks are words of their own."""
    words = sorted({word for text in iterate_texts(bitext.texts) for word in text.split()})
    marks = ["[PAD]", "[UNK]", "[BEGIN]", *(f"<{lang}>" for lang in bitext.langs), "<typo>"]
    vocabulary = {word: number for number, word in enumerate([*marks, *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("[BEGIN] $A", None, [("[BEGIN]", BEGIN)])
    return made


@pytest.fixture(scope="module")
def tokens(bitext: Bitext, tokenizer: Tokenizer) -> TokenTable:
    return tokenize_texts(tokenizer, iterate_texts(bitext.texts), PAD)


class Maker:
    def __init__(self, bitext: Bitext, tokens: TokenTable, tokenizer: Tokenizer) -> None:
        self.bitext, self.tokens, self.tokenizer = bitext, tokens, tokenizer

    def __call__(
        self,
        section: AugmentationSection | None = None,
        *,
        switch: Augment | None = None,
        typos: Augment | None = None,
        **batches: Any,
    ) -> HybridBatches:
        rewriter = None
        if section is not None:
            rewriter = Rewriter(self.bitext, self.tokenizer, section, switch=switch, typos=typos)
        return HybridBatches(
            self.bitext,
            self.tokens,
            CorporaSection(weights={"nllb-seed": 1.0}),
            BatchesSection(pairs=PAIRS, **batches),
            max_tokens=12,
            seed=2,
            rewriter=rewriter,
        )

    def words(self, batch: Batch, name: str) -> list[list[str]]:
        side = getattr(batch, name)
        rows = []
        for ids, mask in zip(side.input_ids, side.attention_mask, strict=True):
            assert ids[0] == BEGIN  # special tokens stand around rewritten texts too
            assert (ids[mask == 0] == PAD).all()
            rows.append([self.tokenizer.id_to_token(int(i)) for i in ids[mask == 1][1:]])
        return rows


@pytest.fixture
def make(bitext: Bitext, tokens: TokenTable, tokenizer: Tokenizer) -> Maker:
    return Maker(bitext, tokens, tokenizer)


def section(**keys: Any) -> AugmentationSection:
    return AugmentationSection.model_validate(keys)


def test_batch_switches_words_of_some_texts_in_their_own_language(make: Maker) -> None:
    made = make(section(sentence_probability=0.4), switch=switch, cross_probability=1.0)
    plain = make(cross_probability=1.0)
    changed, total = 0, 0
    for step in range(20):
        batch, before = made.batch(step), plain.batch(step)
        for name, langs in (("query", "query_texts"), ("document", "document_texts")):
            indices, drawn = getattr(batch, langs), getattr(before, langs)
            for row, (new, old) in enumerate(
                zip(make.words(batch, name), make.words(before, name), strict=True)
            ):
                marks = [word for word in new if word.startswith("<")]
                total += 1
                if indices[row] == -1:
                    changed += 1
                    # One word is another; it is of the language of the text.
                    assert [a for a, b in zip(new, old, strict=True) if a != b] == marks
                    text = drawn[row]
                    bitext = make.bitext
                    lang = bitext.langs[
                        bitext.lang_a[bitext.text_a == text][0]
                        if (bitext.text_a == text).any()
                        else bitext.lang_b[bitext.text_b == text][0]
                    ]
                    assert set(marks) <= {f"<{lang}>"}
                else:
                    assert new == old
                    assert indices[row] == drawn[row]
        assert batch.noisy is None
        assert all(np.array_equal(a, b) for a, b in zip(batch.sources, before.sources, strict=True))
    assert changed / total == pytest.approx(0.4, abs=0.06)


def test_batch_typos_without_self_teaching_are_in_queries_alone(make: Maker) -> None:
    made = make(section(typo_probability=0.5), typos=typo, cross_probability=1.0)
    plain = make(cross_probability=1.0)
    noisy = 0
    for step in range(20):
        batch, before = made.batch(step), plain.batch(step)
        assert batch.noisy is None
        assert np.array_equal(batch.document.input_ids, before.document.input_ids)
        for row, (new, old) in enumerate(
            zip(make.words(batch, "query"), make.words(before, "query"), strict=True)
        ):
            marked = batch.query_texts[row] == -1
            # A text that fills the row has no room for the mark at its end.
            assert new == ([*old, "<typo>"][:11] if marked else old)
            noisy += marked
    assert noisy / (20 * PAIRS) == pytest.approx(0.5, abs=0.06)


def test_batch_typos_with_self_teaching_stand_beside_clean_queries(make: Maker) -> None:
    augmentation = section(sentence_probability=0.5, typo_probability=0.5, self_teaching=1.0)
    made = make(augmentation, switch=switch, typos=typo, cross_probability=1.0)
    kinds = set()
    for step in range(10):
        batch = made.batch(step)
        assert batch.noisy is not None
        for row, (noisy, clean) in enumerate(
            zip(make.words(batch, "noisy"), make.words(batch, "query"), strict=True)
        ):
            # Typos come on top of what was switched; the clean query has none.
            assert "<typo>" not in clean
            assert noisy in (clean, [*clean, "<typo>"][:11])
            kinds.add((noisy != clean, batch.query_texts[row] == -1))
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}


def test_batch_crops_are_changed_as_crops(make: Maker) -> None:
    made = make(
        section(typo_probability=1.0), typos=typo, cross_probability=0.0, neighbor_probability=0.0
    )
    plain = make(cross_probability=0.0, neighbor_probability=0.0)
    for step in range(5):
        new = make.words(made.batch(step), "query")
        old = make.words(plain.batch(step), "query")
        assert new == [[*words, "<typo>"] for words in old]


def test_batch_is_a_function_of_the_step_with_augmentation_too(make: Maker) -> None:
    augmentation = section(sentence_probability=0.5, typo_probability=0.5)
    first, second = (make(augmentation, switch=switch, typos=typo) for _ in range(2))
    first.batch(3)
    for name in ("query", "document"):
        left, right = (getattr(made.batch(8), name) for made in (first, second))
        assert np.array_equal(left.input_ids, right.input_ids)
        assert np.array_equal(left.attention_mask, right.attention_mask)


def test_batch_text_that_vanishes_or_stays_is_left_as_it_was(make: Maker) -> None:
    plain = make(cross_probability=1.0).batch(0)
    for fake in (lambda text, lang, rng: " ", lambda text, lang, rng: text):
        made = make(section(sentence_probability=1.0), switch=fake, cross_probability=1.0)
        assert np.array_equal(made.batch(0).query.input_ids, plain.query.input_ids)
        assert (made.batch(0).query_texts >= 0).all()


def test_make_rewriter_without_augmentation_is_none(make: Maker) -> None:
    assert make_rewriter(section(), make.bitext, make.tokenizer) is None


def test_make_rewriter_switches_and_slips(make: Maker, tmp_path: Path) -> None:
    bitext = make.bitext
    french = bitext.texts[int(bitext.text_b[0])].as_py().split()
    words = tmp_path / "words.tsv"
    lines = [f"fra_Latn\t{word}\teng_Latn\tdog" for word in set(french)]
    words.write_text("\n".join(lines) + "\n", encoding="utf-8")
    keys = {"dictionaries": [str(words)], "sentence_probability": 1.0, "word_probability": 1.0}
    rewriter = make_rewriter(section(**keys, typo_probability=1.0), bitext, make.tokenizer)
    assert rewriter is not None
    assert not rewriter.self_teaching
    made = HybridBatches(
        bitext,
        make.tokens,
        CorporaSection(weights={"nllb-seed": 1.0}),
        BatchesSection(pairs=PAIRS, cross_probability=1.0),
        max_tokens=12,
        seed=2,
        rewriter=rewriter,
    )
    batch = made.batch(0)
    assert (batch.query_texts == -1).all()
    # Typos make words that the vocabulary lacks.
    assert (batch.query.input_ids == UNK).any()
    switched = [lang for lang in langs_of(bitext, batch.sources[1]) if lang == "fra_Latn"]
    assert 0 < (batch.document_texts == -1).sum() <= len(switched)


def test_make_rewriter_dictionaries_of_other_languages_are_refused(
    make: Maker, tmp_path: Path
) -> None:
    words = tmp_path / "words.tsv"
    words.write_text("yor_Latn\taja\tibo_Latn\tnkita\n", encoding="utf-8")
    keys = {"dictionaries": [str(words)], "sentence_probability": 1.0}
    with pytest.raises(CorpusError, match="expected a language of the corpora"):
        make_rewriter(section(**keys), make.bitext, make.tokenizer)


def langs_of(bitext: Bitext, texts: np.ndarray) -> list[str]:
    known = dict(zip(bitext.text_a.tolist(), bitext.lang_a.tolist(), strict=True))
    known |= dict(zip(bitext.text_b.tolist(), bitext.lang_b.tolist(), strict=True))
    return [bitext.langs[known[text]] for text in texts.tolist()]


def test_make_rewriter_switches_as_asked(make: Maker, tmp_path: Path) -> None:
    """Languages, the one that joins them, and the draw come from the configuration."""
    words = tmp_path / "words.tsv"
    lines = ["fra_Latn\tchien\teng_Latn\tdog", "swh_Latn\tmbwa\teng_Latn\tdog"]
    words.write_text("\n".join(lines) + "\n", encoding="utf-8")
    keys = {"dictionaries": [str(words)], "sentence_probability": 1.0, "word_probability": 1.0}

    def switched(**more: Any) -> set[str]:
        rewriter = make_rewriter(section(**keys, **more), make.bitext, make.tokenizer)
        assert rewriter is not None
        assert rewriter._switch is not None
        rng = np.random.default_rng(0)
        return {rewriter._switch("un chien", "fra_Latn", rng) for _ in range(50)}

    assert switched() == {"un dog"}
    assert switched(through="eng_Latn") == {"un dog", "un mbwa"}
    assert switched(through="eng_Latn", languages=["swh_Latn"]) == {"un mbwa"}
    assert switched(draw="itself") == {"un dog", "un chien"}
    with pytest.raises(CorpusError, match=r"got yor_Latn in augmentation\.languages"):
        switched(languages=["yor_Latn"])
