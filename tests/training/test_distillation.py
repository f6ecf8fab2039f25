import math

import numpy as np
import pytest
import torch

from training.distillation import TeacherVectors, pooled_distillation

HALF = math.sqrt(0.5)


def test_pooled_distillation_hand_computed() -> None:
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    right = torch.tensor([[0.0, 1.0], [9.0, 9.0], [HALF, HALF]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # of pairs 0 and 2
    loss = pooled_distillation([left, right], torch.tensor([0, 2]), targets)
    assert loss.item() == pytest.approx((0.0 + 1.0) / 2 + (1.0 + (1 - HALF)) / 2)


def test_pooled_distillation_is_half_the_squared_distance() -> None:
    torch.manual_seed(0)
    side, targets = (torch.nn.functional.normalize(torch.randn(5, 8)) for _ in range(2))
    loss = pooled_distillation([side], torch.arange(5), targets)
    assert loss.item() == pytest.approx(((side - targets) ** 2).sum(1).mean().item() / 2, rel=1e-5)


def test_pooled_distillation_without_targets_is_zero() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    loss = pooled_distillation([torch.ones(2, 3)] * 2, nothing, torch.zeros(0, 3))
    assert loss.item() == 0.0


def test_pooled_distillation_leaves_pairs_without_teacher_alone() -> None:
    side = torch.randn(3, 4, requires_grad=True)
    pooled_distillation([side], torch.tensor([1]), torch.ones(1, 4)).backward()
    assert side.grad is not None
    assert side.grad[1].abs().sum() > 0
    assert side.grad[[0, 2]].abs().sum() == 0


def test_teacher_vectors_find_those_encoded() -> None:
    teacher = TeacherVectors(torch.tensor([[1.0], [2.0]]), np.array([-1, 1, -1, 0]))
    positions, vectors = teacher.find(np.array([3, 0, 1, 3]))
    assert positions.tolist() == [0, 2, 3]
    assert vectors.tolist() == [[1.0], [2.0], [1.0]]
