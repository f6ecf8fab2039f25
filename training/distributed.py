"""Where a process computes, and how several of them make one step of one batch.

``torchrun`` starts the processes and names them in the environment; each holds a contiguous slice
of the batch. Vectors are gathered so that every process sees the loss of the whole batch, and each
sends it back through its own rows alone: the gradients of all processes then add up to those of one
process with the whole batch. What it trades away: the loss is computed once in each process.
Without ``torchrun`` all of this does nothing.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.config import ConfigError


def choose_device(name: str) -> torch.device:
    """Find the device of this process.

    Args:
        name: ``auto`` (CUDA if there is one), ``cpu`` or ``cuda``.

    Raises:
        ConfigError: If CUDA was asked for and there is none for this process.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"got run.device = '{name}', but torch {torch.__version__} finds no CUDA device: "
            "expected a driver and a torch built for it; or set run.device = 'cpu'"
        )
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise ConfigError(
            f"got process {local} of this machine, which has {count} CUDA devices: start at most "
            "one process for each with torchrun --nproc-per-node"
        )
    return torch.device("cuda", local)


@contextmanager
def session(device: torch.device) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it did, and leave them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def world() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this one is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Return whether this process writes files and logs: one of them does."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes are here."""
    if world() > 1:
        dist.barrier()


def any_process(flag: bool, device: torch.device | None = None) -> bool:
    """Tell all processes whether the flag is set in one of them, such as an interrupt."""
    if world() == 1:
        return flag
    found = torch.tensor(int(flag), device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def total(values: Tensor) -> Tensor:
    """Sum a tensor over the processes, without graph."""
    if world() == 1:
        return values.detach()
    summed = values.detach().clone()
    dist.all_reduce(summed)
    return summed


def gather_rows(rows: Tensor) -> Tensor:
    """Join the rows of all processes in the order of the batch.

    Args:
        rows: Of this process, shape (own, ...); the processes may hold different numbers of them.

    Returns:
        All rows, shape (all, ...); those of this process with their graph, the others without.
    """
    if world() == 1:
        return rows
    parts = _gather(rows.detach())
    parts[rank()] = rows
    return torch.cat(parts)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient, dense or sparse, by its sum over the processes.

    Every process must have gradients of the same parameters.
    """
    if world() == 1:
        return
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if not gradient.is_sparse:
            dist.all_reduce(gradient)
            continue
        gradient = gradient.coalesce()
        # In the same order in every process, so that all of them get the same bits.
        parameter.grad = torch.sparse_coo_tensor(
            torch.cat(_gather(gradient.indices()[0]))[None],
            torch.cat(_gather(gradient.values())),
            gradient.shape,
            check_invariants=False,
        ).coalesce()


def _gather(rows: Tensor) -> list[Tensor]:
    """Return the rows of each process; they are padded on the way, as all must send alike."""
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    lengths = [int(count) for count in counts]
    padded = rows.new_zeros(max(lengths), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return [part[:length] for part, length in zip(parts, lengths, strict=True)]
