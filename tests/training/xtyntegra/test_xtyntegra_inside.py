"""Noise on token embeddings: by angles that can be computed by hand, and on the default encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, pi, radians, sin
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.robustness.inside import Inside
from app.robustness.resources import Access
from training.xtyntegra.dethrone import Dethrone
from training.xtyntegra.encoders import OpenEncoder, open_encoder
from training.xtyntegra.measure import Vectors
from training.xtyntegra.plan import Plan
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.task import Cell, Pool
from training.xtyntegra.whitebox import Effort, FromInside, attack_inside, open_inside

from .attacked_cells import ENGLISH, cell

DRAWING = Drawing(resamples=200)
DEFAULT = Path(__file__).parents[3] / "app" / "default" / "encoder"


def at_angle(degrees: float) -> list[float]:
    return [cos(radians(degrees)), sin(radians(degrees))]


class Flat:
    """Token embeddings in a plane, all of length 1; a text is one token, its vector the unit one.

    Token n stands at n degrees.
    """

    hidden = 2

    def lookup(
        self, rows: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        found = np.array([[at_angle(token) for token in row] for row in rows], dtype=np.float32)
        return found, np.ones(found.shape[:2], dtype=np.int64)

    def encode(self, token_embeddings, mask):
        own = token_embeddings[:, 0]
        return (own / np.linalg.norm(own, axis=1, keepdims=True)).astype(np.float32)

    def gradient(self, token_embeddings, mask, cotangent):
        vectors = self.encode(token_embeddings, mask)
        length = np.linalg.norm(token_embeddings[:, 0], axis=1, keepdims=True)
        inward = cotangent - vectors * (vectors * cotangent).sum(axis=1, keepdims=True)
        return vectors, (inward / length)[:, None].astype(np.float32)


@dataclass(frozen=True)
class OneToken:
    """A text that says its token."""

    text: str

    @property
    def ids(self) -> tuple[int, ...]:
        return (int(self.text.rstrip("!")),)

    begin = 0

    @property
    def end(self) -> int:
        return 0 if self.text.endswith("!") else 1  # a token that may not move

    spans = ((0, 1),)


class Reads:
    def read(self, texts: Sequence[str]) -> list[OneToken]:
        return [OneToken(text) for text in texts]


def flat() -> Access:
    return Access(Inside(Flat(), range(360)), Reads())  # pyright: ignore[reportArgumentType]


def encode_flat(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([at_angle(float(text.rstrip("!"))) for text in texts], dtype=np.float32)


def flat_cell(queries: Sequence[str], relevant: Sequence[Sequence[int]]) -> Cell:
    """Documents at 0, 60 and 180 degrees."""
    pool = Pool("p", ["0", "60", "180"], ["eng_Latn"] * 3, ["a", "b", "c"])
    rows = [np.array(each, dtype=np.intp) for each in relevant]
    names = [f"q{place}" for place in range(len(queries))]
    return Cell("own", "to-english", "swh_Latn", "eng_Latn", queries, names, pool, rows)


def run_flat(asked: Cell, epsilons: tuple[float, ...], restarts: int = 2) -> FromInside:
    plan = Plan(cells=(), epsilons=epsilons, inside_queries=None, queries=None)
    vectors = Vectors(encode_flat, encode_flat)
    return attack_inside(flat(), asked, vectors, plan, DRAWING, Effort(30, restarts))


def test_attack_inside_breaks_what_lies_within_the_ball_and_nothing_else() -> None:
    # From 20 degrees to the boundary at 30: noise of length sin(10 degrees) = 0.174 is the least.
    found = run_flat(flat_cell(["20"], [[0]]), (0.15, 0.17, 0.18, 0.3))
    rates = [entry["attack"]["success_rate"]["value"] for entry in found.entries[::2]]
    assert rates == [0.0, 0.0, 1.0, 1.0]
    assert [entry["condition"] for entry in found.entries[::2]] == [
        f"white-box/epsilon={epsilon}" for epsilon in (0.15, 0.17, 0.18, 0.3)
    ]
    # The vector has to move by at least the chord of those 10 degrees.
    assert 2 * sin(radians(5)) <= found.shifts[0] <= 2 * sin(radians(6))


def test_attack_inside_counts_only_queries_that_were_right_and_can_move() -> None:
    # Right and near the boundary; right, but its token may not move; wrong to begin with.
    found = run_flat(flat_cell(["29", "29!", "31"], [[0], [0], [0]]), (0.1,))
    entry, control = found.entries
    attack = entry["attack"]
    assert (attack["right_clean"], attack["success_rate"]["n"]) == (1, 1)
    assert attack["not_applicable"] == 1
    assert attack["success_rate"]["value"] == 1.0
    assert entry["metrics"]["accuracy@1"]["value"] == pytest.approx(1 / 3)
    assert attack["clean"]["accuracy@1"] == pytest.approx(2 / 3)
    assert attack["relative_drop"]["value"] == pytest.approx(0.5)
    assert attack["success_share"]["value"] == pytest.approx(1 / 3)
    assert control["condition"] == "white-box-noise/epsilon=0.1"
    assert found.warnings == []


def test_attack_inside_warns_where_the_white_box_is_another_encoder() -> None:
    plan = Plan(cells=(), epsilons=(0.1,))

    def elsewhere(texts: Sequence[str]) -> NDArray[np.float32]:
        return encode_flat([str(float(text) + 40.0) if text == "20" else text for text in texts])

    found = attack_inside(
        flat(), flat_cell(["20"], [[0]]), Vectors(elsewhere, encode_flat), plan, DRAWING
    )
    assert "the white box ranks 1 of 1 queries otherwise" in found.warnings[0]


def test_attack_inside_warns_where_noise_does_better_than_the_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Flat, "gradient", _blind)
    found = run_flat(flat_cell(["29"], [[0]]), (0.5,), restarts=1)
    assert "random noise broke 1 queries and the gradient 0 of 1" in found.warnings[0]


def _blind(box: Flat, token_embeddings, mask, cotangent):
    vectors = box.encode(token_embeddings, mask)
    # Straight away from success: what a gradient of the wrong sign would be.
    noise = token_embeddings * 0.0
    noise[:, 0] = -np.stack([vectors[:, 1], -vectors[:, 0]], axis=1)
    return vectors, noise


def test_dethrone_measures_best_right_against_best_wrong() -> None:
    documents = np.array([at_angle(0), at_angle(60), at_angle(180)], dtype=np.float32)
    asked = flat_cell(["20", "20", "20"], [[0], [0, 2], [1, 2]])
    vectors = encode_flat(asked.queries)
    losses, gradients = Dethrone(asked, documents).look(vectors, np.array([0, 1, 2]))
    gap = cos(pi / 9) - cos(2 * pi / 9)  # 20 and 40 degrees away
    assert losses == pytest.approx([gap, gap, -gap], abs=1e-6)
    assert gradients[0] == pytest.approx(documents[0] - documents[1])
    assert gradients[2] == pytest.approx(documents[1] - documents[0])


def test_dethrone_does_not_pull_at_what_does_not_compete() -> None:
    documents = np.array([at_angle(0), at_angle(60), at_angle(180)], dtype=np.float32)
    asked = replace(
        flat_cell(["20", "20"], [[0], [0]]),
        excluded=[np.array([1]), np.array([1, 2])],
    )
    losses, gradients = Dethrone(asked, documents).look(
        encode_flat(asked.queries), np.array([0, 1])
    )
    assert losses[0] == pytest.approx(cos(pi / 9) - cos(pi * 160 / 180), abs=1e-6)
    assert gradients[0] == pytest.approx(documents[0] - documents[2])
    assert losses[1] == np.inf  # no rival is left
    assert (gradients[1] == 0.0).all()


def test_open_inside_says_why_there_is_no_gradient(tmp_path: Path) -> None:
    service = OpenEncoder("name", "url", "model", encode_flat, encode_flat)
    said = open_inside(service)
    assert isinstance(said, str)
    assert "a url has no gradient graph" in said
    broken = open_inside(replace(service, kind="artifact", artifact=tmp_path))
    assert isinstance(broken, str)
    assert str(tmp_path) in broken


def test_attack_inside_the_default_encoder_grows_with_epsilon_and_beats_noise() -> None:
    asked = cell("eng_Latn", ENGLISH)
    plan = Plan(cells=(), epsilons=(0.05, 0.2, 1.0, 4.0))
    with open_encoder(str(DEFAULT)) as encoder:
        access = open_inside(encoder)
        assert isinstance(access, Access)
        vectors = Vectors(encoder.encode_query, encoder.encode_document)
        found = attack_inside(access, asked, vectors, plan, DRAWING)
    rate = {
        (entry["attack"]["family"], entry["attack"]["epsilon"]): entry["attack"]["success_rate"]
        for entry in found.entries
    }
    gradient = [rate["white-box", epsilon]["value"] for epsilon in plan.epsilons]
    noise = [rate["white-box-noise", epsilon]["value"] for epsilon in plan.epsilons]
    assert rate["white-box", 0.05]["n"] >= 5  # queries that it finds at all
    assert gradient == sorted(gradient)
    assert gradient[-1] == 1.0
    assert all(one >= other for one, other in zip(gradient, noise, strict=True))
    assert sum(gradient) > sum(noise)
    assert found.warnings == []
