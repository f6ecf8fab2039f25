import dataclasses
import json

import numpy as np
import pytest

from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore
from app.robustness.binomial import share_interval
from app.robustness.probe import (
    Budget,
    ProbeQuery,
    ProbeRequest,
    run_probe,
)
from app.robustness.ranking import SEARCH_DEPTH
from app.robustness.request import DEFAULT_ATTACKS
from app.robustness.resources import Resources
from app.text.dictionaries import Entry
from app.text.lexicon import Lexicon

from .probing import (
    DIM,
    SUBJECTS,
    DictStore,
    assert_results_hold,
    documents_of,
    fake_encode,
    queries_of,
)
from .probing import probe as probe_six

MORE = {
    "tam_Taml": "ஆற்று நீரை கொதிக்க வை|கைகளைக் கழுவு|சோளம் நடு|மீன் விற்கவும்|பேருந்தில் ஏறு",
    "amh_Ethi": "የወንዝ ውሃ አፍላ|እጅህን ታጠብ|በቆሎ ዝራ|ዓሣ ሽጥ|አውቶቡስ ተሳፈር",
    "arb_Arab": "اغل ماء النهر|اغسل يديك|ازرع الذرة|بع السمك في السوق|اركب الحافلة",
    "zho_Hans": "把河水烧开|用肥皂洗手|种植玉米|在市场上卖鱼|乘坐公共汽车",
    "kor_Hang": "강물을 끓이세요|손을 씻으세요|옥수수를 심으세요|시장에서 생선을 파세요|버스 타기",
    "zgh_Tfng": "ⴰⵎⴰⵏ ⵏ ⵡⴰⵙⵉⴼ|ⵙⵙⵉⵔⴷ ⵉⴼⴰⵙⵙⵏ|ⵥⵥⵓ ⴰⵙⵏⴳⴰⵔ|ⵣⵣⵏⵣ ⵉⵙⵍⵎⴰⵏ|ⴰⵎⵓⴷⴷⵓ ⴳ ⵓⵟⵓⴱⵉⵙ",
}
DOCUMENTS, QUERIES = documents_of(SUBJECTS | MORE), queries_of(SUBJECTS | MORE)


@pytest.fixture(scope="module")
def store():
    return DictStore(DOCUMENTS)


def probe(store, queries=QUERIES, *arguments, **chosen):
    return probe_six(store, queries, *arguments, **chosen)


@pytest.fixture(scope="module")
def report(store):
    return probe(store)


def test_run_probe_reported_ranks_are_those_of_a_search(report, store):
    assert_results_hold(report, store, QUERIES)
    assert any(result.success for result in report.results)
    assert report.status == "complete"
    assert report.reason is None


def test_run_probe_on_the_embedded_engine_reports_the_ranks_of_a_search(tmp_path):
    engine = EdgeStore.open(tmp_path, reserve_bytes=0)
    try:
        engine.create("demo", DIM, "fake@1")
        engine.upsert("demo", DOCUMENTS, fake_encode([d.text for d in DOCUMENTS]))
        found = probe(engine, QUERIES[:4])
        assert_results_hold(found, engine, QUERIES[:4])
        assert found.model == "fake@1"
    finally:
        engine.close()


def test_run_probe_results_are_one_for_each_query_and_attack_in_order(report):
    expected = [(q.query_id, name) for q in QUERIES for name in DEFAULT_ATTACKS]
    assert [(r.query_id, r.attack) for r in report.results] == expected


def test_run_probe_budget_holds(report):
    for result in report.results:
        assert result.queries <= 48
        assert len(result.edits) <= 2
        assert result.complete
    assert report.spent.tried == sum(result.queries for result in report.results)


def test_run_probe_spent_counts_the_texts_encoded(store):
    encoded = []

    def encode(texts):
        encoded.append(len(texts))
        return fake_encode(texts)

    found = probe(store, encode=encode)
    assert found.spent.queries == sum(encoded)
    assert found.spent.model_calls == len(encoded)


def results_of(report):
    return sorted(report.results, key=lambda result: (result.query_id, result.attack))


def test_run_probe_is_the_same_for_any_order_and_company(report, store):
    shuffled = probe(store, reversed(QUERIES))
    assert results_of(shuffled) == results_of(report)
    alone = [result for query in QUERIES for result in probe(store, [query]).results]
    assert alone == list(report.results)


@pytest.mark.parametrize("batch", [1, 256])
def test_run_probe_is_the_same_for_any_batch_size(report, store, batch, monkeypatch):
    monkeypatch.setattr("app.robustness.ranking._FIRST_BATCH", batch)
    monkeypatch.setattr("app.robustness.ranking._MOST_BATCH", batch)
    monkeypatch.setattr("app.robustness.ranking._LEAST_BATCH", batch)
    found = probe(store)
    assert found.results == report.results
    assert found.summary == report.summary


def test_run_probe_query_ids_do_not_choose_the_perturbations(report, store):
    renamed = [dataclasses.replace(query, query_id=f"x{i}") for i, query in enumerate(QUERIES)]
    found = probe(store, renamed)
    assert [r.adversarial_text for r in found.results] == [
        r.adversarial_text for r in report.results
    ]


def test_run_probe_other_seed_tries_other_texts(report, store):
    other = probe(store, seed=1)
    assert [r.adversarial_text for r in other.results] != [
        r.adversarial_text for r in report.results
    ]


def test_run_probe_more_queries_are_never_weaker_and_more_edits_break_more(store):
    def worst(edits, tries):
        found = probe(store, edits=edits, tries=tries)
        return [(r.success, r.worst_rank or SEARCH_DEPTH + 1) for r in found.results]

    grid = {(e, q): worst(e, q) for e in (1, 2, 3) for q in (4, 16, 40, 90)}
    for (edits, tries), small in grid.items():
        for (more_edits, more_tries), large in grid.items():
            if more_edits == edits and more_tries >= tries:
                assert all(a <= b for a, b in zip(small, large, strict=True))
    broken = [sum(won for won, _ in grid[edits, 90]) for edits in (1, 2, 3)]
    assert broken[0] < broken[1] <= broken[2]


def test_run_probe_without_relevant_takes_the_clean_top_hit(report, store):
    for result, query in zip(report.results[:: len(DEFAULT_ATTACKS)], QUERIES, strict=True):
        ((hit,),) = store.search("demo", fake_encode([query.text]), 1)
        assert result.relevant == (hit.document.doc_id,)
        assert result.clean_rank == 1


def test_run_probe_several_relevant_documents_must_all_leave(store):
    relevant = tuple(d.doc_id for d in DOCUMENTS if d.lang == "eng_Latn")
    query = ProbeQuery("q", "boil river water", "eng_Latn", relevant)
    found = probe(store, [query], edits=4)
    assert_results_hold(found, store, [query])
    for result in found.results:
        if result.outcome == "success":
            (hits,) = store.search("demo", fake_encode([result.adversarial_text]), 3)
            assert not {hit.document.doc_id for hit in hits} & set(relevant)


def test_run_probe_inapplicable_attacks_say_so(report):
    outcomes = {(r.query_id, r.attack): r for r in report.results}
    for lang in ("hin_Deva", "tam_Taml", "amh_Ethi", "zgh_Tfng"):
        result = outcomes[f"q-{lang}", "case"]
        assert result.outcome == "not_applicable"
        assert "Latn" in (result.reason or "")
    assert report.summary.by_attack["case"].not_applicable >= 6
    assert report.summary.by_attack["typo"].not_applicable == 0


@pytest.mark.parametrize(
    ("attack", "lang", "text", "reason"),
    [
        ("code_switch", None, "boil river water", "needs the lang of the query"),
        ("native_script", None, "boil river water", "needs the lang of the query"),
        ("token_neighbor", "eng_Latn", "boil river water", "needs the neighbors of words"),
        ("form", "jpn_Jpan", "かぎ", "undone by normalization"),
        ("digits", "eng_Latn", "boil river water", "It has no number"),
    ],
)
def test_run_probe_inapplicable_attack_says_what_is_missing(store, attack, lang, text, reason):
    (result,) = probe(store, [ProbeQuery("q", text, lang)], attacks=(attack,)).results
    assert result.outcome == "not_applicable"
    assert reason in (result.reason or "")
    assert result.queries == 0
    assert result.adversarial_text == text


def test_run_probe_language_of_the_query_reaches_the_attacks(store):
    words = Lexicon.of([Entry("eng_Latn", "water", "swh_Latn", "maji")])
    query = ProbeQuery("q", "boil river water", "eng_Latn")
    resources = Resources(lambda: words, lambda stop: lambda word: ("soap",))
    request = ProbeRequest("demo", (query,), ("code_switch", "token_neighbor"), top_k=3)
    switched, near = run_probe(request, fake_encode, store, resources=resources).results
    assert switched.queries == 1
    assert near.queries >= 3
    assert {edit.after for edit in near.edits} <= {"soap"}


def test_run_probe_edits_leave_room_for_the_text_to_be_searched(store):
    query = ProbeQuery("q", "boil river water", "eng_Latn")
    budget = Budget(edits=2, queries=200)
    asked = ProbeRequest("demo", (query,), None, budget, top_k=3, max_chars=24)
    for result in run_probe(asked, fake_encode, store).results:
        assert len(result.adversarial_text) <= 24


def test_run_probe_query_that_fails_anyway_is_not_eligible(store):
    query = ProbeQuery("q", "boil river water", "eng_Latn", ("zho-3",))
    found = probe(store, [query], top_k=1)
    assert {r.outcome for r in found.results} == {"not_eligible"}
    assert_results_hold(found, store, [query])
    overall = found.summary.overall
    assert (overall.not_eligible, overall.attack_success_rate.n, overall.clean.n) == (1, 0, 1)


@pytest.fixture(scope="module")
def deep_store():
    """More documents than the search depth; the last one scores low for any query."""
    names = [f"d{i:04}" for i in range(SEARCH_DEPTH + 50)]
    documents = [Document(name, f"document number {name}") for name in names]
    deep = DictStore(documents)
    deep.vectors[-1] = -deep.vectors[:-1].mean(axis=0)
    deep.vectors[-1] /= np.linalg.norm(deep.vectors[-1])
    return deep


def test_run_probe_rank_beyond_the_depth_is_null_and_not_eligible(deep_store):
    last = deep_store.documents[-1].doc_id
    query = ProbeQuery("q", "document number d0007", None, (last,))
    found = probe(deep_store, [query], attacks=("typo",))
    (result,) = found.results
    assert result.outcome == "not_eligible"
    assert (result.clean_rank, result.worst_rank, result.beyond_depth) == (None, None, True)
    assert found.summary.clean.mrr == 0.0
    assert max(deep_store.depths) == SEARCH_DEPTH


def test_run_probe_searches_deep_only_where_it_must(store):
    fresh = DictStore(DOCUMENTS)
    probe(fresh, attacks=("typo",), top_k=1)
    assert fresh.depths.count(max(fresh.depths)) < len(fresh.depths) / 2


def test_run_probe_unnormalized_query_has_edits_of_the_text_as_sent(store):
    query = ProbeQuery("q", "  boil\t\triver   wate\u0301r\x07 ", "eng_Latn")
    found = probe(store, [query])
    assert_results_hold(found, store, [query])
    assert any(result.edits for result in found.results)


def test_run_probe_summary_is_that_of_the_results(report):
    for name, cell in report.summary.by_attack.items():
        rows = [r for r in report.results if r.attack == name]
        eligible = [r for r in rows if r.outcome in ("success", "held")]
        wins = sum(r.success for r in eligible)
        rate = cell.attack_success_rate
        assert (rate.n, rate.successes) == (len(eligible), wins)
        known = share_interval(wins, len(eligible)) if eligible else (None, None)
        assert (rate.low, rate.high) == known
        assert cell.queries == sum(r.queries for r in rows)
    assert report.summary.clean.accuracy_at_1 == 1.0
    assert report.summary.attacked.accuracy_at_1 < 1.0


def test_run_probe_report_is_json_clean(report):
    text = json.dumps(dataclasses.asdict(report), allow_nan=False)
    assert json.loads(text)["results"][0]["edits"][0].keys() == {"start", "end", "before", "after"}
