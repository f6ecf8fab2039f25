from typing import Any

import numpy as np
import pytest

from app.retrieval.metrics import wilson_interval
from training.xtyntegra.ranks import METRICS
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.sums import Queries, Source, summarize

SENTENCES = 40
RIGHT = 30


class Made(Source):
    """Two languages with the same sentences, of which the first ones were right before."""

    def __init__(self, broken: float) -> None:
        self._broken = broken

    def queries(self, entry: Any) -> Queries:
        before = (np.arange(SENTENCES) < RIGHT).astype(np.float64)
        values = np.repeat(before[:, None] * (1.0 - self._broken), len(METRICS), axis=1)
        ids = tuple(f"s{n}" for n in range(SENTENCES))
        return Queries(ids, values, before, before * self._broken, values[:, 0])


def entry(lang: str, rate: float) -> dict[str, Any]:
    share = {"value": rate, "low": 0.0, "high": 1.0}
    attack = {"family": "typo", "edits": 1, "draws": 1, "not_applicable": 0, "right_clean": RIGHT}
    measured = {"clean": {"accuracy@1": RIGHT / SENTENCES}, "success_rate": share}
    named = {"task": "flores200", "setting": "to-english", "condition": "typo/edits=1"}
    langs = {"track": "seen", "query_lang": lang, "document_lang": "eng_Latn"}
    return named | langs | {"extras": {}, "attack": attack | measured | {"relative_drop": share}}


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_summarize_of_all_or_none_is_as_sure_as_its_sentences_allow(rate: float) -> None:
    entries = [entry(lang, rate) for lang in ("swh_Latn", "hau_Latn")]

    whole = summarize(entries, Made(rate), Drawing(resamples=200))[0]

    found = whole["attack"]["success_rate"]
    assert found["macro"] == rate
    # Not of 60 tries: the same 30 sentences were right in both languages.
    expected = wilson_interval(round(rate) * RIGHT, RIGHT)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected))
    accuracy = whole["metrics"]["accuracy@1"]
    if rate == 1.0:
        assert (accuracy["macro"], accuracy["low"]) == (0.0, 0.0)
        assert accuracy["high"] == pytest.approx(wilson_interval(0, SENTENCES).high)
    else:
        assert accuracy["low"] < accuracy["macro"] < accuracy["high"] < 1.0
