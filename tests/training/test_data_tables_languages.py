import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.text.languages import Identifier
from training.data.tables.__main__ import main
from training.data.tables.languages import SOURCES, Recipe, build_languages, piece_of
from training.registry import CORPORA

WORDS = {"aaa_Latn": "maji kisima mtoto kijiji", "bbb_Latn": "water well child village"}
SMALL = Recipe(buckets=512, dim=4, epochs=4, pieces=256, batch=32)


def write_corpora(folder):
    (folder / "bitext").mkdir(exist_ok=True)
    chance = random.Random(0)

    def sentence(lang):
        return " ".join(chance.choices(WORDS[lang].split(), k=8))

    for name in SOURCES:
        rows = [(sentence("aaa_Latn"), sentence("bbb_Latn")) for _ in range(120)]
        columns = {
            "lang_a": ["aaa_Latn"] * len(rows),
            "lang_b": ["bbb_Latn"] * (len(rows) - 1) + ["ccc_Latn"],
            "text_a": [a for a, _ in rows],
            "text_b": [b for _, b in rows],
        }
        pq.write_table(pa.table(columns), folder / "bitext" / f"{name}.parquet")


def test_build_languages_learns_to_tell_languages_apart(tmp_path):
    write_corpora(tmp_path)
    (tmp_path / "languages.npz").write_bytes(build_languages(tmp_path, SMALL))
    found = Identifier.load(tmp_path / "languages.npz")
    assert found.languages == ("aaa_Latn", "bbb_Latn")  # the third has too few letters
    assert found.table.dtype == np.int8
    assert not found.table[-1].any()
    likely = found.probabilities(["mtoto maji", "child water"])
    assert likely[0, 0] > 0.8
    assert likely[1, 1] > 0.8


def test_build_languages_twice_is_the_same(tmp_path):
    write_corpora(tmp_path)
    told = []
    first = build_languages(tmp_path, SMALL, told.append)
    assert first == build_languages(tmp_path, SMALL)
    assert len(told) == SMALL.epochs


def test_sources_may_be_shipped():
    assert all(CORPORA[name].shippable for name in SOURCES)


@pytest.mark.parametrize("text", ["one two three four five six", "水を飲んでいます", "a b", "x"])
def test_piece_of_is_a_part_of_the_text(text):
    chance = random.Random(1)
    pieces = {piece_of(text, chance) for _ in range(50)}
    assert all(piece and piece in text for piece in pieces)


def test_main_without_corpora_says_so(tmp_path, capsys):
    assert main(["languages", "--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "README" in capsys.readouterr().err
