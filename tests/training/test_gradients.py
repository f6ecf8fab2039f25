import pytest
import torch
from torch import nn

from training.gradients import clip_gradients, sparse_sums


def table() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(6, 2, sparse=True)


@pytest.mark.parametrize("backwards", [1, 3, 40])
def test_sparse_sums_equal_dense_gradients(backwards: int) -> None:
    sparse, dense = table(), nn.Embedding(6, 2)
    dense.load_state_dict(sparse.state_dict())
    for module in (sparse, dense):
        with sparse_sums(module):
            for index in range(backwards):
                (module(torch.tensor([index % 5, 1, 1])).sum(1) ** 2).sum().backward()
        (3 * module(torch.tensor([2])).sum()).backward()
    with sparse_sums(sparse):  # what was there before stays
        sparse(torch.tensor([0])).sum().backward()
    dense(torch.tensor([0])).sum().backward()
    assert sparse.weight.grad is not None
    assert dense.weight.grad is not None
    assert sparse.weight.grad.is_sparse
    assert torch.allclose(sparse.weight.grad.to_dense(), dense.weight.grad, atol=1e-4)


def test_clip_gradients_hand_computed() -> None:
    one, two, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    one.grad, two.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert clip_gradients([one, two, none], None) == pytest.approx(5.0)
    assert one.grad.tolist() == [3.0, 0.0]
    assert clip_gradients([one, two, none], 1.0) == pytest.approx(5.0)
    assert one.grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-5)
    assert two.grad.tolist() == pytest.approx([0.0, 0.8], rel=1e-5)
    assert clip_gradients([one, two, none], 2.0) == pytest.approx(1.0)  # never lengthened
    assert two.grad.tolist() == pytest.approx([0.0, 0.8], rel=1e-5)


def test_clip_gradients_sparse_repeated_rows_count_as_their_sum() -> None:
    module = table()
    module(torch.tensor([1, 1])).sum().backward()
    assert clip_gradients(module.parameters(), 1.0) == pytest.approx(8.0**0.5)
    assert module.weight.grad is not None
    assert module.weight.grad.to_dense().norm().item() == pytest.approx(1.0, rel=1e-5)


def test_clip_gradients_tells_what_is_not_finite() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, torch.nan])
    assert not torch.isfinite(torch.tensor(clip_gradients([parameter], None)))
