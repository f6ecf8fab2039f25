import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.neighbors import BATCH, EncodedNeighbors
from app.robustness.request import Budget, ProbeQuery, ProbeRequest
from app.robustness.resources import Resources, vocabulary
from app.text.dictionaries import Entry
from app.text.lexicon import Lexicon

ANGLES = {"maji": 0, "bahari": 20, "mto": 40, "Maji": 0, "majì": 1, "nyumba": 120, "вода": 5}


class FakeEncoder:
    """Words as points on a circle, at angles known in degrees."""

    def __init__(self):
        self.texts = []

    def __call__(self, texts):
        self.texts += texts
        degrees = [ANGLES.get(text, 180 + len(text)) for text in texts]
        radians = np.radians(np.array(degrees, dtype=np.float64))
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def ready(words=tuple(ANGLES), **options):
    found = EncodedNeighbors(words, FakeEncoder(), **options).ready(lambda: False)
    assert found is not None
    return found


def test_neighbors_are_the_nearest_first_of_the_same_script():
    assert ready()("maji") == ("bahari", "mto")


def test_neighbors_leave_out_the_word_in_other_cases_and_accents():
    assert not {"Maji", "maji", "majì"} & set(ready()("maji"))


def test_neighbors_are_at_most_as_many_and_as_far_as_told():
    assert ready(most=1)("maji") == ("bahari",)
    assert ready(least=0.9)("maji") == ("bahari",)
    assert ready(least=-1.0)("maji") == ("bahari", "mto", "nyumba")


def test_neighbors_of_no_vocabulary_are_refused():
    with pytest.raises(InvalidInputError, match="no words"):
        EncodedNeighbors(["", " "], FakeEncoder())


def test_ready_stopped_goes_on_where_it_was():
    encode = FakeEncoder()
    words = [f"neno{n}" for n in range(2 * BATCH + 1)]
    neighbors = EncodedNeighbors(words, encode)
    answers = iter([False, True, False, False])
    assert neighbors.ready(lambda: next(answers)) is None
    assert len(encode.texts) == BATCH
    assert neighbors.ready(lambda: next(answers)) is not None
    assert sorted(encode.texts) == sorted(words)
    assert next(answers, None) is None


def test_lookup_of_a_word_is_encoded_once():
    encode = FakeEncoder()
    near = EncodedNeighbors(tuple(ANGLES), encode).ready(lambda: False)
    assert near
    assert near("maji") == near("maji")
    assert encode.texts.count("maji") == 2  # once in the vocabulary, once when asked for


def request(*attacks, **options):
    queries = (ProbeQuery("a", "maji", "swh_Latn"), ProbeQuery("b", "water"))
    return ProbeRequest("demo", queries, attacks, **options)


def test_contexts_load_only_what_the_attacks_need():
    def refuse(*_):
        raise AssertionError("not needed")

    contexts = Resources(refuse, refuse).contexts(request("typo", "case"), lambda: False)
    assert [context.lang for context in contexts] == ["swh_Latn", None]
    assert all(context.lexicon is None for context in contexts)


def test_contexts_hold_dictionaries_neighbors_and_room():
    words = Lexicon.of([Entry("eng_Latn", "water", "swh_Latn", "maji")])
    near = ready()
    resources = Resources(lambda: words, lambda stop: near)
    asked = request(
        "code_switch",
        "token_neighbor",
        switch_to=("eng_Latn",),
        max_chars=24,
        budget=Budget(edits=2),
    )
    first, second = resources.contexts(asked, lambda: False)
    assert (first.lexicon, first.token_neighbors) == (words, near)
    assert first.switch_to == frozenset({"eng_Latn"})
    assert (first.most_added, second.most_added) == (10, 9)


def test_contexts_give_up_on_neighbors_when_time_is_over():
    neighbors = EncodedNeighbors(tuple(ANGLES), FakeEncoder())
    resources = Resources(None, neighbors.ready)
    (first, _) = resources.contexts(request("token_neighbor"), lambda: True)
    assert first.token_neighbors is None
    (first, _) = resources.contexts(request("token_neighbor"), lambda: False)
    assert first.token_neighbors is not None


def test_vocabulary_is_the_single_words_once():
    words = Lexicon.of(
        [
            Entry("eng_Latn", "water", "swh_Latn", "maji"),
            Entry("eng_Latn", "drinking water", "swh_Latn", "maji ya kunywa"),
            Entry("eng_Latn", "hospital", "por_Latn", "hospital"),
        ]
    )
    assert sorted(vocabulary(words)) == ["hospital", "maji", "water"]
