import itertools
import math

import numpy as np
import pytest
from scipy import stats

from app.errors import InvalidInputError
from app.robustness.binomial import share_at_least
from app.robustness.bounds import Confidence, preference
from app.robustness.certificates import (
    SCOPES,
    certified_edits,
    deletion_losses,
    gaussian_certificate,
    gaussian_radius,
    masking_losses,
    served_error,
    substitution_losses,
)
from app.robustness.inside import Inside, TokenRow
from app.robustness.pool import pool_of
from app.robustness.smoothing import Noise, noisy_vectors
from app.robustness.wordnoise import Substitutes

from .glass import DIM, Halfspace

ROW = TokenRow((0,), 0, 1)
RIVALS = pool_of(["a", "b"], np.stack([np.eye(DIM)[0], -np.eye(DIM)[0]]))


@pytest.mark.parametrize("method", ["hoeffding", "bernstein", "uniform"])
@pytest.mark.parametrize("far", [0.3, 0.8])
def test_certificate_of_the_encoder_that_changes_fastest_never_passes_its_plane(method, far):
    """The smoothed half-space loses the answer at the distance ``far`` exactly."""
    inside = Inside(Halfspace(far), range(2))
    alpha, wrong, radii = 0.1, 0, []
    for seed in range(150):
        noise = Noise(1.0, 300, seed)
        sigma = noise.entry_sigma(inside)
        sure = Confidence(alpha, method)
        low = preference(noisy_vectors(inside, ROW, noise), RIVALS, frozenset("a"), 1, sure)
        radii.append(gaussian_certificate(low, sigma, inside.mean_norm, 300, sure).radius)
        wrong += radii[-1] > far
    assert wrong <= alpha * 150 + 3 * math.sqrt(150 * alpha * (1 - alpha))
    assert max(radii) > 0.4 * far


def test_radius_at_the_true_preference_is_the_distance_of_the_plane():
    for far, sigma in ((0.1, 0.3), (0.5, 0.2), (2.0, 0.7)):
        truth = 2 * stats.norm.cdf(far / sigma) - 1
        assert gaussian_radius(float(truth), sigma) == pytest.approx(far, rel=1e-9)


def test_radius_for_what_is_served_leaves_room_for_its_own_error():
    far, sigma, error = 0.5, 0.4, served_error(2000, 10, 0.01)
    assert error == pytest.approx(math.sqrt(2 * math.log(1000) / 2000))
    radius = gaussian_radius(float(2 * stats.norm.cdf(far / sigma) - 1), sigma, error)
    left = 2 * stats.norm.cdf((far - radius) / sigma) - 1
    assert 0 < radius < far
    assert left == pytest.approx(error)


def test_radius_abstains_and_has_no_end_where_there_is_no_rival():
    assert gaussian_radius(0.0, 1.0) == gaussian_radius(-0.4, 1.0) == 0.0
    assert gaussian_radius(0.05, 1.0, served_error=0.1) == 0.0
    assert gaussian_radius(1.0, 1.0) == math.inf
    assert gaussian_certificate(-1.0, 1.0, 2.0, 10, Confidence()).abstained
    with pytest.raises(InvalidInputError, match="sigma above 0"):
        gaussian_radius(0.5, 0.0)


@pytest.mark.parametrize("preference", [0.1, 0.5, 0.97])
def test_radius_is_at_least_the_lipschitz_bound(preference):
    assert gaussian_radius(preference, 1.0) >= math.sqrt(math.pi / 2) * preference


def deletion_share(words, deletion, wanted):
    """Exact share of random deletions for which a function of the words left is true."""
    share = 0.0
    for kept in itertools.product([False, True], repeat=len(words)):
        left = tuple(word for word, stays in zip(words, kept, strict=True) if stays)
        share += wanted(left) * math.prod(1 - deletion if stays else deletion for stays in kept)
    return share


@pytest.mark.parametrize("deletion", [0.5, 0.7, 0.9])
def test_deletion_losses_bound_every_edited_text(deletion):
    """All texts of up to 5 words from a small alphabet, against all at an edit distance of 1."""
    rng = np.random.default_rng(0)
    losses = deletion_losses(deletion, 2)
    texts = [t for n in range(1, 5) for t in itertools.product("ab", repeat=n)]
    for _ in range(3):
        answers = {left: rng.random() < 0.7 for left in [(), *texts]}
        answers |= {t: rng.random() < 0.7 for t in itertools.product("ab", repeat=5)}
        shares = {text: deletion_share(text, deletion, answers.get) for text in texts}
        for text, share in shares.items():
            edited = {text[:at] + text[at + 1 :] for at in range(len(text))}
            edited |= {
                (*text[:at], new, *text[at + skip :])
                for at in range(len(text)) for new in "ab" for skip in (0, 1)
            }  # fmt: skip
            for other in edited & shares.keys():
                assert shares[other] >= share - losses[1] - 1e-12


def test_certified_edits_equals_the_published_formula():
    for deletion in (0.6, 0.9, 0.97):
        for lower in (0.45, 0.51, 0.7, 0.95, 0.999):
            found = certified_edits(lower, deletion_losses(deletion, 100))
            if lower <= 0.5:
                assert found == -1
            else:
                assert found == math.floor(math.log(1.5 - lower) / math.log(deletion))


def test_certified_edits_fail_as_seldom_as_promised():
    """A vote whose true share allows two edits; how often a sample says three or more."""
    deletion, alpha, n = 0.9, 0.05, 200
    losses = deletion_losses(deletion, 10)
    truth = 0.5 + losses[3] - 1e-9
    assert certified_edits(truth, losses) == 2
    votes, times = np.unique(np.random.default_rng(2).binomial(n, truth, 3000), return_counts=True)
    wrong = [certified_edits(share_at_least(int(vote), n, alpha), losses) > 2 for vote in votes]
    assert np.average(wrong, weights=times) <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 3000)


def test_substitution_losses_bound_every_substitution():
    neighbors = {"a": ["b", "c"], "b": ["a"], "c": ["a", "d"], "d": ["c"]}
    words = Substitutes(neighbors)
    rng = np.random.default_rng(1)
    texts = list(itertools.product("abcd", repeat=3))
    for _ in range(20):
        answers = {text: rng.random() < 0.7 for text in texts}
        shares = {
            text: np.mean([answers[one] for one in itertools.product(*map(words.choices, text))])
            for text in texts
        }
        for text in texts:
            losses = substitution_losses(words.overlaps(" ".join(text)))
            for other in itertools.product(*map(words.choices, text)):
                changed = sum(one != two for one, two in zip(text, other, strict=True))
                assert shares[other] >= shares[text] - losses[changed] - 1e-12


def test_substitution_losses_take_the_worst_words_first():
    found = substitution_losses([1.0, 0.5, 0.8])
    np.testing.assert_allclose(found, [0.0, 0.5, 0.6, 0.6])
    assert certified_edits(0.95, [0.0, 0.2, 0.44, 0.46]) == 2


def test_masking_losses_by_hand():
    # Two words kept of five; none of two edited ones is kept with probability 3/10.
    np.testing.assert_allclose(masking_losses(5, 2, 3), [0.0, 0.4, 0.7, 0.9])
    np.testing.assert_allclose(masking_losses(2, 1, 3), [0.0, 0.5, 1.0, 1.0])
    with pytest.raises(InvalidInputError, match="kept of 2"):
        masking_losses(2, 3, 1)


def test_every_certificate_says_what_it_does_not_cover():
    assert set(SCOPES) >= {"output_margin", "gaussian_embedding", "word_deletion"}
    assert all(scope.covers and "not" in scope.does_not_cover.lower() for scope in SCOPES.values())
