import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.text.lexicon import Entry, Lexicon
from training.classification.synonyms import neighbors_in, read_neighbors, replace_words

LISTS = {"big": ["large", "great"], "cat": ["feline"], "x": []}
DRAWS = 6000


def test_replace_words_draws_word_and_neighbors_alike() -> None:
    rng = np.random.default_rng(0)
    neighbors = neighbors_in(None, LISTS, "eng_Latn")
    drawn = Counter(replace_words("big", neighbors, rng) for _ in range(DRAWS))
    assert set(drawn) == {"big", "large", "great"}
    # Five standard deviations of a count with chance 1/3.
    assert all(abs(n - DRAWS / 3) < 5 * (DRAWS * 2 / 9) ** 0.5 for n in drawn.values())


def test_replace_words_leaves_spaces_case_and_unknown_words() -> None:
    rng = np.random.default_rng(0)
    neighbors = neighbors_in(None, LISTS, "eng_Latn")
    texts = {replace_words("Big x  dog, cat", neighbors, rng) for _ in range(50)}
    assert texts == {"Big x  dog, cat", "Big x  dog, feline"}


def test_neighbors_in_lists_are_english_alone() -> None:
    assert neighbors_in(None, LISTS, "deu_Latn")("big") == []


def test_neighbors_in_joins_lists_and_lexicon() -> None:
    lexicon = Lexicon.of(
        [Entry("eng_Latn", "big", "eng_Latn", "huge"), Entry("eng_Latn", "dog", "deu_Latn", "Hund")]
    )
    neighbors = neighbors_in(lexicon, LISTS, "eng_Latn")
    assert list(neighbors("big")) == ["large", "great", "huge"]
    assert list(neighbors("dog")) == ["Hund"]
    assert list(neighbors_in(lexicon, LISTS, "deu_Latn")("Hund")) == ["dog"]


def test_read_neighbors_joins_files(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    paths[0].write_text(json.dumps({"big": ["large"]}))
    paths[1].write_text(json.dumps({"big": ["great"], "cat": []}))
    assert read_neighbors(paths) == {"big": ["large", "great"], "cat": []}


@pytest.mark.parametrize("text", ["[1]", '{"a": "b"}', '{"a": [1]}', "{"])
def test_read_neighbors_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"a\.json"):
        read_neighbors([path])
