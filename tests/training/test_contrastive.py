import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.contrastive import AT_ONCE, Temperature, info_nce, matryoshka

HALF = math.sqrt(0.5)
QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
DOCUMENTS = torch.tensor([[1.0, 0.0], [HALF, HALF]])
# The cosines of query 0 are 1 and HALF, those of query 1 are 0 and HALF.
SIZES = ((0, 17), (1, 17), (2, 6))  # seed and rows of queries, documents and negatives


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


def numpy_info_nce(
    queries: np.ndarray, columns: np.ndarray, temperature: float, hidden: set[tuple[int, int]]
) -> float:
    losses = []
    for i, query in enumerate(queries):
        scores = {j: query @ c / temperature for j, c in enumerate(columns) if (i, j) not in hidden}
        total = math.log(sum(math.exp(score) for score in scores.values()))
        losses.append(total - scores[i])
    return float(np.mean(losses))


def rows(count: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, 8))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("symmetric", [False, True])
def test_info_nce_hard_negatives_are_more_columns_for_all_queries(symmetric: bool) -> None:
    queries, documents, negatives = rows(4, 0), rows(4, 1), rows(8, 2)
    hidden = {(0, 2), (1, 5)}  # a document, and the first negative of query 0
    expected = numpy_info_nce(queries, np.concatenate([documents, negatives]), 0.3, hidden)
    if symmetric:
        back = numpy_info_nce(documents, queries, 0.3, {(2, 0)})
        expected = (expected + back) / 2
    found = info_nce(
        torch.tensor(queries),
        torch.tensor(documents),
        0.3,
        symmetric=symmetric,
        masked=(torch.tensor([0, 1]), torch.tensor([2, 5])),
        negatives=torch.tensor(negatives),
    )
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("at_once", [1, 40, 100])
@pytest.mark.parametrize("symmetric", [False, True])
def test_info_nce_in_blocks_has_loss_and_gradients_of_the_whole(
    symmetric: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17 pairs and 6 negatives, some pairs hidden: all of query 3 but its own, for one."""
    hidden = [(3, column) for column in range(23) if column != 3] + [(0, 5), (16, 22), (8, 0)]
    masked = torch.tensor(hidden).T

    def found() -> list[torch.Tensor]:
        sides = [torch.tensor(rows(n, n + seed), requires_grad=True) for seed, n in SIZES]
        learned = Temperature(0.1, learned=True).double()
        loss = info_nce(
            sides[0],
            sides[1],
            learned(),
            symmetric=symmetric,
            masked=(masked[0], masked[1]),
            negatives=sides[2],
        )
        loss.backward()
        gradients = [tensor.grad for tensor in [*sides, learned.log_inverse]]
        return [loss, *(gradient for gradient in gradients if gradient is not None)]

    whole = found()
    monkeypatch.setattr("training.contrastive.AT_ONCE", at_once)
    blocks = found()
    assert len(whole) == 5
    for one, other in zip(whole, blocks, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_info_nce_of_a_large_batch_never_holds_all_cosines(
    peak_of: Callable[[Callable[[], object]], int],
) -> None:
    torch.manual_seed(0)
    sides = [torch.nn.functional.normalize(torch.randn(3000, 8), dim=1) for _ in range(2)]
    for side in sides:
        side.requires_grad_()
    held = peak_of(lambda: info_nce(sides[0], sides[1], 0.05).backward())
    assert held < 2 * 3000 * 3000 * 4  # five to six times, if they were
    assert held < 7 * AT_ONCE * 4


def test_matryoshka_is_the_mean_over_cut_and_whole_vectors() -> None:
    queries, documents = rows(5, 0), rows(5, 1)
    losses = []
    for dim in (8, 2, 5):
        cut = [side[:, :dim] for side in (queries, documents)]
        unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in cut]
        losses.append(numpy_info_nce(unit[0], unit[1], 0.2, set()))
    sides = [torch.tensor(queries), torch.tensor(documents)]
    found = matryoshka(lambda s: info_nce(s[0], s[1], 0.2, symmetric=False), sides, (2, 5))
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-9)
    alone = matryoshka(lambda s: info_nce(s[0], s[1], 0.2, symmetric=False), sides, ())
    assert alone.item() == pytest.approx(losses[0], rel=1e-9)


def test_temperature_fixed_has_no_gradient_and_learned_has_the_slope() -> None:
    fixed = Temperature(0.05)
    assert fixed().item() == pytest.approx(0.05, rel=1e-6)
    assert not any(parameter.requires_grad for parameter in fixed.parameters())
    learned = Temperature(0.2, learned=True)
    queries, documents = torch.tensor(rows(5, 0)), torch.tensor(rows(5, 1))
    info_nce(queries, documents, learned()).backward()
    # log(1/t) + h means t * e^-h
    above, below = (info_nce(queries, documents, 0.2 * math.exp(-h)).item() for h in (1e-4, -1e-4))
    assert learned.log_inverse.grad is not None
    assert learned.log_inverse.grad.item() == pytest.approx((above - below) / 2e-4, rel=1e-4)


@pytest.mark.parametrize(("value", "bound"), [(9.0, 0.01), (-1.0, 1.0), (2.0, math.exp(-2.0))])
def test_temperature_is_bounded(value: float, bound: float) -> None:
    temperature = Temperature(0.05, learned=True)
    temperature.log_inverse.data.fill_(value)
    temperature.bound()
    assert temperature().item() == pytest.approx(bound, rel=1e-6)
