"""What every engine must do: random programs of all calls, side by side with the judge."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.retrieval.documents import Document
from app.retrieval.filters import All, Any, In, Not, Range, languages
from app.retrieval.store import Options

from .contract_data import DIM, agree_on_match, agree_on_search, vectors_of
from .reference_store import ReferenceStore

OPTIONS = Options("full", "", {"v": "integer"}, 8, 4)
IDS = st.sampled_from([f"id{i}" for i in range(12)])
LANGS = st.sampled_from([None, "eng_Latn", "swh_Latn", "rus_Cyrl"])
TEXTS = st.lists(st.sampled_from(["maji", "safi", "kata", "AB-1", "漢字"]), max_size=4).map(
    " ".join
)
POOL = np.concatenate([vectors_of(30, seed=42), vectors_of(10, seed=42)])  # Ten exact duplicates
ENTRY = st.tuples(IDS, TEXTS, LANGS, st.integers(0, 39), st.integers(1, 3))
LEAVES = st.one_of(
    LANGS.map(lambda lang: languages(lang or "eng_Latn")),
    st.lists(IDS, min_size=1, max_size=3).map(lambda ids: In("doc_id", tuple(ids))),
    st.integers(0, 39).map(lambda v: Range("metadata.v", gte=v)),
    st.integers(0, 2).map(lambda v: In("metadata.a.b", (v, str(v)))),
    st.sampled_from(["Latn", "Cyrl"]).map(lambda script: In("script", (script,))),
)
FILTERS = st.one_of(
    LEAVES,
    LEAVES.map(Not),
    st.tuples(LEAVES, LEAVES).map(All),
    st.tuples(LEAVES, LEAVES).map(Any),
)


class Program(RuleBasedStateMachine):
    """Gives each call to an engine and to the judge; both must answer alike after every step."""

    open_store = staticmethod(lambda root: ReferenceStore())

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.store = self.open_store(self.root / "store")
        self.judge = ReferenceStore()
        self.copies = 0

    def both(self, call):
        found, right = call(self.store), call(self.judge)
        assert found == right, (found, right)
        return found

    @initialize()
    def create(self):
        self.both(lambda store: store.create("demo", DIM, "m", OPTIONS))

    @rule(entries=st.lists(ENTRY, max_size=6))
    def upsert(self, entries):
        documents, spans, rows = [], [], []
        for doc_id, text, lang, v, passages in entries:
            metadata = {"v": v, "a.b": v % 3} if v % 2 else {"v": v, "a.b": str(v % 3)}
            documents.append(Document(doc_id, text, lang, metadata))
            cuts = [len(text) * part // passages for part in range(passages + 1)]
            spans.append(list(itertools.pairwise(cuts)))
            rows += [(v + step) % 40 for step in range(passages)]
        vectors = POOL[rows].reshape(-1, DIM)
        self.both(lambda store: store.upsert("demo", documents, vectors, spans))

    @rule(ids=st.lists(IDS, max_size=5))
    def delete(self, ids):
        self.both(lambda store: store.delete("demo", ids))

    @rule(where=FILTERS)
    def delete_where(self, where):
        self.both(lambda store: store.delete_where("demo", All((where, Range("metadata.v", lt=9)))))

    @rule(
        number=st.integers(0, 39),
        top_k=st.integers(1, 15),
        where=st.none() | FILTERS,
        offset=st.integers(0, 4),
        exact=st.booleans(),
    )
    def search(self, number, top_k, where, offset, exact):
        row = POOL[number][None]
        agree_on_search(self.store, self.judge, row, top_k, where, offset=offset, exact=exact)

    @rule(query=TEXTS, top_k=st.integers(1, 15), where=st.none() | FILTERS)
    def match(self, query, top_k, where):
        agree_on_match(self.store, self.judge, [query], top_k, where)

    @rule(ids=st.lists(IDS, max_size=5), where=FILTERS)
    def look_up(self, ids, where):
        self.both(lambda store: store.get("demo", ids))
        self.both(lambda store: store.count("demo", where))
        self.both(lambda store: store.languages("demo"))

    @rule(limit=st.integers(1, 13))
    def scan(self, limit):
        def read(store):
            after, read = None, {}
            while True:
                page = store.scan("demo", after, limit, vectors=True)
                rows = iter(np.round(page.vectors, 5).tolist())
                for document, spans in zip(page.documents, page.spans, strict=True):
                    assert document.doc_id not in read
                    read[document.doc_id] = (document, spans, [next(rows) for _ in spans])
                after = page.next
                if after is None:
                    return read

        found, right = read(self.store), read(self.judge)
        assert found.keys() == right.keys()
        for doc_id, (document, spans, rows) in found.items():
            assert (document, spans) == right[doc_id][:2]
            np.testing.assert_allclose(rows, right[doc_id][2], atol=2e-5)

    @rule(values=st.lists(st.integers(0, 39), max_size=4, unique=True))
    def replace(self, values):
        documents = [Document(f"id{v % 12}", "maji", None, {"v": v}) for v in values]
        for store in (self.store, self.judge):
            store.create("next", DIM, "m", OPTIONS)
            store.upsert("next", documents, POOL[values].reshape(-1, DIM))
        self.both(lambda store: store.replace("demo", "next"))

    @precondition(lambda self: self.copies == 0)  # It takes longer than all the rest
    @rule()
    def copy_out_and_back(self):
        self.copies += 1
        for store, place in ((self.store, "engine"), (self.judge, "judge")):
            path = store.snapshot("demo", self.root / f"{place}{self.copies}")
            store.drop("demo")
            store.restore("demo", path)

    @rule()
    def recreate(self):
        self.both(lambda store: store.drop("demo"))
        self.both(lambda store: store.create("demo", DIM, "m", OPTIONS))

    @rule()
    def flush(self):
        self.both(lambda store: store.flush("demo"))

    @rule()
    def reopen(self):
        self.store.close()
        self.store = self.open_store(self.root / "store")

    @invariant()
    def collections_agree(self):
        self.both(lambda store: store.collections())

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


def test_random_programs_agree_with_the_judge(open_store):
    opener = staticmethod(open_store)
    machine = type("EngineProgram", (Program,), {"open_store": opener})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=6,
            stateful_step_count=18,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
