import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.aim import Attract, Demote, Promote
from app.robustness.ball import Ball
from app.robustness.bounds import Confidence, preference
from app.robustness.certificates import gaussian_certificate
from app.robustness.descent import Descent, push, scatter
from app.robustness.epsilon import least_epsilon
from app.robustness.pool import Pool, pool_of
from app.robustness.smoothing import Lens, Noise, noisy_vectors, smoothed_vectors

from .glass import documents, glass, rows_of

TEXTS, DOCUMENTS = 60, 200
NAMES = [f"d{n}" for n in range(DOCUMENTS)]


def world(top_k=5, noise=None, texts=TEXTS, rows=None):
    """Texts, documents near some of their vectors, and for each text its own top document."""
    inside = glass()
    rows = rows or rows_of(texts)
    lens = Lens(inside, noise)
    pool = pool_of(NAMES, documents(DOCUMENTS))
    best = pool.scores(lens.texts(rows)).argmax(axis=1)
    aim = Demote(pool, [[NAMES[n]] for n in best], top_k)
    inside.calls = 0
    return lens, rows, pool, aim, best


def rate(results):
    return np.mean([one.success for one in results])


def losses_by_definition(vectors, pool, relevant, k):
    found = []
    for vector, names in zip(vectors, relevant, strict=True):
        scores = dict(zip(pool.doc_ids, pool.best(pool.scores(vector[None]))[0], strict=True))
        rivals = sorted((scores[d] for d in scores if d not in names), reverse=True)
        found.append(max(scores[d] for d in names) - rivals[k - 1])
    return found


@pytest.mark.parametrize("k", [1, 4])
def test_demote_loss_is_the_rank_margin_and_its_gradient_leads_down(k):
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 4, 20)
    pool = Pool(tuple(NAMES[:20]), documents(int(sizes.sum())), sizes)
    relevant = [["d0"], ["d3", "d7"], ["d1", "d2", "d5"]]
    vectors = documents(3, 9)
    aim = Demote(pool, relevant, k)
    losses, gradients = aim.look(vectors, np.arange(3))
    np.testing.assert_allclose(losses, losses_by_definition(vectors, pool, relevant, k), atol=1e-6)
    after, _ = aim.look(vectors - 0.02 * gradients, np.arange(3))
    assert (after < losses).all()
    np.testing.assert_allclose(aim.look(vectors[[2, 0]], np.array([2, 0]))[0], losses[[2, 0]])


def test_demote_gradient_at_top_1_equals_central_differences():
    pool = pool_of(NAMES[:20], documents(20))
    aim = Demote(pool, [["d0"], ["d5", "d6"]], 1)
    vectors, direction = documents(2, 9).astype(np.float64), documents(2, 10)
    _, gradients = aim.look(vectors, np.arange(2))
    ends = [aim.look(vectors + sign * 1e-3 * direction, np.arange(2))[0] for sign in (1, -1)]
    np.testing.assert_allclose(
        (gradients * direction).sum(axis=1), (ends[0] - ends[1]) / 2e-3, atol=2e-3
    )


def test_promote_loss_is_below_zero_just_when_the_target_is_in():
    pool = pool_of(NAMES, documents(DOCUMENTS))
    vectors = documents(50, 7)
    scores = pool.scores(vectors)
    targets = [NAMES[n % 7] for n in range(50)]
    losses, _ = Promote(pool, targets, 20).look(vectors, np.arange(50))
    ranks = [(row > row[int(t[1:])]).sum() + 1 for row, t in zip(scores, targets, strict=True)]
    np.testing.assert_array_equal(losses < 0, np.array(ranks) <= 20)
    assert 0 < (losses < 0).sum() < 50


def test_aims_that_cannot_be_reached_are_refused():
    pool = pool_of(NAMES[:4], documents(4))
    with pytest.raises(InvalidInputError, match="at least 3 rivals"):
        Demote(pool, [["d0", "d1"]], 3)
    with pytest.raises(InvalidInputError, match="without relevant documents"):
        Demote(pool, [[]], 1)
    with pytest.raises(InvalidInputError, match="expected 1 to 3"):
        Promote(pool, ["d0"], 4)


@pytest.mark.parametrize("norm", ["token", "text"])
def test_push_stays_in_the_ball_and_what_it_says_is_so(norm):
    lens, rows, _, aim, _ = world()
    seen = []
    vectors_of = lens.gradients

    def watch(some, embeddings, cotangents):
        seen.append((some, embeddings - lens.inside.embed(some)))
        return vectors_of(some, embeddings, cotangents)

    lens.gradients = watch  # type: ignore[method-assign]
    results = push(lens, rows, aim, Ball(0.3, norm), Descent(5, 2))
    radius = 0.3 * lens.inside.mean_norm
    for some, noise in seen:
        sizes = np.linalg.norm(noise, axis=-1)
        assert not sizes[:, [0, -1]].any()  # special tokens
        bounded = sizes if norm == "token" else np.linalg.norm(noise, axis=(1, 2))
        assert bounded.max() <= radius * (1 + 1e-5)
        assert len({len(row.ids) for row in some}) == 1
    clean = lens.texts(rows)
    losses, _ = aim.look(np.array([one.vector for one in results]), np.arange(TEXTS))
    for place, one in enumerate(results):
        assert one.loss == pytest.approx(losses[place], abs=1e-5)
        assert one.success == (one.loss < -1e-6)
        assert one.shift == pytest.approx(np.linalg.norm(one.vector - clean[place]), abs=1e-5)
        assert one.loss <= one.clean_loss
        assert one.complete


def test_more_steps_and_restarts_never_lower_success():
    lens, rows, _, aim, _ = world()
    ball = Ball(0.25)
    before = None
    for descent in (Descent(1, 1), Descent(3, 1), Descent(10, 1), Descent(10, 3)):
        results = push(lens, rows, aim, ball, descent)
        if before is not None:
            assert all(
                now.success for now, then in zip(results, before, strict=True) if then.success
            )
            assert all(
                now.loss <= then.loss + 1e-6
                for now, then in zip(results, before, strict=True) if not now.success
            )  # fmt: skip
        before = results
    assert before is not None
    assert 0.1 < rate(before) < 0.95


@pytest.mark.parametrize("norm", ["token", "text"])
def test_random_noise_of_equal_norm_and_budget_is_weaker(norm):
    lens, rows, _, aim, _ = world()
    ball = Ball(0.25 if norm == "token" else 0.45, norm)
    attacked = push(lens, rows, aim, ball)
    control = scatter(lens, rows, aim, ball)
    assert rate(attacked) > rate(control) + 0.2
    assert max(one.size for one in control) == pytest.approx(
        0.45 if norm == "text" else 0.25 * 3, rel=1e-3
    )


@pytest.mark.parametrize("norm", ["token", "text"])
def test_a_large_epsilon_breaks_nearly_all(norm):
    lens, rows, _, aim, _ = world()
    assert rate(push(lens, rows, aim, Ball(6.0, norm))) >= 0.97


def test_success_grows_with_epsilon_and_the_least_is_found():
    lens, rows, _, aim, _ = world()
    radii = (0.05, 0.2, 0.4, 0.8)
    rates = [rate(push(lens, rows, aim, Ball(epsilon, "text"))) for epsilon in radii]
    assert rates == sorted(rates)
    found = least_epsilon(lens, rows, aim, radii)
    for epsilon, share in zip(radii, rates, strict=True):
        assert np.mean([one is not None and one <= epsilon for one in found]) >= share


def test_push_does_not_depend_on_batch_or_order():
    lens, rows, pool, _, best = world()
    order = np.random.default_rng(1).permutation(TEXTS)
    relevant = [[NAMES[best[n]]] for n in order]
    mixed = push(lens, [rows[n] for n in order], Demote(pool, relevant, 5), Ball(0.25))
    whole = push(lens, rows, Demote(pool, [[NAMES[n]] for n in best], 5), Ball(0.25))
    for place, n in enumerate(order):
        assert mixed[place].success == whole[n].success
        assert mixed[place].calls == whole[n].calls
        assert mixed[place].loss == pytest.approx(whole[n].loss, abs=1e-4)
    (alone,) = push(lens, [rows[3]], Demote(pool, [[NAMES[best[3]]]], 5), Ball(0.25))
    assert alone.loss == pytest.approx(whole[3].loss, abs=1e-4)


def test_push_counts_calls_until_success_and_within_the_budget():
    lens, rows, _, aim, _ = world()
    results = push(lens, rows, aim, Ball(0.25), Descent(4, 2))
    assert lens.inside.calls == TEXTS + sum(one.calls for one in results)
    assert all(one.calls == 2 * 5 for one in results if not one.success)
    assert all(1 <= one.calls <= 10 for one in results)
    on = push(lens, rows, aim, Ball(0.25), Descent(4, 2, keep_going=True))
    assert [one.calls for one in on] == [one.calls for one in results]
    assert all(a.loss <= b.loss + 1e-6 for a, b in zip(on, results, strict=True))


def test_push_promotes_and_attracts():
    lens, rows, pool, _, _ = world()
    clean = lens.texts(rows)
    target = NAMES[3]
    results = push(lens, rows, Promote(pool, [target] * TEXTS, 10), Ball(2.0))
    for one in results:
        rank = (pool.scores(one.vector[None])[0] > one.vector @ pool.vectors[3]).sum() + 1
        assert one.success == (rank <= 10)
    assert rate(results) > 0.5
    near = push(lens, rows, Attract(np.tile(pool.vectors[3], (TEXTS, 1))), Ball(0.5))
    gains = [
        one.vector @ pool.vectors[3] - v @ pool.vectors[3]
        for one, v in zip(near, clean, strict=True)
    ]
    assert min(gains) > 0
    assert not any(one.success for one in near)


def test_push_that_is_stopped_says_so():
    lens, rows, _, aim, _ = world()
    asked = iter([False] * 3)
    results = push(lens, rows, aim, Ball(0.1), stop=lambda: next(asked, True))
    assert not all(one.complete for one in results)
    assert all(one.complete == one.success for one in results[1::3])


def test_attack_through_the_smoothed_encoder_reaches_what_is_served():
    noise = Noise(0.5, 32, seed=4)
    lens, rows, pool, aim, best = world(noise=noise, texts=24)
    results = push(lens, rows, aim, Ball(0.4, "text"), Descent(6, 1))
    served = smoothed_vectors(lens.inside, rows, noise).vectors
    np.testing.assert_array_equal(pool.scores(served).argmax(axis=1), best)
    assert rate(results) > 0.1
    for one, n in zip(results, best, strict=True):
        scores = pool.scores(one.vector[None])[0]
        assert one.success == ((scores > scores[n]).sum() >= 5)
        assert one.calls % 32 == 0


def test_random_noise_is_weaker_against_the_smoothed_encoder_too():
    lens, rows, _, aim, _ = world(noise=Noise(1.5, 64, seed=4), texts=30)
    ball = Ball(0.5, "text")
    adaptive = push(lens, rows, aim, ball, Descent(6, 1))
    control = scatter(lens, rows, aim, ball, Descent(6, 1))
    assert rate(adaptive) > rate(control) + 0.2


def test_no_attack_within_the_certified_radius_succeeds():
    noise = Noise(1.0, 3000, seed=4)
    inside, rows = glass(), rows_of(20)
    pool = pool_of(NAMES, documents(DOCUMENTS))
    smoothed = smoothed_vectors(inside, rows, noise).vectors
    certified = []
    for row, vector in zip(rows, smoothed, strict=True):
        best = NAMES[int(pool.scores(vector[None]).argmax())]
        samples = noisy_vectors(inside, row, noise)
        low = preference(samples, pool, frozenset([best]), 10, Confidence(0.01))
        found = gaussian_certificate(
            low, noise.entry_sigma(inside), inside.mean_norm, 3000, Confidence(0.01)
        )
        if not found.abstained:
            certified.append((row, best, found.relative))
    assert len(certified) >= 5
    served = Lens(inside, Noise(1.0, 200, seed=9))
    for row, best, relative in certified:
        aim = Demote(pool, [[best]], 10)
        (one,) = push(served, [row], aim, Ball(relative, "text"), Descent(5, 1))
        assert not one.success
