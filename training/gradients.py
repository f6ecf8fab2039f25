"""Gradients between backward and optimizer: sparse ones summed, all of them measured and clipped.

A static encoder's table has sparse gradients, which torch adds by copying the sum so far and cannot
clip; what is here does for them what torch does for dense ones.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def sparse_sums(module: nn.Module) -> Iterator[None]:
    """Add the sparse gradients of many backwards at the end in place of one by one.

    Each addition copies the whole sum so far: over many chunks that would be quadratic.
    """
    found: dict[nn.Parameter, list[Tensor]] = {}

    def note(parameter: nn.Parameter) -> None:
        if parameter.grad is None or not parameter.grad.is_sparse:
            return
        parts = found.setdefault(parameter, [])
        parts.append(parameter.grad)
        parameter.grad = None
        # Never hold more than a few times the table.
        if sum(part._nnz() for part in parts) > 2 * len(parameter):
            found[parameter] = [_added(parts)]

    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda tensor, own=parameter: note(own))
        for parameter in module.parameters()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for parameter, parts in found.items():
        parameter.grad = _added(parts)


def clip_gradients(parameters: Iterable[nn.Parameter], clip_norm: float | None) -> float:
    """Shorten all gradients together to an L2 norm of at most ``clip_norm``.

    Args:
        parameters: Those without gradient are passed over; sparse gradients are coalesced.
        clip_norm: None: only measure.

    Returns:
        The norm before; not finite if an entry is not.
    """
    values: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        else:
            values.append(parameter.grad)
    if not values:
        return 0.0
    norm = torch.nn.utils.get_total_norm(values)
    if clip_norm is not None:
        factor = (clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for value in values:
            value.detach().mul_(factor)
    return float(norm)


def _added(parts: list[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0].coalesce()
    parts = [part.coalesce() for part in parts]
    return torch.sparse_coo_tensor(
        torch.cat([part.indices() for part in parts], dim=1),
        torch.cat([part.values() for part in parts]),
        parts[0].shape,
        check_invariants=False,
    ).coalesce()
