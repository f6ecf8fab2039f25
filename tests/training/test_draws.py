"""Random numbers that belong to rows: cut up anyhow, a batch gets the same ones."""

from itertools import pairwise

import pytest
import torch

from training.draws import RUN, Draws, spread_rows
from training.passes import Block

CPU = torch.device("cpu")


def block(first: int, stop: int, rows: int) -> Block:
    ids = torch.ones(stop - first, 3, dtype=torch.int64)
    return Block(ids, ids, first=first, rows=rows)


@pytest.mark.parametrize("rows", [5, RUN, 3 * RUN + 7])
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_draws_of_parts_are_the_parts_of_the_whole(kind: str, rows: int) -> None:
    whole = getattr(Draws(3, 1).of(block(0, rows, rows)), kind)((rows, 2, 5), CPU)
    for parts in (2, 3, 5):
        ends = [rows * part // parts for part in range(parts + 1)]
        drawn = [
            getattr(Draws(3, 1).of(block(first, stop, rows)), kind)((stop - first, 2, 5), CPU)
            for first, stop in pairwise(ends)
        ]
        assert torch.equal(torch.cat(drawn), whole)


def test_draws_differ_by_seed_step_call_block_and_row() -> None:
    rows = 2 * RUN
    one = Draws(0, 0)
    found = [one.normal((rows, 4), CPU), one.normal((rows, 4), CPU)]
    found += [
        one.fork().normal((rows, 4), CPU),
        one.of(block(0, rows, rows)).normal((rows, 4), CPU),
    ]
    found += [Draws(0, 1).normal((rows, 4), CPU), Draws(1, 0).normal((rows, 4), CPU)]
    seen = torch.cat(found)
    assert len(seen.unique(dim=0)) == len(seen)


def test_draws_have_the_moments_of_their_kind() -> None:
    normal = Draws(7).normal((500, 400), CPU)
    assert normal.mean().item() == pytest.approx(0.0, abs=0.01)
    assert normal.std().item() == pytest.approx(1.0, abs=0.01)
    uniform = Draws(7).uniform((500, 400), CPU)
    assert 0.0 <= uniform.min().item() < 1e-3 < 1 - 1e-3 < uniform.max().item() < 1.0
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.005)
    # Rows that neighbor each other, and runs of them, have nothing in common.
    for shift in (1, RUN):
        both = normal[:-shift] * normal[shift:]
        assert both.mean().item() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(("rows", "count"), [(100, 7), (7, 100), (64, 64), (9, 0)])
def test_spread_rows_are_the_same_for_any_number_of_processes(rows: int, count: int) -> None:
    whole = torch.arange(rows)[spread_rows(block(0, rows, rows), count)].tolist()
    assert whole[0] == 0
    assert len(whole) <= max(count, 1)
    for parts in (2, 3):
        ends = [rows * part // parts for part in range(parts + 1)]
        found = [
            row
            for first, stop in pairwise(ends)
            for row in torch.arange(first, stop)[spread_rows(block(first, stop, rows), count)]
        ]
        assert found == whole
