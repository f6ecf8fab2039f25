import math

import pytest
import torch

from training.contrastive import info_nce

HALF = math.sqrt(0.5)
QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
DOCUMENTS = torch.tensor([[1.0, 0.0], [HALF, HALF]])
# The cosines of query 0 are 1 and HALF, those of query 1 are 0 and HALF.


def log_share(own: float, other: float) -> float:
    return -math.log(math.exp(own) / (math.exp(own) + math.exp(other)))


def test_info_nce_one_way_hand_computed() -> None:
    expected = (log_share(1 / 0.5, HALF / 0.5) + log_share(HALF / 0.5, 0.0)) / 2
    loss = info_nce(QUERIES, DOCUMENTS, 0.5, symmetric=False)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_info_nce_symmetric_adds_the_way_back() -> None:
    one_way = (log_share(2.0, 2 * HALF) + log_share(2 * HALF, 0.0)) / 2
    way_back = (log_share(2.0, 0.0) + log_share(2 * HALF, 2 * HALF)) / 2
    loss = info_nce(QUERIES, DOCUMENTS, 0.5)
    assert loss.item() == pytest.approx((one_way + way_back) / 2, rel=1e-6)


def test_info_nce_masked_pair_is_no_negative() -> None:
    masked = (torch.tensor([0]), torch.tensor([1]))
    loss = info_nce(QUERIES, DOCUMENTS, 0.5, symmetric=False, masked=masked)
    assert loss.item() == pytest.approx((0.0 + log_share(2 * HALF, 0.0)) / 2, rel=1e-6)


def test_info_nce_masked_pair_gets_no_gradient() -> None:
    documents = DOCUMENTS.clone().requires_grad_()
    masked = (torch.tensor([0]), torch.tensor([1]))
    info_nce(QUERIES[:, :], documents, 0.5, symmetric=False, masked=masked).backward()
    assert documents.grad is not None
    assert torch.isfinite(documents.grad).all()
    assert documents.grad[1, 0].item() == 0.0  # only query 0 points that way


def test_info_nce_lower_temperature_sharpens() -> None:
    soft = info_nce(QUERIES, DOCUMENTS, 1.0, symmetric=False)
    sharp = info_nce(QUERIES, DOCUMENTS, 0.05, symmetric=False)
    assert sharp < soft


def test_info_nce_right_pairing_costs_less_than_wrong() -> None:
    assert info_nce(QUERIES, QUERIES, 0.1) < info_nce(QUERIES, QUERIES.flip(0), 0.1)
