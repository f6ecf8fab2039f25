"""The families over real sentences: one of each language of FLORES-200 and of Tatoeba."""

import os
import time
from pathlib import Path

import pytest

from app.text.normalize import normalize
from app.text.perturbations.edits import apply_edits
from app.text.perturbations.passage import Passage, clusters_of
from app.text.perturbations.registry import FAMILIES, perturb, proposals

from .perturbation_texts import full_context

DATA = Path(os.environ.get("TYNTEGRA_DATA", Path(__file__).parents[3] / "shared" / "data")) / "eval"
FLORES, TATOEBA = DATA / "flores200-dev.parquet", DATA / "tatoeba-v1.parquet"
CLUSTERS = 60
JOINING = {"invisible", "spacing"}
"""Families whose edits may join clusters: a joiner with a letter, two words run together."""

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (FLORES.exists() and TATOEBA.exists()),
        reason=f"no corpora in {DATA}: set TYNTEGRA_DATA",
    ),
]
EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))


def shortened(text):
    return normalize("".join(clusters_of(normalize(text))[:CLUSTERS]))


@pytest.fixture(scope="module")
def texts():
    """Language -> the beginning of a sentence of it."""
    parquet = pytest.importorskip("pyarrow.parquet")
    flores = parquet.read_table(FLORES).slice(11, 1).to_pylist()[0]
    found = {lang: shortened(text) for lang, text in flores.items() if "_" in lang and text}
    rows = parquet.read_table(TATOEBA, columns=["lang", "text"]).to_pylist()
    for row in rows:
        if "_" in row["lang"] and row["lang"] not in found:
            found[row["lang"]] = shortened(row["text"])
    assert len(found) >= 200
    return found


@EVERY
def test_edits_in_any_language_tear_no_cluster_and_change_what_is_searched(family, texts):
    for lang, text in texts.items():
        boundaries = {0}
        for cluster in clusters_of(text):
            boundaries.add(max(boundaries) + len(cluster))
        for proposal in proposals(family, Passage.of(text), 0, full_context(lang)):
            edit = proposal.edit
            changed = apply_edits(text, [edit])
            assert {edit.start, edit.end} <= boundaries, (lang, edit)
            if family.reports_undone:
                continue
            assert normalize(changed) == changed != text, (lang, edit)
            if family.name not in JOINING:
                parts = (text[: edit.start], edit.after, text[edit.end :])
                whole = [cluster for part in parts for cluster in clusters_of(part)]
                assert clusters_of(changed) == whole, (lang, edit)


@EVERY
def test_perturb_in_any_language_keeps_the_budget_and_its_seed(family, texts):
    for lang, text in list(texts.items())[::5]:
        context = full_context(lang)
        for budget in (1, 3):
            changed, edits = perturb(text, family, budget, 7, context)
            assert (changed, edits) == perturb(text, family, budget, 7, context)
            assert len(edits) * family.cost <= budget
            assert apply_edits(text, edits) == changed


@pytest.mark.parametrize(
    "name", ["typo", "invisible", "spacing", "bidi", "ocr", "word_order", "word_deletion"]
)
def test_families_for_any_text_apply_to_every_language(name, texts):
    missing = [
        lang
        for lang, text in texts.items()
        if len(text.split()) > 2 and not proposals(FAMILIES[name], Passage.of(text), 0)
    ]
    assert missing == []


def test_proposals_for_a_query_take_a_few_milliseconds(texts):
    contexts = {lang: full_context(lang) for lang in texts}
    for family in FAMILIES.values():
        # The first round reads tables; of the others the fastest tells what the machine can do.
        rounds = []
        for _ in range(3):
            began = time.process_time()
            for lang, text in list(texts.items())[::4]:
                proposals(family, Passage.of(text), 0, contexts[lang])
            rounds.append((time.process_time() - began) / len(list(texts)[::4]))
        assert min(rounds) < 0.015, family.name
