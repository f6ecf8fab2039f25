"""Goals: what each measures, that memory and store agree, and what a probe reports of them."""

import dataclasses

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.retrieval.store import Document, Hit
from app.robustness.agreement import rank_biased_overlap
from app.robustness.board import Board
from app.robustness.goal import SEARCH_DEPTH, Demotion, Distance, Promotion, chord, goal_for
from app.robustness.pool import Pool, pool_of
from app.robustness.request import GoalChoice, SearchChoice
from app.text.normalize import normalize

from .glass import documents
from .probing import DOCUMENTS, QUERIES, DictStore, fake_encode, probe

FAMILIES = ("typo", "spacing", "word_deletion")


def hits(*scored):
    return [Hit(r, score, Document(name, name)) for r, (name, score) in enumerate(scored, 1)]


FIVE = hits(("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.5), ("e", 0.4))


@pytest.mark.parametrize(
    ("target", "top_k", "rank", "margin"),
    [("a", 1, 1, -0.1), ("c", 1, 3, 0.2), ("c", 2, 3, 0.1), ("e", 3, 5, 0.3), ("c", 3, 3, -0.2)],
)
def test_promotion_stand_known_hits_give_known_standing(target, top_k, rank, margin):
    goal = Promotion(frozenset("a"), top_k, target)
    standing = goal.stand(FIVE, 5)
    assert standing.value == rank
    assert standing.margin == pytest.approx(margin)
    assert goal.reached(standing) == (rank <= top_k) == (margin < 0)
    assert standing.rank == 1


def test_promotion_nearer_to_the_top_is_worse():
    near, far = Promotion(frozenset("a"), 1, "b"), Promotion(frozenset("a"), 1, "d")
    assert near.stand(FIVE, 5).badness > far.stand(FIVE, 5).badness


@pytest.mark.parametrize(
    ("least", "kept", "margin"),
    # Of a, b, d (recall 2/3 in the top 3) one has to leave for a drop of a third: the best that
    # may go is b, which stays until two rivals have passed it.
    [(1 / 3, 1, 0.8 - 0.4), (0.6, 0, 0.9 - 0.4)],
)
def test_recall_drop_stand_counts_what_has_to_leave(least, kept, margin):
    goal = goal_for(GoalChoice("recall_drop", threshold=least), frozenset("abd"), FIVE, 3)
    assert isinstance(goal, Demotion)
    assert (goal.kept, goal.clean_found) == (kept, 2)
    standing = goal.stand(FIVE, 5)
    assert standing.margin == pytest.approx(margin)
    assert standing.value == 0.0
    assert not goal.reached(standing)
    lost = goal.stand(hits(("c", 0.9), ("e", 0.8), ("a", 0.7), ("b", 0.6), ("d", 0.5)), 5)
    assert lost.value == pytest.approx(1 / 3)
    assert goal.reached(lost) == (kept == 1)


def test_recall_drop_beyond_the_clean_recall_is_barred():
    goal = goal_for(GoalChoice("recall_drop", threshold=1.0), frozenset("ae"), FIVE, 3)
    assert "1 of its 2 relevant" in (goal.barred(goal.stand(FIVE, 5)) or "")


def test_disagreement_stand_is_one_minus_the_overlap():
    goal = goal_for(GoalChoice("disagreement", threshold=0.3), frozenset("a"), FIVE, 3)
    other = hits(("b", 0.9), ("a", 0.8), ("e", 0.7))
    standing = goal.stand(other, 3)
    assert standing.value == pytest.approx(1 - rank_biased_overlap("abc", "bae"))
    assert goal.stand(FIVE, 5).value == 0.0


def test_vector_shift_stand_is_one_minus_the_cosine():
    goal = Distance(frozenset("a"), 3, 0.25)
    standing = goal.stand(FIVE, 5, 0.7)
    assert standing.value == pytest.approx(0.3)
    assert goal.reached(standing)
    assert not goal.reached(goal.stand(FIVE, 5, 0.8))


def test_chord_of_right_angle_is_root_two():
    assert chord(np.eye(3)[0], np.eye(3)[1]) == pytest.approx(2**0.5)


def every_goal(names, clean, top_k):
    """Goals of each kind for a query, with the hits of its clean search."""
    some = frozenset(names[:3])
    yield Demotion(frozenset(names[:1]), top_k)
    yield Demotion(some, top_k)
    yield Demotion(some, top_k, 1, 2)
    yield Promotion(some, top_k, names[-1])
    yield Distance(some, top_k, 0.3, tuple(hit.document.doc_id for hit in clean[:top_k]))
    yield Distance(some, top_k, 0.3)


@pytest.mark.parametrize("passages", [1, 3])
@pytest.mark.parametrize("top_k", [1, 5])
def test_board_stand_equals_what_a_whole_search_shows(passages, top_k):
    rows = documents(60, dim=16)
    rows[7] = rows[12]  # equal documents: their order is that of their names
    names = [f"d{n:02}" for n in np.random.default_rng(3).permutation(60 // passages)]
    pool = pool_of(names, rows[: len(names)])
    if passages > 1:
        pool = Pool(tuple(names), rows, np.full(len(names), passages))
    board = Board(pool)
    texts = documents(70, seed=5, dim=16)
    clean = texts[0]

    def search(vector):
        scores = pool.best(pool.scores(vector[None]))[0]
        order = sorted(range(len(names)), key=lambda n: (-scores[n], names[n]))
        return hits(*((names[n], float(scores[n])) for n in order))

    for goal in every_goal(names, search(clean), top_k):
        board.add([goal], [clean])
        for vector, found in zip(texts, board.stand(texts, [goal] * len(texts)), strict=True):
            shown = goal.stand(search(vector), SEARCH_DEPTH, float(vector @ clean))
            assert (found.rank, found.found) == (shown.rank, shown.found)
            assert found.margin == pytest.approx(shown.margin, abs=1e-6)
            assert found.value == pytest.approx(shown.value, abs=1e-6)
            assert goal.reached(found) == goal.reached(shown)
            assert found.badness == pytest.approx(shown.badness, abs=2e-6)


def test_board_row_does_not_depend_on_its_batch():
    board = Board(pool_of([f"d{n}" for n in range(200)], documents(200, dim=48)))
    texts = documents(100, seed=2, dim=48)
    whole = board.scores(texts)
    alone = np.concatenate([board.scores(text[None]) for text in texts])
    assert np.array_equal(whole, alone)
    assert np.array_equal(board.scores(texts[::-1])[::-1], whole)


GOALS = [
    GoalChoice("demotion"),
    GoalChoice("promotion", "rus-4"),
    GoalChoice("recall_drop"),
    GoalChoice("disagreement", threshold=0.4),
    GoalChoice("vector_shift", threshold=0.2),
]


@pytest.fixture(scope="module")
def store():
    return DictStore()


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.type)
def test_run_probe_every_goal_reports_what_a_search_shows(store, goal):
    top_k = 8 if goal.type == "promotion" else 1
    found = probe(store, goal=goal, attacks=FAMILIES, edits=5, top_k=top_k)
    assert any(result.success for result in found.results)
    assert found.goal.threshold == (goal.least or None)
    by_id = {query.query_id: query for query in QUERIES}
    for result in found.results:
        query = by_id[result.query_id]
        before, after = fake_encode([query.text, normalize(result.adversarial_text)])
        clean, shown = store.search("demo", [before, after], len(DOCUMENTS))
        own = goal_for(goal, frozenset(result.relevant), clean, top_k)
        standing = own.stand(shown, SEARCH_DEPTH, float(after @ before))
        assert result.worst_rank == standing.rank
        assert result.shift == pytest.approx(chord(before, after), abs=1e-6)
        if result.outcome in ("success", "held"):
            assert result.success == own.reached(standing)
            value = standing.rank if goal.type == "demotion" else standing.value
            assert result.worst_value == pytest.approx(value, abs=1e-5)
            assert result.success == (result.calls_to_success is not None)


@pytest.mark.parametrize("goal", GOALS[:2] + GOALS[3:], ids=lambda goal: goal.type)
def test_run_probe_held_in_memory_finds_what_the_store_finds(store, goal, monkeypatch):
    held = probe(store, goal=goal, attacks=FAMILIES)
    monkeypatch.setattr("app.robustness.probe.MOST_HELD", 0)
    searched = probe(store, goal=goal, attacks=FAMILIES)
    for one, other in zip(held.results, searched.results, strict=True):
        assert (one.outcome, one.adversarial_text) == (other.outcome, other.adversarial_text)
        assert (one.worst_rank, one.queries) == (other.worst_rank, other.queries)


def test_run_probe_promotion_of_a_hit_is_not_eligible(store):
    found = probe(store, QUERIES[:1], goal=GoalChoice("promotion", "eng-0"), attacks=("typo",))
    assert found.results[0].outcome == "not_eligible"
    assert "target has rank 1" in (found.results[0].reason or "")


@pytest.mark.parametrize("method", ["auto", "random", "greedy", "beam", "evolution"])
def test_run_probe_larger_budgets_of_queries_are_never_weaker(store, method):
    def worst(tries, goal):
        search = SearchChoice(method, 4)
        found = probe(store, tries=tries, attacks=FAMILIES, search=search, goal=goal)
        return [(r.success, -(r.margin or 0.0)) for r in found.results]

    for goal in (GoalChoice("disagreement"), GoalChoice("vector_shift")):
        small, middle, large = (worst(tries, goal) for tries in (4, 20, 64))
        for low, mid, high in zip(small, middle, large, strict=True):
            assert low[0] <= mid[0] <= high[0]
            assert low[1] <= mid[1] + 1e-5
            assert mid[1] <= high[1] + 1e-5


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (GoalChoice("promotion"), "no goal.target"),
        (GoalChoice("demotion", "eng-0"), "a goal.target"),
        (GoalChoice("promotion", "nowhere"), "no document 'nowhere'"),
        (GoalChoice("demotion", None, 0.5), "leave it out"),
        (GoalChoice("recall_drop", None, 1.5), "at most 1 for"),
        (GoalChoice("vector_shift", None, 2.5), "at most 2 for"),
        (GoalChoice("winning"), "expected one of demotion"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_run_probe_goal_that_makes_no_sense_is_refused(store, goal, message):
    with pytest.raises(InvalidInputError, match=message):
        probe(store, goal=goal)


def test_run_probe_promotion_of_a_document_that_is_always_a_hit_is_refused(store):
    with pytest.raises(InvalidInputError, match="always a hit"):
        probe(store, goal=GoalChoice("promotion", "eng-1"), top_k=len(DOCUMENTS))


def test_goal_choice_least_is_the_usual_one_unless_given():
    assert GoalChoice("vector_shift").least == 0.3
    assert dataclasses.replace(GoalChoice("vector_shift"), threshold=0.1).least == 0.1
