"""Attacks and smoothing on a transformer's white box, as it is served."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from app.artifact import load_manifest
from app.encoder.gradient import WhiteBox
from app.encoder.spelling import Spelling
from app.encoder.tokenizer import Tokenizer
from app.robustness.aim import Demote
from app.robustness.ball import Ball
from app.robustness.descent import Descent, push, scatter
from app.robustness.epsilon import least_epsilon
from app.robustness.hotflip import Flips, flip_tokens
from app.robustness.inside import Inside
from app.robustness.pool import Pool, pool_of
from app.robustness.smoothing import Lens, Noise, noisy_vectors, smoothed_vectors
from app.robustness.substitution import row_of
from export.sources import Checkpoint, load_source

from .test_white_box import write

TEXTS = [
    "the doctor comes to the village",
    "my sister sells fish at the market",
    "water the maize in the evening when the sun is low",
    "daktari huja kijijini",
    "врач приезжает в деревню",
    "le médecin vient au village chaque jeudi",
]


class Opened:
    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        manifest = load_manifest(folder)
        tokenizer = Tokenizer((folder / "tokenizer.json").read_bytes(), manifest)
        self.speller = Spelling(tokenizer, manifest, "query")
        box = WhiteBox.open(folder, precision="fp32", device="cpu", threads=1)
        self.inside = Inside(box, self.speller.vocabulary)
        self.lens = Lens(self.inside)
        self.rows = [row_of(one) for one in self.speller.read(TEXTS)]
        clean = self.lens.texts(self.rows)
        near = np.repeat(clean, 20, axis=0)
        near = near + 0.03 * np.random.default_rng(0).standard_normal(near.shape)
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        self.pool: Pool = pool_of([f"d{n}" for n in range(len(near))], near)
        best = self.pool.scores(clean).argmax(axis=1)
        self.aim = Demote(self.pool, [[f"d{n}"] for n in best], 5)


@pytest.fixture(scope="module")
def opened(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Opened:
    checkpoint = load_source(checkpoints("bert"))
    folder = write(tmp_path_factory.mktemp("attacks") / "a", checkpoint, precisions=("fp32",))
    return Opened(folder, checkpoint)


def test_push_beats_random_noise_and_a_large_ball_breaks_all(opened: Opened) -> None:
    rows, few = opened.rows, Descent(5, 2)
    found = least_epsilon(opened.lens, rows, opened.aim, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0))
    assert None not in found
    ball = Ball(float(np.median([one or 0.0 for one in found])), "text")
    attacked = push(opened.lens, rows, opened.aim, ball, few)
    control = scatter(opened.lens, rows, opened.aim, ball, few)
    assert sum(one.success for one in attacked) > sum(one.success for one in control)
    assert all(one.success for one in push(opened.lens, rows, opened.aim, Ball(10.0), few))


def test_a_texts_result_does_not_depend_on_its_company(opened: Opened) -> None:
    ball = Ball(0.05)
    whole = push(opened.lens, opened.rows, opened.aim, ball, Descent(4, 2, keep_going=True))
    (alone,) = push(
        opened.lens,
        opened.rows[:1],
        opened.aim,
        ball,
        Descent(4, 2, keep_going=True),
    )
    assert alone.loss == pytest.approx(whole[0].loss, abs=1e-4)
    noise = Noise(0.5, 12, seed=1)
    together = smoothed_vectors(opened.inside, opened.rows, noise).vectors
    np.testing.assert_array_equal(
        smoothed_vectors(opened.inside, opened.rows[2:3], noise).vectors[0], together[2]
    )


def test_smoothed_vectors_are_torchs_under_the_same_noise(opened: Opened) -> None:
    row, noise = opened.rows[1], Noise(0.5, 6, seed=1)
    encoder = opened.checkpoint.encoder
    clean = opened.inside.embed([row])
    taken: list[np.ndarray] = []
    encode = opened.inside.box.encode

    class Watch:
        hidden = opened.inside.box.hidden
        lookup, gradient = opened.inside.box.lookup, opened.inside.box.gradient

        def encode(self, token_embeddings, mask):
            taken.append(np.array(token_embeddings))
            return encode(token_embeddings, mask)

    box, opened.inside.box = opened.inside.box, Watch()
    try:
        found = noisy_vectors(opened.inside, row, noise)
    finally:
        opened.inside.box = box
    noisy = torch.tensor(np.concatenate(taken))
    with torch.no_grad():
        expected = encoder.pool_from_embeddings(
            noisy, torch.ones(noisy.shape[:2], dtype=torch.long)
        )
    np.testing.assert_allclose(found, expected.numpy(), atol=3e-6)
    assert np.abs(noisy.numpy() - clean).max() > 0


def test_flip_tokens_finds_texts_that_do_what_is_said(opened: Opened) -> None:
    results = flip_tokens(opened.lens, opened.speller, TEXTS, opened.aim, Flips(2, 60))
    rows = [row_of(one) for one in opened.speller.read([one.text for one in results])]
    losses, _ = opened.aim.look(opened.lens.texts(rows), np.arange(len(rows)))
    for one, loss in zip(results, losses, strict=True):
        assert one.loss == pytest.approx(loss, abs=1e-5)
        assert one.applicable
    assert sum(one.success for one in results) >= 2
