"""What runs cost, measured once the session's shapes are warm.

Time that a busy machine takes away only ever adds to a measurement, so the least of several counts,
small and full runs by turns; what comes out is held to bounds that any real machine keeps.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.encoder.split import Cost, cheapest_run
from app.encoder.worker import Run

# A run should not keep the next one waiting for long, nor leave the processor's cache; a GPU is
# hardly busy with as many.
RUN_S = 0.02
LEAST_RUN_TOKENS, MOST_RUN_TOKENS = 512, 4096
LEAST_GPU_TOKENS, MOST_GPU_TOKENS = 8192, 32768

SMALL_TOKENS = 8
FULL_LENGTH = 32
WARM_UP_S = 2.0
ROUNDS = 5
MEASURE_S = 0.5
"""Once this has passed no further round begins; two are always done."""

QUEUE_S = 0.0002
"""What our own code costs for each run: it is part of a run's fixed cost."""

FIXED_SHARE = 0.75
"""How much of it counts. Near the cheapest split others cost hardly more (a percent at three
quarters), and those of more and shorter runs pad less, answer sooner and take less memory."""


def warm_up(run: Run, row: Sequence[int], max_tokens: int) -> None:
    """Run one text of each length that doubles, up to the longest or what the time allows."""
    end = time.perf_counter() + WARM_UP_S
    length = SMALL_TOKENS
    while length < 2 * max_tokens and time.perf_counter() < end:
        run([_of_length(row, min(length, max_tokens))])
        length *= 2


def run_all(run: Run, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Run any number of texts in batches of a size that any machine can bear."""
    vectors: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(rows)
    left = list(range(len(rows)))
    while left:
        chosen = {left[at] for at in cheapest_run([len(rows[n]) for n in left], Cost())}
        batch = sorted(chosen)
        for n, vector in zip(batch, run([rows[n] for n in batch]), strict=True):
            vectors[n] = vector
        left = [n for n in left if n not in chosen]
    return np.stack(vectors)


def measure_cost(
    run: Run,
    row: Sequence[int],
    max_tokens: int,
    max_batch_tokens: int = 0,
    *,
    on_gpu: bool = False,
) -> Cost:
    """Time smallest and full runs, which gives a run's fixed cost and its budget in tokens.

    Args:
        run: Encodes one batch.
        row: Token ids of some text, from which the texts to time are made.
        max_tokens: Tokens of the longest text.
        max_batch_tokens: Most padded tokens of one run; 0 chooses them.
        on_gpu: Whether to time and to allow as much as suits a GPU.
    """
    least, most = LEAST_RUN_TOKENS, MOST_RUN_TOKENS
    if on_gpu:
        least, most = LEAST_GPU_TOKENS, MOST_GPU_TOKENS
    small = [_of_length(row, SMALL_TOKENS)]
    length = min(max_tokens, FULL_LENGTH)
    full = [_of_length(row, length)] * (least // length)
    small_s, full_s = _least_seconds(run, small, full)
    tokens = length * len(full)
    # Were a small run to take longer than its share, the difference would say nothing.
    per_token_s = max((full_s - small_s) / (tokens - SMALL_TOKENS), full_s / tokens / 4)
    fixed_s = max(small_s - SMALL_TOKENS * per_token_s, 0.0) + QUEUE_S
    budget = max_batch_tokens or int(np.clip(RUN_S / per_token_s, least, most))
    overhead = FIXED_SHARE * fixed_s / per_token_s
    return Cost(overhead_tokens=min(overhead, budget / 4), max_tokens=budget)


def _least_seconds(
    run: Run, small: Sequence[Sequence[int]], full: Sequence[Sequence[int]]
) -> tuple[float, float]:
    end = time.perf_counter() + MEASURE_S
    least = [float("inf"), float("inf")]
    for round_ in range(ROUNDS):
        for at, rows in enumerate((small, full)):
            started = time.perf_counter()
            run(rows)
            least[at] = min(least[at], time.perf_counter() - started)
        if round_ > 0 and time.perf_counter() > end:
            break
    return least[0], least[1]


def _of_length(row: Sequence[int], length: int) -> list[int]:
    return (list(row) * length)[:length]
