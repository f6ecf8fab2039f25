"""White-box attacks on a search that is served with noise (adaptive attacks)."""

from dataclasses import replace
from typing import Any

import pytest

from app.encoder.encoder import TextEncoder
from app.errors import InvalidInputError
from app.robustness.csv_report import to_csv
from app.robustness.html_report import to_html
from app.robustness.request import CertifyChoice, WhiteBoxChoice
from app.robustness.smoothing import Noise, smoothed_vectors
from app.robustness.substitution import row_of

from .test_api_search_smoothing import encoder, fill  # noqa: F401 - a fixture
from .test_probe_stages import World

NOISE = Noise(0.5, 16, 3)
INNER = WhiteBoxChoice(("pgd", "noise", "hotflip", "trigger"), (0.8,), steps=5, smoothing=NOISE)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def report(world):
    return world.run(white_box=INNER)


def smoothed_rank(world, text, relevant):
    """Where a document stands in the search that is served with the noise."""
    (read,) = world.box.read([text])
    vectors = smoothed_vectors(world.inside, [row_of(read)], NOISE).vectors
    (hits,) = world.store.search("c", vectors, 150)
    return next(hit.rank for hit in hits if hit.document.doc_id in relevant)


def test_attacks_on_smoothed_search_have_the_rank_of_that_search(world, report):
    relevant = {result.query_id: result.relevant for result in report.results}
    found = [r for one in report.white_box for r in one.results if r.adversarial_text is not None]
    assert len(found) > len(world.queries)
    for result in found:
        rank = smoothed_rank(world, result.adversarial_text, relevant[result.query_id])
        assert rank == result.worst_rank
        if result.outcome in ("success", "held"):
            assert result.success == (rank > report.top_k)


def test_attacks_on_smoothed_search_say_so_and_count_every_look(report):
    assert [one.smoothing for one in report.white_box] == [NOISE] * 4
    assert all("served with this noise" in one.note for one in report.white_box)
    pgd, noise, *_ = report.white_box
    assert pgd.calls % NOISE.samples == noise.calls % NOISE.samples == 0
    assert pgd.success.successes > noise.success.successes


def test_queries_that_smoothed_search_has_lost_already_are_not_eligible(world):
    blind = replace(INNER, attacks=("hotflip",), smoothing=Noise(50.0, 2, 1))
    (one,) = world.run(white_box=blind).white_box
    lost = [result for result in one.results if result.outcome == "not_eligible"]
    assert lost
    assert one.success.n == sum(r.outcome in ("success", "held") for r in one.results)


def test_certificate_of_that_noise_stands_beside_the_smallest_noise_that_broke_it(world):
    certify = CertifyChoice(sigma=(0.5,), samples=300)
    found = world.run(white_box=replace(INNER, attacks=("pgd",)), certify=certify)
    margin, gaussian = found.certificates
    pairs = [(q.radius, q.empirical) for q in gaussian.queries if q.empirical is not None]
    assert pairs
    assert all(radius <= empirical + 1e-6 for radius, empirical in pairs)
    texts = world.run(certify=certify).certificates[0]
    assert [q.empirical for q in margin.queries] == [q.empirical for q in texts.queries]


def test_smoothing_with_too_many_samples_is_refused(world):
    with pytest.raises(InvalidInputError, match="samples is 513"):
        world.run(white_box=replace(INNER, smoothing=Noise(0.5, 513)))


@pytest.mark.anyio
async def test_probe_of_smoothed_search_finds_texts_that_it_ranks_so(
    start: Any,
    encoder: TextEncoder,  # noqa: F811
) -> None:
    noise = {"sigma": 0.3, "samples": 8, "seed": 5}
    inner = {"attacks": ["pgd", "hotflip"], "epsilon": [0.4], "steps": 3, "restarts": 1}
    body = {
        "collection": "a",
        "queries": [{"query_id": "q", "text": "boil the river water", "lang": "eng_Latn"}],
        "attacks": ["case"],
        "budget": {"edits": 2, "queries": 12, "seconds": 60},
        "top_k": 1,
        "white_box": inner | {"smoothing": noise},
    }
    async with start(encoder) as running:
        await fill(running)
        response = await running.client.post("/probe/adversarial", json=body)
        answer = response.json()
        assert response.status_code == 200, answer
        flip = answer["white_box"][-1]
        text = flip["results"][0]["adversarial_text"]
        asked = {"collection": "a", "queries": text, "top_k": 4, "smoothing": noise}
        hits = (await running.client.post("/search", json=asked)).json()["results"][0]["hits"]
        many = body | {"white_box": inner | {"smoothing": noise | {"samples": 513}}}
        refused = await running.client.post("/probe/adversarial", json=many)
    assert flip["smoothing"] == noise
    ranks = {hit["doc_id"]: hit["rank"] for hit in hits}
    assert ranks["water"] == flip["results"][0]["worst_rank"]
    assert "smoothed with sigma 0.3" in to_html(answer)
    assert ',"0.3"' in to_csv(answer)
    assert refused.status_code == 422
    assert "smoothing.samples" in refused.text
