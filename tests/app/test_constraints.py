"""What adversarial texts must keep, and that outcomes say so where nothing is left to try."""

import pytest
import regex

from app.errors import InvalidInputError
from app.robustness.request import Constraints
from app.robustness.resources import Resources
from app.robustness.space import Space
from app.text.normalize import normalize
from app.text.perturbations.edits import Edit
from app.text.perturbations.family import Proposal
from app.text.perturbations.passage import Passage
from app.text.script import script_of_character

from .probing import QUERIES, DictStore, ProbeQuery, fake_encode, probe

FAMILIES = ("typo", "spacing", "word_order")


@pytest.fixture(scope="module")
def store():
    return DictStore()


def proposals(*edits):
    return [Proposal(Edit(*edit), word) for word, edit in enumerate(edits)]


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        ((5, 6, "1", "7"), False),
        ((5, 5, "", "0"), False),
        ((7, 7, "", "x"), False),
        ((4, 5, " ", ""), True),
        ((0, 1, "p", "q"), True),
        ((16, 17, "a", "b"), False),
        ((27, 28, "n", "m"), True),
    ],
)
def test_space_protected_spans_are_not_touched(edit, kept):
    text = "page 12 http://x.za/a.html now"
    limits = Constraints(protect=("numbers", "urls"))
    space = Space(text, proposals((*edit[:2], text[edit[0] : edit[1]], edit[3])), 2, None, limits)
    assert bool(space.pool) == kept
    assert (space.why_empty() is None) == kept


def test_run_probe_protected_numbers_stay(store):
    query = ProbeQuery("q", "boil river water 12 minutes at 3,5 bar", "eng_Latn")
    free = probe(store, [query], tries=200, edits=4)
    kept = probe(store, [query], tries=200, edits=4, constraints=Constraints(protect=("numbers",)))

    def numbers(text):
        return regex.findall(r"\p{Nd}[\p{Nd},]*", text)

    assert any(numbers(r.adversarial_text) != ["12", "3,5"] for r in free.results)
    assert all(numbers(r.adversarial_text) == ["12", "3,5"] for r in kept.results)
    digits = next(r for r in kept.results if r.attack == "digits")
    assert digits.outcome == "not_applicable"
    assert "constraints (protect)" in (digits.reason or "")


def test_run_probe_same_script_brings_in_no_other_letters(store):
    found = probe(store, tries=100, edits=3, constraints=Constraints(same_script=True))
    for result in found.results:
        query = next(q for q in QUERIES if q.query_id == result.query_id)
        allowed = {script_of_character(c) for c in query.text} | {"Zyyy", "Zinh"}
        letters = [c for c in result.adversarial_text if c.isalpha()]
        assert {script_of_character(c) for c in letters} <= allowed
    romanized = [r for r in found.results if r.attack == "romanization"]
    assert all(r.outcome == "not_applicable" for r in romanized)
    assert any("same_script" in (r.reason or "") for r in romanized)


@pytest.mark.parametrize(("share", "words"), [(0.34, 1), (0.7, 2), (1.0, 3)])
def test_run_probe_word_share_bounds_the_words_changed(store, share, words):
    query = ProbeQuery("q", "boil river water", "eng_Latn")
    limits = Constraints(word_share=share)
    attacks = ("typo", "invisible", "case")
    found = probe(store, [query], attacks=attacks, edits=6, tries=300, constraints=limits)
    changed = []
    for result in found.results:
        starts = [edit.start for edit in result.edits]
        spans = [word.span() for word in regex.finditer(r"\w+", query.text)]
        changed.append(sum(any(a <= start <= b for start in starts) for a, b in spans))
    assert max(changed) <= words


def test_run_probe_word_share_that_allows_no_word_says_so(store):
    query = ProbeQuery("q", "boil river water", "eng_Latn")
    limits = Constraints(word_share=0.1)
    (result,) = probe(store, [query], attacks=("typo",), constraints=limits).results
    assert result.outcome == "not_applicable"
    assert "word_share" in (result.reason or "")


def test_run_probe_similarity_floor_by_a_second_encoder_holds(store):
    resources = Resources(second=fake_encode)
    limits = Constraints(min_similarity=0.8)
    found = probe(store, attacks=FAMILIES, constraints=limits, resources=resources)
    assert any(0 < result.rejected < result.queries for result in found.results)
    for result in found.results:
        query = next(q for q in QUERIES if q.query_id == result.query_id)
        ours, theirs = fake_encode([query.text, normalize(result.adversarial_text)])
        assert ours @ theirs >= 0.8 - 1e-6
    all_out = probe(
        store, attacks=("typo",), constraints=Constraints(min_similarity=1.0), resources=resources
    )
    for result in all_out.results:
        assert result.outcome == "not_applicable"
        assert "min_similarity" in (result.reason or "")


def test_run_probe_similarity_floor_without_a_second_encoder_is_refused(store):
    with pytest.raises(InvalidInputError, match="no second encoder"):
        probe(store, constraints=Constraints(min_similarity=0.5))


def test_space_edits_of_one_word_count_once():
    text = "boil river water"
    passage = Passage.of(text)
    limits = Constraints(word_share=0.4)
    pool = proposals((0, 1, "b", "B"), (3, 4, "l", "L"), (5, 6, "r", "R"))
    space = Space(text, pool, 3, passage, limits)
    first, same, other = (proposal.edit for proposal in space.pool)
    assert space.fits(same, [first])
    assert not space.fits(other, [first])
