import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.inside import Inside, TokenRow, same_lengths
from app.robustness.smoothing import Lens, Noise, movable, noisy_vectors, smoothed_vectors
from app.robustness.wordnoise import Substitutes, deleted_texts, units_of, vectors_of

from .glass import HIDDEN, VOCABULARY, Glass, glass, rows_of

NOISE = Noise(0.5, 64, seed=3)


def test_smoothed_vectors_do_not_depend_on_what_else_is_asked():
    inside, rows = glass(), rows_of(12)
    together = smoothed_vectors(inside, rows, NOISE)
    for place in (11, 4, 0):
        alone = smoothed_vectors(inside, [rows[place]], NOISE)
        np.testing.assert_array_equal(alone.vectors[0], together.vectors[place])
        assert alone.lengths[0] == together.lengths[place]


def test_smoothed_vectors_are_the_mean_of_the_certified_samples():
    inside, (row, *_) = glass(), rows_of(1)
    samples = noisy_vectors(inside, row, NOISE)
    mean = samples.mean(axis=0, dtype=np.float64)
    found = smoothed_vectors(inside, [row], NOISE)
    assert samples.shape == (64, 8)
    np.testing.assert_allclose(found.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert found.lengths[0] == pytest.approx(np.linalg.norm(mean))


def test_more_samples_begin_with_those_of_fewer():
    inside, (row, *_) = glass(), rows_of(1)
    few = noisy_vectors(inside, row, NOISE)
    np.testing.assert_array_equal(noisy_vectors(inside, row, Noise(0.5, 128, 3))[:64], few)
    inside.run_tokens = 10 * len(row.ids)
    np.testing.assert_allclose(noisy_vectors(inside, row, NOISE), few, atol=1e-6)


def test_noise_is_as_large_as_said_and_leaves_special_tokens_alone():
    inside, seen = glass(), []

    class Watch(Glass):
        def encode(self, token_embeddings, mask):
            seen.append(token_embeddings)
            return super().encode(token_embeddings, mask)

    inside.box = Watch()
    row = rows_of(1)[0]
    noisy_vectors(inside, row, Noise(0.3, 4000, 1))
    moved = np.concatenate(seen) - inside.embed([row])
    sizes = np.sqrt((moved**2).sum(axis=-1))  # (samples, seq)
    assert not sizes[:, [0, -1]].any()
    wanted = 0.3 * inside.mean_norm
    np.testing.assert_allclose(np.sqrt((sizes[:, 1:-1] ** 2).mean(axis=0)), wanted, rtol=0.03)
    assert Noise(0.3, 1).entry_sigma(inside) == pytest.approx(wanted / np.sqrt(HIDDEN))


def test_little_noise_gives_the_plain_vector_and_other_seeds_other_noise():
    inside, rows = glass(), rows_of(3)
    plain = Lens(inside).texts(rows)
    found = smoothed_vectors(inside, rows, Noise(1e-4, 8))
    np.testing.assert_allclose(found.vectors, plain, atol=1e-3)
    np.testing.assert_allclose(found.lengths, 1.0, atol=1e-3)
    first, second = (noisy_vectors(inside, rows[0], Noise(0.5, 4, seed)) for seed in (0, 1))
    assert np.abs(first - second).max() > 0.01


def test_lens_gradients_equal_central_differences():
    rng = np.random.default_rng(0)
    rows = rows_of(4, lengths=(5,))
    for noise in (None, Noise(0.4, 16)):
        inside = glass()
        lens = Lens(inside, noise)
        embeddings = inside.embed(rows).astype(np.float64)
        cotangents = rng.standard_normal((4, 8))
        direction = rng.standard_normal(embeddings.shape) * movable(rows)
        vectors, gradients = lens.gradients(rows, embeddings, cotangents)
        np.testing.assert_allclose(vectors, lens.vectors(rows, embeddings), atol=1e-6)
        ends = [lens.vectors(rows, embeddings + sign * 1e-3 * direction) for sign in (1, -1)]
        slopes = ((ends[0] - ends[1]) * cotangents).sum(axis=1) / 2e-3
        found = (gradients * direction).sum(axis=(1, 2))
        np.testing.assert_allclose(found, slopes, rtol=2e-2, atol=2e-3)
        assert not gradients[:, [0, -1]].any()


def test_lens_counts_what_goes_through_the_graph():
    inside, rows = glass(), rows_of(6)
    Lens(inside).texts(rows)
    assert inside.calls == 6
    Lens(inside, NOISE).texts(rows[:2])
    assert inside.calls == 6 + 2 * 64
    assert (Lens(inside).cost, Lens(inside, NOISE).cost) == (1, 64)


def test_inside_measures_the_mean_norm_of_its_vocabulary(monkeypatch):
    box = Glass()
    expected = np.linalg.norm(box.table[2:], axis=1).mean()
    monkeypatch.setattr("app.robustness.inside._TABLE_BLOCK", 7)
    inside = Inside(box, [*range(VOCABULARY - 1, 1, -1), 5])
    assert inside.mean_norm == pytest.approx(expected, rel=1e-6)
    with pytest.raises(InvalidInputError, match="vocabulary is empty"):
        Inside(box, [])


def test_runs_are_cut_without_changing_anything():
    rows = rows_of(20)
    whole = Lens(glass()).texts(rows)  # 3 runs, one for each length
    inside = Inside(Glass(), range(2, VOCABULARY), run_tokens=12)
    np.testing.assert_allclose(Lens(inside).texts(rows), whole, atol=1e-6)
    assert inside.box.runs == 17  # type: ignore[attr-defined]


def test_same_lengths_groups_every_row_once():
    rows = rows_of(10)
    groups = same_lengths(rows, most=14)
    assert sorted(place for group in groups for place in group) == list(range(10))
    for group in groups:
        assert len({len(rows[place].ids) for place in group}) == 1
        assert sum(len(rows[place].ids) for place in group) <= 14


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInputError, match="positive sigma"):
        Noise(0.0, 10)
    with pytest.raises(InvalidInputError, match="1 to 100000 samples"):
        Noise(1.0, 0)
    with pytest.raises(InvalidInputError, match="an interval among them"):
        TokenRow((1, 2), 1, 3)


def test_deleted_texts_delete_as_often_as_said():
    text = " ".join(f"w{n}" for n in range(10))
    drawn = deleted_texts(text, 0.7, 3000, seed=1)
    kept = np.array([len(one.split()) for one in drawn])
    assert kept.mean() == pytest.approx(3.0, abs=0.12)
    assert kept.var() == pytest.approx(10 * 0.7 * 0.3, abs=0.2)
    assert "" in drawn
    for one in drawn[:50]:
        words = [int(word[1:]) for word in one.split()]
        assert words == sorted(words)


def test_deleted_texts_are_the_same_for_the_same_seed_and_begin_alike():
    text = "a  b c d e"
    assert deleted_texts(text, 0.5, 50, 2) == deleted_texts("a b c d e", 0.5, 80, 2)[:50]
    assert deleted_texts(text, 0.5, 50, 2) != deleted_texts(text, 0.5, 50, 3)


def test_units_are_words_or_whole_characters():
    assert units_of("नमस्ते  दुनिया", "word") == (["नमस्ते", "दुनिया"], " ")
    units, glue = units_of("ภาษาไทย", "grapheme")
    assert (glue.join(units), len(units)) == ("ภาษาไทย", 7)


def test_substitutes_are_drawn_alike_often():
    words = Substitutes({"big": ["large", "huge"], "large": ["big"]})
    drawn = words.texts("big cat", 3000, seed=1)
    counts = {one: drawn.count(one) for one in ("big cat", "large cat", "huge cat")}
    assert sum(counts.values()) == 3000
    assert min(counts.values()) > 900
    # big: {big, large, huge}; large: {big, large} shares 2 of 3; huge stands for itself: 1 of 3.
    assert words.overlaps("big cat") == [pytest.approx(1 / 3), 1.0]


def test_vectors_of_encodes_each_text_once_and_empty_ones_to_zero():
    asked = []

    def encode(texts):
        asked.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    found = vectors_of(["ab", "", "c", "ab"], encode)
    assert asked == ["ab", "c"]
    np.testing.assert_array_equal(found, [[2, 1], [0, 0], [1, 1], [2, 1]])
    with pytest.raises(InvalidInputError, match="Nothing is left"):
        vectors_of(["", ""], encode)
