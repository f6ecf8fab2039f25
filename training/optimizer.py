"""How the weights move: Adam by row for an embedding table, AdamW for a transformer.

A batch touches few rows of a table. Dense Adam reads and writes three tables of all rows at each
step; ``RowAdam`` updates only the rows in the gradient and corrects the bias of each by its own
count of updates, so that a token seen for the first time late in training still takes a full first
step. What it trades away: the moments of a row do not decay while it is not seen.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import torch
from torch import Tensor, nn

from training.config import OptimSection
from training.model import Encoder


def make_optimizer(encoder: Encoder, optim: OptimSection) -> torch.optim.Optimizer:
    """Choose the optimizer of an encoder.

    Weight decay, apart from the gradient (Loshchilov and Hutter 2019,
    https://arxiv.org/abs/1711.05101), is for matrices alone: biases and the gains of norms set a
    scale, and shrinking them keeps no function simple.
    """
    if encoder.config.kind == "static":
        return RowAdam(encoder.parameters(), optim.lr)
    trained = [p for p in encoder.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, optim.lr)


class RowAdam(torch.optim.Optimizer):
    """Adam over the rows of 2-d parameters that appear in the gradient, sparse or dense.

    Args:
        params: Tables of shape (rows, dim).
        lr: Step size.
        betas: Decay of the first and the second moment.
        eps: Added to the root of the second moment.

    References:
        Kingma and Ba 2015, algorithm 1, https://arxiv.org/abs/1412.6980.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-10,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the rows that have a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, table.grad, group)
        return loss

    def _update(self, table: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["first"] = torch.zeros_like(table)  # (rows, dim)
            state["second"] = torch.zeros_like(table)  # (rows, dim)
            state["updates"] = torch.zeros(len(table), device=table.device)  # (rows,)
        gradient = (gradient if gradient.is_sparse else gradient.to_sparse(1)).coalesce()
        rows, values = gradient.indices()[0], gradient.values()  # (touched,), (touched, dim)
        beta1, beta2 = group["betas"]
        updates = state["updates"].index_select(0, rows) + 1
        first = state["first"].index_select(0, rows).mul_(beta1).add_(values, alpha=1 - beta1)
        second = state["second"].index_select(0, rows).mul_(beta2)
        second.addcmul_(values, values, value=1 - beta2)
        state["updates"].index_copy_(0, rows, updates)
        state["first"].index_copy_(0, rows, first)
        state["second"].index_copy_(0, rows, second)
        first.div_((1 - beta1**updates)[:, None])
        second.div_((1 - beta2**updates)[:, None]).sqrt_().add_(group["eps"])
        table.index_add_(0, rows, first.div_(second), alpha=-group["lr"])


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Gather an optimizer's state as tensors under ``PARAMETER.KEY``, for a checkpoint."""
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def restore_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Give an optimizer back what ``moments_of`` gathered.

    Raises:
        ValueError: If the state is of other parameters.
    """
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        index, _, key = name.partition(".")
        states.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
