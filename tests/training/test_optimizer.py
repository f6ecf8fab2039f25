from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from training.assembly import new_encoder
from training.config import EncoderSection, OptimSection
from training.optimizer import RowAdam, make_optimizer

BETAS = (0.9, 0.99)


def sparse(rows: list[int], values: Tensor, size: int) -> Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), values, (size, values.shape[1]), check_invariants=True
    )


def test_row_adam_first_step_moves_by_the_rate_against_the_sign() -> None:
    table = nn.Parameter(torch.zeros(3, 2))
    table.grad = sparse([1], torch.tensor([[4.0, -0.5]]), 3)
    RowAdam([table], lr=0.1).step()
    assert torch.allclose(table.detach(), torch.tensor([[0.0, 0.0], [-0.1, 0.1], [0.0, 0.0]]))


def test_row_adam_each_row_equals_adam_over_its_own_updates() -> None:
    torch.manual_seed(0)
    start = torch.randn(4, 3)
    table = nn.Parameter(start.clone())
    rows = [nn.Parameter(row.clone()) for row in start]
    ours = RowAdam([table], lr=0.05, betas=BETAS)
    theirs = [torch.optim.Adam([row], lr=0.05, betas=BETAS, eps=1e-10) for row in rows]
    for touched in ([0, 1], [1, 3], [0], [3, 1]):
        values = torch.randn(len(touched), 3)
        table.grad = sparse(touched, values, 4)
        ours.step()
        for index, value in zip(touched, values, strict=True):
            rows[index].grad = value.clone()
            theirs[index].step()
    expected = torch.stack([row.detach() for row in rows])
    assert torch.allclose(table.detach(), expected, atol=1e-6)
    assert torch.equal(table.detach()[2], start[2])  # never in a gradient


def test_row_adam_dense_and_sparse_gradients_do_the_same() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    tables = [nn.Parameter(torch.ones(4, 2)) for _ in range(2)]
    tables[0].grad = sparse([0, 2], values, 4)
    tables[1].grad = sparse([0, 2], values, 4).to_dense()
    for table in tables:
        RowAdam([table], lr=0.1).step()
    assert torch.equal(tables[0], tables[1])


def test_row_adam_state_restored_continues_alike() -> None:
    def advance(table: nn.Parameter, optimizer: RowAdam, value: float) -> None:
        table.grad = sparse([1], torch.full((1, 2), value), 3)
        optimizer.step()

    table = nn.Parameter(torch.zeros(3, 2))
    optimizer = RowAdam([table], lr=0.1)
    advance(table, optimizer, 1.0)
    copy = nn.Parameter(table.detach().clone())
    restored = RowAdam([copy], lr=0.1)
    restored.load_state_dict(deepcopy(optimizer.state_dict()))
    advance(table, optimizer, -3.0)
    advance(copy, restored, -3.0)
    assert torch.equal(table, copy)
    assert copy.detach()[1, 0].item() != pytest.approx(-0.1)


def test_make_optimizer_decays_matrices_alone() -> None:
    section = EncoderSection(kind="transformer", dim=8, max_tokens=8, layers=1, heads=2)
    encoder = new_encoder(section, vocab_size=10, pad_id=0)
    before = {name: value.detach().clone() for name, value in encoder.named_parameters()}
    optimizer = make_optimizer(encoder, OptimSection(steps=1, lr=0.1, weight_decay=0.5))
    for parameter in encoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in encoder.named_parameters():
        kept = 1 - 0.1 * 0.5 if value.ndim == 2 else 1.0
        assert torch.allclose(value, kept * before[name]), name
    norms = [name for name, value in before.items() if "LayerNorm" in name or "bias" in name]
    assert norms
    assert all(before[name].ndim == 1 for name in norms)


def test_make_optimizer_static_table_moves_by_row() -> None:
    section = EncoderSection(kind="static", dim=8, max_tokens=8)
    encoder = new_encoder(section, vocab_size=10, pad_id=0)
    assert isinstance(make_optimizer(encoder, OptimSection(steps=1, lr=0.1)), RowAdam)
