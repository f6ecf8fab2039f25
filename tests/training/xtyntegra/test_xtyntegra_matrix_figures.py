"""Measures, intervals and the white-box attack of the matrix, by hand and by invariants."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from training.checkpoint import EncoderConfig
from training.corpus import CorpusError
from training.model import StaticEncoder
from training.tokens import TokenTable
from training.xtyntegra.matrix_draws import Draws
from training.xtyntegra.matrix_exam import encode_tokens, perturbed, read_flores
from training.xtyntegra.matrix_measures import Figure, figures_of
from training.xtyntegra.matrix_plan import Scoring
from training.xtyntegra.matrix_tables import main as print_tables
from training.xtyntegra.matrix_tables import tables_of
from training.xtyntegra.matrix_white import attack_tokens, mean_norm

# Two languages, four sentences; the first two of them are attacked, twice.
OUTCOMES = {
    "clean": np.array([[1, 1, 2, 1], [1, 4, 1, 1]]),
    "attack:typo@1": np.array([[[1, 2], [1, 1]], [[1, 1], [3, 3]]]),
    "applicable:typo@1": np.array([[[True, True]] * 2, [[True, True]] * 2]),
    "attack:ocr@3": np.array([[[1, 1], [2, 1]], [[1, 1], [4, 4]]]),
    "applicable:ocr@3": np.array([[[False, False], [True, True]], [[True, False], [True, True]]]),
    "white:0.1": np.array([[True, False], [True, False]]),
    "between": np.array([[[1, 1, 1, 1], [1, 0, 1, 0]], [[0, 0, 1, 0], [1, 1, 1, 1]]], bool),
    "pooled:distance": np.array([[2.0, 6.0], [2.0, 2.0]]),
}
LANGS = ["a", "b"]


def figure(name: str, group: list[str] | None = None) -> float:
    found = dict(figures_of(OUTCOMES, LANGS, LANGS, group or LANGS))[name]
    value = found.counts.sum() / found.out_of.sum()
    return 1 - value if found.complement else value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clean", 6 / 8),
        ("mrr", (3 + 0.5 + 3 + 0.25) / 8),
        ("attack:typo@1", 2 / 4),  # worst of the draws: a1 no, a2 yes, b1 yes, b2 no
        ("attack:ocr@3", 2 / 4),
        ("before", 3 / 4),
        ("attacked", 4 / 8),
        ("success:typo@1", 1 / 3),  # right before: a1, a2, b1; a1 is lost
        ("success:ocr@3", 1 / 2),  # a1 is not changed; a2 is lost, b1 holds
        ("success", 2 / 5),
        ("drop", 1 - 4 / 6),
        ("white:0", 3 / 4),
        ("white:0.1", 2 / 4),
        ("between", 3 / 8),  # the diagonal does not count
        ("pooled:distance", 3.0),
    ],
)
def test_figures_of_hand_computed(name: str, expected: float) -> None:
    assert figure(name) == pytest.approx(expected)


def test_figures_of_one_language_counts_it_alone() -> None:
    assert figure("clean", ["b"]) == pytest.approx(3 / 4)
    assert figure("between", ["a"]) == pytest.approx(2 / 4)


def test_estimate_same_for_all_sentences_has_no_width() -> None:
    found = Draws().estimate([Figure(np.full(50, 3.0), np.full(50, 4.0))] * 3)
    assert (found.value, found.low, found.high, found.spread) == (0.75, 0.75, 0.75, 0.0)


def test_estimate_interval_is_that_of_the_binomial() -> None:
    hits = np.random.default_rng(0).random(400) < 0.5
    found = Draws(resamples=4000).estimate([Figure(hits.astype(float), np.ones(400))])
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 400)
    assert found.high - found.value == pytest.approx(half, rel=0.08)
    assert found.value - found.low == pytest.approx(half, rel=0.08)


def test_difference_of_a_cell_with_itself_is_nothing() -> None:
    rng = np.random.default_rng(0)
    cell = [Figure(rng.random(30), np.ones(30)) for _ in range(3)]
    found = Draws().difference(cell, cell)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_difference_paired_sees_what_intervals_of_each_overlap_on() -> None:
    # Sentences differ much, cells by little but always: only pairs show it.
    rng = np.random.default_rng(0)
    hard = rng.random(40)
    first = [Figure(hard + 0.001 * rng.random(40), np.ones(40)) for _ in range(3)]
    second = [Figure(one.counts + 0.02, np.ones(40)) for one in first]
    draws = Draws()
    assert draws.estimate(second).low < draws.estimate(first).high
    found = draws.difference(first, second)
    assert found.value == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02)
    assert found.p_value == pytest.approx(2 / 2001)


def test_difference_between_seeds_of_one_cell_widens_the_interval() -> None:
    flat, ones = np.full(60, 0.5), np.ones(60)
    alike = [Figure(flat, ones)] * 3
    unlike = [Figure(flat + shift, ones) for shift in (-0.1, 0.0, 0.1)]
    found = Draws().difference(alike, unlike)
    assert found.low < -0.06
    assert found.high > 0.06
    assert found.spread == pytest.approx(0.1)


@pytest.fixture
def encoder() -> StaticEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(kind="static", dim=8, vocab_size=50, max_tokens=16, pad_id=0)
    return StaticEncoder(config).eval()


@pytest.fixture
def table() -> TokenTable:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 9, 12)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenTable(rng.integers(1, 50, offsets[-1]).astype(np.int32), offsets, 0)


def test_encode_tokens_rows_are_the_means_of_their_tokens(
    encoder: StaticEncoder, table: TokenTable
) -> None:
    weight = encoder.embeddings.weight.detach().numpy()
    rows = np.array([7, 2])
    expected = []
    for row in rows:
        mean = weight[table.ids[table.offsets[row] : table.offsets[row + 1]]].mean(axis=0)
        expected.append(mean / np.linalg.norm(mean))
    assert encode_tokens(encoder, table, rows) == pytest.approx(np.stack(expected), abs=1e-6)


def test_attack_tokens_wider_ball_holds_fewer_and_no_ball_holds_all(
    encoder: StaticEncoder, table: TokenTable
) -> None:
    documents = encode_tokens(encoder, table)
    rows = np.arange(12)
    radii = (1e-6, 0.1, 0.2, 3.0)
    holds = attack_tokens(encoder, table, rows, rows, documents, epsilons=radii, steps=8)
    kept = [int(holds[radius].sum()) for radius in radii]
    assert kept[0] == 12
    assert kept[-1] == 0
    assert kept == sorted(kept, reverse=True)
    assert 0 < kept[1] < 12


def test_attack_tokens_static_encoder_holds_within_its_exact_margin(
    encoder: StaticEncoder, table: TokenTable
) -> None:
    # A static query is lost just where the mean can be moved across the bisector of two documents:
    # the distance of the mean from the nearest of them is exact.
    documents = encode_tokens(encoder, table)
    weight = encoder.embeddings.weight.detach().numpy()
    rows = np.arange(12)
    radius = 0.35 * mean_norm(encoder, table, rows)
    holds = attack_tokens(encoder, table, rows, rows, documents, epsilons=(0.35,), steps=40)[0.35]
    for row in rows:
        mean = weight[table.ids[table.offsets[row] : table.offsets[row + 1]]].mean(axis=0)
        apart = documents[row] - np.delete(documents, row, axis=0)  # (others, dim)
        margin = ((apart @ mean) / np.linalg.norm(apart, axis=1)).min()
        if margin > radius:
            assert holds[row]  # no attack can win
        if margin < 0.7 * radius:
            assert not holds[row]  # a fair one does


def test_perturbed_texts_are_read_back_from_their_files(tmp_path: Path) -> None:
    scoring = Scoring(
        groups={"seen": ("fra_Latn",)},
        between=(),
        attacks={"typo": (1,)},
        attack_sentences=2,
        draws=3,
        seed=7,
        white_box_sentences=2,
        white_box_steps=1,
        epsilons=(),
        pooled_sentences=2,
    )
    texts = {"fra_Latn": ["le chat dort bien", "42", "never asked for"]}
    first = perturbed(texts, ["fra_Latn"], "typo", 1, scoring, tmp_path)
    assert [len(drawn) for drawn in first["fra_Latn"]] == [3, 3]
    changed = first["fra_Latn"][0]
    assert all(text and text != "le chat dort bien" for text in changed)
    assert len(set(changed)) > 1
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text(encoding="utf-8").replace("chat", "kept"), encoding="utf-8")
    again = perturbed(texts, ["fra_Latn"], "typo", 1, scoring, tmp_path)
    expected = [text.replace("chat", "kept") for text in changed if text]
    assert again["fra_Latn"][0] == expected


def test_perturbed_digits_alone_are_not_applicable_to_diacritics(tmp_path: Path) -> None:
    scoring = Scoring(
        groups={"seen": ("fra_Latn",)},
        between=(),
        attacks={"diacritics": (1,)},
        attack_sentences=2,
        draws=1,
        seed=7,
        white_box_sentences=2,
        white_box_steps=1,
        epsilons=(),
        pooled_sentences=2,
    )
    found = perturbed({"fra_Latn": ["42", "43"]}, ["fra_Latn"], "diacritics", 1, scoring, tmp_path)
    assert found == {"fra_Latn": [[None], [None]]}


def test_read_flores_language_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    pq.write_table(pa.table({"eng_Latn": ["a"]}), tmp_path / "eval" / "flores200-dev.parquet")
    with pytest.raises(CorpusError, match="no column fra_Latn"):
        read_flores(tmp_path, ["eng_Latn", "fra_Latn"])


SUMMARY = {
    "arms": {
        "static": {
            "cells": {
                "cross-plain": {
                    "seeds": [0, 1],
                    "figures": {
                        "all": {
                            "clean": [0.4567, 0.44, 0.47, 0.01],
                            "pooled:distance": [2095.6, 1974.2, 2207.4, 3.0],
                            "white:0.1": [0.2, 0.1, 0.3, 0.0],
                        }
                    },
                }
            },
            "contrasts": [
                {
                    "first": "cross-plain",
                    "second": "cross-fgm",
                    "seeds": [0, 1],
                    "rows": [
                        ["all", "clean", -0.0256, -0.03, -0.02, 0.001, 0.004],
                        ["all", "white:0.1", 0.0104, -0.01, 0.03, 0.3, 0.4],
                    ],
                }
            ],
        }
    }
}


def test_tables_of_cells_have_intervals_and_what_is_sure_is_bold() -> None:
    lines = tables_of(SUMMARY).splitlines()
    (means,) = [line for line in lines if line.startswith("| cross-plain")]
    assert means.startswith("| cross-plain | 2 | .457 (.440, .470) |")
    assert "2096 (1974, 2207)" in means
    assert means.endswith("| .200 (.100, .300) |")
    (change,) = [line for line in lines if line.startswith("| cross-fgm less cross-plain")]
    assert "**-.026 (-.030, -.020)**" in change
    assert change.endswith("| +.010 (-.010, +.030) |")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 2


def test_matrix_tables_file_that_is_no_summary_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"cells": []}', encoding="utf-8")
    assert print_tables([str(path)]) == 2
    assert "is no summary of the matrix" in capsys.readouterr().err
