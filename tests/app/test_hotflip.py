"""HotFlip and the universal trigger on a small artifact's white box, in ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine

from app.artifact import load_manifest
from app.encoder.gradient import WhiteBox
from app.encoder.spelling import Spelling
from app.encoder.tokenizer import Tokenizer
from app.errors import InvalidInputError
from app.robustness.aim import Attract, Demote
from app.robustness.ball import Ball
from app.robustness.descent import Descent, push, scatter
from app.robustness.hotflip import Flips, flip_tokens
from app.robustness.inside import Inside
from app.robustness.pool import Pool, pool_of
from app.robustness.smoothing import Lens, Noise, smoothed_vectors
from app.robustness.substitution import best_tokens, row_of, steepest_places
from app.robustness.trigger import Search, find_trigger
from app.text.perturbations.edits import apply_edits
from app.text.script import script_of
from export.bundle import Contents, staged, write_artifact
from export.graph import static_graphs

TEXTS = [
    "the doctor comes to the village",
    "my sister sells fish at the market",
    "water the maize in the evening",
    "daktari huja kijijini kila alhamisi",
    "mwagilia mahindi jioni",
    "le médecin vient au village chaque jeudi",
    "врач приезжает в деревню",
    "моя сестра продаёт рыбу",
    "el médico viene al pueblo todos los jueves",
    "der arzt kommt jeden donnerstag",
]
DOCUMENTS = 60


class Reading:
    """A lens, a speller, and documents of which some lie near each text."""

    def __init__(self, folder: Path, noise: Noise | None = None) -> None:
        manifest = load_manifest(folder)
        box = WhiteBox.open(folder, device="cpu", threads=1)
        tokenizer = Tokenizer((folder / "tokenizer.json").read_bytes(), manifest)
        self.speller = Spelling(tokenizer, manifest, "query")
        self.inside = Inside(box, self.speller.vocabulary)
        self.lens = Lens(self.inside, noise)
        rng = np.random.default_rng(0)
        clean = self.lens.texts([row_of(one) for one in self.speller.read(TEXTS)])
        clean = clean / np.linalg.norm(clean, axis=1, keepdims=True)
        noisy = np.repeat(clean, DOCUMENTS // len(TEXTS), axis=0)
        noisy = noisy + 0.12 * rng.standard_normal(noisy.shape)
        noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
        self.pool: Pool = pool_of([f"d{n}" for n in range(DOCUMENTS)], noisy)
        self.best = [f"d{n}" for n in self.pool.scores(clean).argmax(axis=1)]
        self.inside.calls = 0

    def aim(self, top_k: int = 5) -> Demote:
        return Demote(self.pool, [[name] for name in self.best], top_k)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.floating]:
        return self.lens.texts([row_of(one) for one in self.speller.read(texts)])


@pytest.fixture(scope="module")
def folder(
    tiny_tokenizer: Engine, tiny_table: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    contents = Contents(
        name="glass",
        dim=tiny_table.shape[1],
        vocab_size=len(tiny_table),
        max_tokens=64,
        pad_id=0,
        pooling="mean",
        tokenizer=tiny_tokenizer.to_str().encode(),
        graphs={"fp32": static_graphs(tiny_table)},
        licence="CC0-1.0",
    )
    out = tmp_path_factory.mktemp("glass") / "glass"
    with staged(out) as staging:
        write_artifact(staging, contents)
    return out


@pytest.fixture(scope="module")
def reading(folder: Path) -> Reading:
    return Reading(folder)


def test_best_tokens_are_those_of_the_whole_product(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = np.random.default_rng(1).standard_normal((4, reading.inside.box.hidden))
    gradients = gradients.astype(np.float32)
    vocabulary = reading.inside.vocabulary
    table = reading.inside.box.lookup([[int(token)] for token in vocabulary])[0][:, 0]
    whole = gradients @ table.T
    monkeypatch.setattr("app.robustness.inside._TABLE_BLOCK", 97)

    ids, slopes = best_tokens(reading.inside, gradients, 9)

    for row, tokens, values in zip(whole, ids, slopes, strict=True):
        np.testing.assert_array_equal(tokens, vocabulary[np.argsort(row)[:9]])
        np.testing.assert_allclose(values, np.sort(row)[:9], atol=1e-4)


def test_steepest_places_are_allowed_ones_in_order() -> None:
    gradients = np.array([[[3.0], [1.0], [2.0], [4.0]]], dtype=np.float32)
    allowed = np.array([[True, True, True, False]])
    np.testing.assert_array_equal(steepest_places(gradients, allowed, 2), [[0, 2]])
    np.testing.assert_array_equal(steepest_places(gradients, allowed, 4), [[0, 2, 1, -1]])


def test_flip_tokens_what_is_reported_is_what_the_text_does(reading: Reading) -> None:
    results = flip_tokens(reading.lens, reading.speller, TEXTS, reading.aim(), Flips(2, 60))

    losses, _ = reading.aim().look(reading.vectors([one.text for one in results]), np.arange(10))
    for one, text, loss in zip(results, TEXTS, losses, strict=True):
        assert one.loss == pytest.approx(loss, abs=1e-5)
        assert one.success == (one.loss < -1e-6)
        assert apply_edits(text, one.edits) == one.text
        assert len(one.edits) <= 2
        assert one.calls <= 60
        for edit in one.edits:
            assert script_of(edit.after) == script_of(edit.before)
        assert one.loss <= one.clean_loss
    assert sum(one.success for one in results) >= 3
    assert sum(one.tried for one in results) > 50


def test_flip_tokens_is_better_than_random_exchanges(reading: Reading) -> None:
    flips = Flips(1, 26, same_script=False)
    led = flip_tokens(reading.lens, reading.speller, TEXTS, reading.aim(), flips)
    rng = np.random.default_rng(0)
    worst = []
    for place, read in enumerate(reading.speller.read(TEXTS)):
        texts: list[str] = []
        while len(texts) < 25:
            left, right = read.spans[rng.integers(len(read.spans))]
            token = int(rng.choice(reading.inside.vocabulary))
            texts.append(read.text[:left] + reading.speller.surface(token) + read.text[right:])
        losses, _ = reading.aim().look(reading.vectors(texts), np.full(25, place))
        worst.append(losses.min())
    assert np.mean([one.loss for one in led]) < np.mean(worst)


def test_flip_tokens_more_budget_is_never_weaker(reading: Reading) -> None:
    before = None
    budgets = (Flips(1, 10), Flips(1, 40), Flips(2, 40), Flips(4, 120))
    for flips in budgets:
        results = flip_tokens(reading.lens, reading.speller, TEXTS, reading.aim(8), flips)
        if before is not None:
            for now, then in zip(results, before, strict=True):
                assert now.success or not then.success
                assert now.success or now.loss <= then.loss + 1e-6
        before = results


def test_flip_tokens_does_not_depend_on_batch_or_order(reading: Reading) -> None:
    whole = flip_tokens(reading.lens, reading.speller, TEXTS, reading.aim())
    aim = Demote(reading.pool, [[name] for name in reversed(reading.best)], 5)
    turned = flip_tokens(reading.lens, reading.speller, TEXTS[::-1], aim)
    assert [one.text for one in turned[::-1]] == [one.text for one in whole]
    alone = flip_tokens(
        reading.lens, reading.speller, TEXTS[3:4], Demote(reading.pool, [[reading.best[3]]], 5)
    )
    assert alone[0].text == whole[3].text
    assert alone[0].calls == whole[3].calls


def test_flip_tokens_counts_its_calls(reading: Reading) -> None:
    reading.inside.calls = 0
    results = flip_tokens(
        reading.lens, reading.speller, TEXTS, reading.aim(), Flips(2, 30, keep_going=True)
    )
    assert reading.inside.calls <= len(TEXTS) * 31
    held = flip_tokens(reading.lens, reading.speller, TEXTS, reading.aim(12), Flips(1, 12))
    assert all(one.calls <= 12 for one in held)
    assert any(one.success for one in results)


def test_flip_tokens_that_is_stopped_says_so(reading: Reading) -> None:
    results = flip_tokens(reading.lens, reading.speller, TEXTS, reading.aim(), stop=lambda: True)
    assert not any(one.complete for one in results)
    assert [one.text for one in results] == TEXTS
    assert flip_tokens(reading.lens, reading.speller, [], reading.aim()) == []


def test_flip_tokens_attracts_towards_a_vector(reading: Reading) -> None:
    target = reading.vectors(["рыбу на рынке"])
    aim = Attract(np.repeat(target, 2, axis=0))
    flips = Flips(3, 200, same_script=False)
    results = flip_tokens(reading.lens, reading.speller, TEXTS[:2], aim, flips)
    clean = reading.vectors(TEXTS[:2]) @ target[0]
    for one, before in zip(results, clean, strict=True):
        assert 2.0 - one.loss == pytest.approx(one.vector @ target[0], abs=1e-5)
        assert one.vector @ target[0] > before + 0.2


def test_flip_tokens_through_the_smoothed_encoder_finds_what_is_served(folder: Path) -> None:
    noise = Noise(0.5, 16, seed=2)
    smooth = Reading(folder, noise)
    results = flip_tokens(smooth.lens, smooth.speller, TEXTS, smooth.aim(), Flips(2, 16 * 30))
    rows = [row_of(one) for one in smooth.speller.read([one.text for one in results])]
    served = smoothed_vectors(smooth.inside, rows, noise).vectors
    losses, _ = smooth.aim().look(served, np.arange(10))
    assert [bool(loss < 0) for loss in losses] == [one.success for one in results]
    assert any(one.success for one in results)
    assert all(one.calls % 16 == 0 for one in results)


def test_push_on_the_artifact_beats_random_noise(reading: Reading) -> None:
    rows = [row_of(one) for one in reading.speller.read(TEXTS)]
    few, ball = Descent(5, 2), Ball(0.3)
    attacked = push(reading.lens, rows, reading.aim(), ball, few)
    control = scatter(reading.lens, rows, reading.aim(), ball, few)
    assert sum(one.success for one in attacked) > sum(one.success for one in control)
    large = push(reading.lens, rows, reading.aim(), Ball(5.0), few)
    assert all(one.success for one in large)


def test_trigger_breaks_queries_it_was_not_made_with(reading: Reading) -> None:
    known, others = TEXTS[::2], TEXTS[1::2]
    aim = Demote(reading.pool, [[name] for name in reading.best[::2]], 3)
    search = Search(tokens=3, rounds=2, candidates=8)

    found = find_trigger(reading.lens, reading.speller, known, aim, search)

    losses, _ = aim.look(reading.vectors([found.on(text) for text in known]), np.arange(5))
    assert found.successes == (losses < -1e-6).sum()
    assert found.loss == pytest.approx(losses.mean(), abs=1e-5)
    held_out = Demote(reading.pool, [[name] for name in reading.best[1::2]], 3)
    led, _ = held_out.look(reading.vectors([found.on(text) for text in others]), np.arange(5))
    runs = iter([False] * 4)
    first = find_trigger(
        reading.lens, reading.speller, known, aim, search, stop=lambda: next(runs, True)
    )
    plain, _ = held_out.look(reading.vectors([first.on(text) for text in others]), np.arange(5))
    assert led.mean() < plain.mean()
    assert found.complete
    assert not first.complete
    assert (found.successes, -found.loss) > (first.successes, -first.loss)


def test_trigger_is_the_same_for_the_same_seed(reading: Reading) -> None:
    search = Search(tokens=2, rounds=1, candidates=4, seed=3)
    texts = [
        find_trigger(reading.lens, reading.speller, TEXTS, reading.aim(), search).text
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def test_budgets_that_do_not_fit_are_refused(reading: Reading) -> None:
    with pytest.raises(InvalidInputError, match="at least 1 of each"):
        Flips(0)
    with pytest.raises(InvalidInputError, match="at least 1 of each"):
        Search(tokens=0)
    with pytest.raises(InvalidInputError, match="Got no queries"):
        find_trigger(reading.lens, reading.speller, [], reading.aim())
