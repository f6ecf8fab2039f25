from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from training import alignment
from training.alignment import aligned, compare, fit, fit_languages, main, translation_pairs
from training.corpus import Bitext, CorpusError, load_bitext, select_corpora

DIM = 24


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_fit_equals_the_librarys_solution() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, DIM)), rng.normal(size=(50, DIM))
    expected, _ = orthogonal_procrustes(x, y)
    assert fit(x, y).rotation == pytest.approx(expected, abs=1e-10)
    centered, _ = orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    found = fit(x, y, center=True)
    assert found.rotation == pytest.approx(centered, abs=1e-10)
    assert found.rotation @ found.rotation.T == pytest.approx(np.eye(DIM), abs=1e-10)


def test_fit_recovers_a_rotation_from_noisy_vectors() -> None:
    rng = np.random.default_rng(1)
    turn = ortho_group.rvs(DIM, random_state=2)
    y = unit(rng.normal(size=(2000, DIM)))
    x = y @ turn.T + rng.normal(0.0, 0.05, y.shape)
    assert fit(x, y).rotation == pytest.approx(turn, abs=0.03)
    moved = fit(x, y).apply(x.astype(np.float32))
    assert moved.dtype == np.float32
    assert np.linalg.norm(moved, axis=1) == pytest.approx(np.ones(2000), abs=1e-5)
    assert (moved * y).sum(1).mean() > 0.95 > 0.2 > (unit(x) * y).sum(1).mean()


def test_fit_with_center_undoes_a_shift_and_without_does_not() -> None:
    rng = np.random.default_rng(3)
    y = unit(rng.normal(size=(500, DIM)))
    x = (y @ ortho_group.rvs(DIM, random_state=4).T + 0.5).astype(np.float32)
    assert fit(x, y, center=True).apply(x) == pytest.approx(y, abs=1e-5)
    assert np.abs(fit(x, y).apply(x) - y).max() > 0.1
    assert not fit(x, y).mean_from.any()


def test_fit_refuses_unequal_shapes_and_no_pairs() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\) and targets of shape \(3, 3\)"):
        fit(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="at least one pair"):
        fit(np.ones((0, 3)), np.ones((0, 3)))


@pytest.fixture
def bitext(data: Path) -> Bitext:
    return load_bitext(data, select_corpora(["nllb-seed"], shippable=True))


def test_translation_pairs_are_of_one_language_and_either_order(bitext: Bitext) -> None:
    texts, english = translation_pairs(bitext, "swh_Latn", 10)
    known = set(
        zip(
            bitext.texts.take(bitext.text_b).to_pylist(),
            bitext.texts.take(bitext.text_a).to_pylist(),
            strict=True,
        )
    )
    swahili = set(
        bitext.texts.take(
            bitext.text_b[bitext.lang_b == bitext.langs.index("swh_Latn")]
        ).to_pylist()
    )
    assert len(set(texts)) == 10
    assert set(texts) <= swahili
    assert set(zip(texts, english, strict=True)) <= known
    turned = replace(
        bitext,
        text_a=bitext.text_b,
        text_b=bitext.text_a,
        lang_a=bitext.lang_b,
        lang_b=bitext.lang_a,
    )
    assert translation_pairs(turned, "swh_Latn", 10) == (texts, english)
    with pytest.raises(CorpusError, match="no pairs of tha_Thai with English"):
        translation_pairs(bitext, "tha_Thai", 10)


class Turned:
    """An encoder of words by meaning, which turns each language but English its own way."""

    def __init__(self, data: Path, bitext: Bitext) -> None:
        rng = np.random.default_rng(5)
        self.word: dict[str, NDArray[np.float64]] = {}
        pairs = zip(
            bitext.texts.take(bitext.text_a).to_pylist(),
            bitext.texts.take(bitext.text_b).to_pylist(),
            bitext.lang_b.tolist(),
            strict=True,
        )
        turns = [ortho_group.rvs(DIM, random_state=i) for i in range(len(bitext.langs))]
        for english, text, lang in pairs:
            for left, right in zip(english.split(), text.split(), strict=True):
                self.word.setdefault(left, rng.normal(size=DIM))
                self.word[right] = self.word[left] @ turns[lang]

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        sums = [sum(self.word[word] for word in text.split()) for text in texts]
        return unit(np.array(sums)).astype(np.float32)


def test_rotation_lets_each_language_find_its_english(data: Path, bitext: Bitext) -> None:
    encode = Turned(data, bitext)
    languages = ["fra_Latn", "swh_Latn", "rus_Cyrl"]
    found = fit_languages(encode, bitext, languages, center=False, count=60)
    for before, after in compare(encode, data, found).values():
        assert before < 0.5
        assert after == 1.0
    own = pq.read_table(data / "eval" / "flores200-dev.parquet")["fra_Latn"].to_pylist()
    turned = aligned(encode, found["fra_Latn"])(own)
    assert turned == pytest.approx(found["fra_Latn"].apply(encode(own)))


def test_main_prints_figures_before_and_after(
    data: Path,
    bitext: Bitext,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    monkeypatch.setattr(alignment, "open_encode", lambda path: nullcontext(Turned(data, bitext)))
    arguments = ["anything", "--languages", "fra_Latn", "--corpora", "nllb-seed"]
    assert main([*arguments, "--pairs", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1:] == ["1.0000", "fra_Latn"]
    assert lines[-1].split()[2] == "mean"
    assert main(["anything", "--languages", "tha_Thai", "--corpora", "nllb-seed"]) == 2
    assert "no pairs" in capsys.readouterr().err
