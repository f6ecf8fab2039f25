"""A small collection, an encoder of n-grams and a store in memory, to probe."""

import zlib

import numpy as np

from app.errors import NotFoundError
from app.retrieval.documents import Document
from app.retrieval.store import Collection, Hit, Page
from app.robustness.probe import Budget, ProbeQuery, ProbeRequest, run_probe
from app.robustness.ranking import SEARCH_DEPTH
from app.text.normalize import normalize
from app.text.perturbations.edits import apply_edits

DIM = 64
SUBJECTS = {
    "eng_Latn": "boil river water|wash your hands|plant maize|sell fish at market|ride the bus",
    "swh_Latn": "chemsha maji ya mto|osha mikono yako|panda mahindi|uza samaki sokoni|panda basi",
    "yor_Latn": "se omi odò|fọ ọwọ́ rẹ|gbin àgbàdo|ta ẹja ní ọjà|wọ ọkọ̀ akérò",
    "rus_Cyrl": "кипятить воду из реки|мыть руки с мылом|сажать кукурузу|продавать рыбу|ехать",
    "hin_Deva": "नदी का पानी उबालें|अपने हाथ धोएँ|मक्का बोएँ|बाज़ार में मछली बेचें|बस में चढ़ें",
    "tha_Thai": "ต้มน้ำจากแม่น้ำ|ล้างมือของคุณ|ปลูกข้าวโพด|ขายปลาในตลาด|ขึ้นรถเมล์",
}


def documents_of(subjects):
    return [
        Document(f"{lang[:3]}-{number}", text, lang)
        for lang, texts in subjects.items()
        for number, text in enumerate(texts.split("|"))
    ]


def queries_of(subjects):
    """Ask for the first document of each language in its own words."""
    return tuple(ProbeQuery(f"q-{lang}", t.split("|")[0], lang) for lang, t in subjects.items())


DOCUMENTS, QUERIES = documents_of(SUBJECTS), queries_of(SUBJECTS)


def fake_encode(texts):
    """Hashed character n-grams as unit rows: texts that share n-grams are near."""
    rows = np.zeros((len(texts), DIM), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        assert text == normalize(text), "what is encoded is normalized"
        padded = f" {text} "
        for n in (1, 2, 3):
            for start in range(len(padded) - n + 1):
                code = zlib.crc32(padded[start : start + n].encode())
                row[code % DIM] += 1 if code & 0x10000 else -1
        row[0] += 0.01  # so that no row is zero
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class DictStore:
    """One collection, searched exactly."""

    def __init__(self, documents=DOCUMENTS, encode=fake_encode):
        self.documents = sorted(documents, key=lambda document: document.doc_id)
        self.vectors = encode([document.text for document in self.documents])
        self.depths = []
        self.scans = 0

    def describe(self, name):
        if name != "demo":
            raise NotFoundError(f"There is no collection {name}.")
        return Collection(name, DIM, "fake@1", len(self.documents))

    def get(self, name, doc_ids):
        by_id = {document.doc_id: document for document in self.documents}
        return [by_id[doc_id] for doc_id in doc_ids if doc_id in by_id]

    def scan(self, name, after=None, limit=1000, *, vectors=False):
        self.scans += 1
        spans = [[(0, len(document.text))] for document in self.documents]
        return Page(self.documents, spans, self.vectors, None)

    def search(self, name, vectors, top_k, where=None, *, offset=0, exact=False):
        self.depths.append(offset + top_k)
        results = []
        for vector in vectors:
            scores = (self.vectors @ vector).round(6)
            order = np.argsort(-scores, kind="stable")[: offset + top_k]
            hits = [Hit(r, float(scores[i]), self.documents[i]) for r, i in enumerate(order, 1)]
            results.append(hits[offset:])
        return results


def probe(store, queries=QUERIES, encode=fake_encode, cancelled=lambda: False, **chosen):
    """Probe with small budgets unless said otherwise."""
    budget = Budget(
        edits=chosen.pop("edits", 2),
        queries=chosen.pop("tries", 48),
        seconds=chosen.pop("seconds", 60.0),
        total_queries=chosen.pop("total", None),
    )
    chosen.setdefault("top_k", 3)
    resources = {"resources": chosen.pop("resources")} if "resources" in chosen else {}
    request = ProbeRequest("demo", tuple(queries), budget=budget, **chosen)
    return run_probe(request, encode, store, cancelled=cancelled, **resources)


def rank_by_search(store, text, relevant, encode=fake_encode):
    """What a user sees who sends the text to be searched."""
    (hits,) = store.search("demo", encode([normalize(text)]), SEARCH_DEPTH)
    return next((hit.rank for hit in hits if hit.document.doc_id in relevant), None)


def assert_results_hold(report, store, queries):
    texts = {query.query_id: query.text for query in queries}
    for result in report.results:
        original = texts[result.query_id]
        assert apply_edits(original, result.edits) == result.adversarial_text
        rank = rank_by_search(store, result.adversarial_text, result.relevant)
        assert rank == result.worst_rank
        assert rank_by_search(store, original, result.relevant) == result.clean_rank
        assert result.beyond_depth == (rank is None and result.outcome != "not_reached")
        if result.outcome in ("success", "held"):
            assert result.queries > 0
            assert result.success == (rank is None or rank > report.top_k)
            assert rank is None or rank >= result.clean_rank
        else:
            assert result.queries == 0
            assert result.edits == ()
            assert result.reason
