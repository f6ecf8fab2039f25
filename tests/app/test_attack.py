import hashlib
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.robustness.climb import Climb
from app.robustness.goal import Demotion, Standing
from app.robustness.space import Space
from app.text.normalize import normalize
from app.text.perturbations.edits import apply_edits, fits
from app.text.perturbations.passage import Passage
from app.text.perturbations.registry import FAMILIES, proposals

TEXTS = (
    "how to make well water safe",
    "नदी के पानी को पीने योग्य कैसे",
    "  two  spaces e\u0301 ",
    "水",
    "ab",
    "የወንዝ ውሃን ማጽዳት",
)
CASES = st.tuples(st.sampled_from(TEXTS), st.sampled_from(list(FAMILIES)), st.integers(0, 99))


def score(text, salt=0):
    """A rugged landscape: any change can do anything."""
    digest = hashlib.blake2b(f"{salt}{text}".encode(), digest_size=4).digest()
    return Standing(1 + digest[0] // 16, int.from_bytes(digest[1:], "big") / 2**24, 1, 16)


def run(text, family, edits, queries, salt=0, part=None):
    """Drive one attack to its end; returns it with the texts it tried, and the edits of each."""
    goal = Demotion(frozenset("a"), 3)
    pool = proposals(FAMILIES[family], Passage.of(text), 0)
    attack = Climb(Space(text, pool, edits), goal, score(normalize(text), salt), queries)
    tried = {}
    while candidates := attack.plan():
        reached = candidates if part is None else candidates[:part]
        tried |= {c.text: c.edits for c in reached}
        attack.learn([(c, score(c.text, salt)) for c in reached])
        attack.learn([(c, None) for c in candidates[len(reached) :]])
        if part is not None:
            break
    return attack, tried


@settings(max_examples=200, deadline=None)
@given(CASES, st.integers(1, 5), st.integers(1, 200))
def test_attack_any_budget_is_kept(case, edits, queries):
    text, family, salt = case
    attack, tried = run(text, family, edits, queries, salt)
    assert attack.queries == len(tried) <= queries
    assert attack.finished
    assert attack.complete
    for written, made in tried.items():
        assert 1 <= len(made) <= edits
        assert written == normalize(apply_edits(text, made)) != normalize(text)


@settings(max_examples=200, deadline=None)
@given(CASES, st.integers(1, 5), st.integers(1, 120), st.integers(0, 120))
def test_attack_more_queries_try_all_of_the_fewer_first_and_are_never_weaker(
    case, edits, queries, more_queries
):
    text, family, salt = case
    small, few = run(text, family, edits, queries, salt)
    large, many = run(text, family, edits, queries + more_queries, salt)
    assert list(few) == list(many)[: len(few)]
    clean = score(normalize(text), salt).badness
    worst = [a.worst.standing.badness if a.worst else clean for a in (small, large)]
    assert worst[0] <= worst[1]


@settings(deadline=None)
@given(CASES)
def test_attack_worst_is_the_worst_tried_and_worse_than_clean(case):
    text, family, salt = case
    attack, tried = run(text, family, 2, 64, salt)
    clean = score(normalize(text), salt).badness
    worst = max((score(t, salt).badness for t in tried), default=clean)
    if worst > clean:
        assert attack.worst
        assert attack.worst.standing.badness == worst
    else:
        assert attack.worst is None


def test_attack_two_edits_beat_one_where_only_both_together_matter():
    text = "how to make well water safe"

    def climb(edits):
        goal = Demotion(frozenset("a"), 3)
        clean = Standing(1, 1.0, 1, 16)
        pool = proposals(FAMILIES["typo"], Passage.of(text), 0)
        attack = Climb(Space(text, pool, edits), goal, clean, 64)
        while candidates := attack.plan():
            found = []
            for candidate in candidates:
                lost = sum(word not in candidate.text.split() for word in ("well", "water"))
                found.append((candidate, Standing(1 + 5 * (lost == 2), 1.0 - lost, 1, 16)))
            attack.learn(found)
        assert attack.worst
        return attack.worst.standing.rank

    assert climb(1) == 1
    assert climb(2) == 6


@pytest.mark.parametrize("edits", [2, 3])
def test_attack_spends_its_whole_budget_while_there_are_texts(edits):
    attack, _ = run("how to make well water safe to drink", "typo", edits, 200)
    assert attack.queries == 200


@pytest.mark.parametrize(
    ("text", "edits"), [("how to boil water", 1), ("ab cd", 2), ("नदी के", 3), ("a b c", 3)]
)
def test_attack_with_budget_to_spare_tries_every_text_there_is(text, edits):
    pool = [proposal.edit for proposal in proposals(FAMILIES["typo"], Passage.of(text), 0)]
    whole = Space(text, proposals(FAMILIES["typo"], Passage.of(text), 0), edits)
    every = {
        built.text
        for level in range(1, edits + 1)
        for chosen in combinations(sorted(pool), level)
        if all(fits(edit, chosen[:n]) for n, edit in enumerate(chosen))
        and (built := whole.build(chosen))
    }
    attack, tried = run(text, "typo", edits, 100_000)
    assert set(tried) == every
    assert attack.complete


def test_attack_success_is_tried_with_fewer_edits_at_once():
    text = "how to make well water safe"
    pool = proposals(FAMILIES["typo"], Passage.of(text), 0)
    attack = Climb(Space(text, pool, 3), Demotion(frozenset("a"), 3), Standing(1, 9.0, 1, 16), 90)
    won = 0
    while candidates := attack.plan():
        found = []
        for candidate in candidates:
            lost = sum(word not in candidate.text.split() for word in ("well", "water"))
            # Any third edit helps the search along, and is not needed.
            margin = 9.0 - 3 * lost - len(candidate.edits)
            found.append((candidate, Standing(1 + 5 * (lost == 2), margin, 1, 16)))
        attack.learn(found)
        won += any(standing.rank > 3 for _, standing in found)
    assert won
    assert attack.edits_to_success == 2


def test_attack_normalized_query_keeps_all_texts_normalized():
    for text in TEXTS:
        if normalize(text) != text:
            continue
        for family in FAMILIES:
            _, tried = run(text, family, 3, 100)
            for made in tried.values():
                assert apply_edits(text, made) in tried


def test_attack_empty_pool_is_finished_at_once():
    attack = Climb(Space("नदी", [], 2), Demotion(frozenset("a"), 3), score("x"), 64)
    assert attack.plan() == []
    assert attack.complete
    assert attack.queries == 0


@pytest.mark.parametrize("part", [0, 1, 5])
def test_attack_cut_short_is_incomplete_and_counts_what_was_reached(part):
    attack, tried = run("how to make well water safe", "typo", 2, 64, part=part)
    assert attack.queries == len(tried) == part
    assert not attack.complete
