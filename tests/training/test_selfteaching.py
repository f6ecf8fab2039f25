import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from training.selfteaching import self_teaching_loss


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def sides() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [normalize(torch.randn(rows, 6), dim=1).requires_grad_() for rows in (4, 4, 7)]


def test_self_teaching_loss_equals_the_divergence_in_numpy() -> None:
    queries, noisy, documents = sides()
    p, q = (
        softmax((side @ documents.T).detach().double().numpy() / 0.2) for side in (queries, noisy)
    )
    expected = (p * np.log(p / q)).sum() / 4
    found = self_teaching_loss(queries, noisy, documents, 0.2)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_self_teaching_loss_same_queries_is_zero() -> None:
    queries, _, documents = sides()
    found = self_teaching_loss(queries, queries, documents, 0.05)
    assert found.item() == pytest.approx(0, abs=1e-6)


def test_self_teaching_loss_clean_queries_are_targets_alone() -> None:
    queries, noisy, documents = sides()
    self_teaching_loss(queries, noisy, documents, 0.2).backward()
    assert queries.grad is None
    for side in (noisy, documents):
        assert side.grad is not None
        assert side.grad.abs().max() > 0


def test_self_teaching_loss_in_blocks_has_value_and_gradients_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found() -> list[torch.Tensor]:
        queries, noisy, documents = sides()
        loss = self_teaching_loss(queries, noisy, documents, 0.2)
        loss.backward()
        return [loss, *(side.grad for side in (noisy, documents) if side.grad is not None)]

    whole = found()
    monkeypatch.setattr("training.selfteaching.AT_ONCE", 21)  # three queries, then one
    assert len(whole) == 3
    for one, other in zip(whole, found(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7)
