"""Measure what robust training and gradient caching cost, against a plain step in the same run.

    OMP_NUM_THREADS=1 python tests/benchmarks/training_costs.py

All variants take turns, round after round; a figure is the ratio of median CPU seconds, so that
other work on the machine counts little. Prints a Markdown table.
"""

import argparse
import datetime
import platform
import statistics
import subprocess
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from training.assembly import new_encoder
from training.collation import Batch, Side
from training.composition import Composition
from training.config import EncoderSection, TrainConfig
from training.gradients import clip_gradients
from training.model import Encoder
from training.optimizer import make_optimizer

STATIC = {"kind": "static", "dim": 384, "max_tokens": 64}
TRANSFORMER = {"kind": "transformer", "dim": 128, "max_tokens": 64, "layers": 4, "heads": 4}
CACHED = {"kind": "transformer", "dim": 64, "max_tokens": 64, "layers": 2, "heads": 2}
NOISES: dict[str, dict[str, Any]] = {
    "plain": {},
    "FGM": {"adversarial": {"method": "fgm"}},
    "FreeLB, K = 2": {"adversarial": {"method": "freelb", "steps": 2}},
    "PGD, K = 2": {"adversarial": {"method": "pgd", "steps": 2}},
    "smoothing, k = 1": {"smoothing": {"noise": "gaussian"}},
}
TARGETS = {"FGM": 2.2, "FreeLB, K = 2": 3.2}


def make_batch(pairs: int, seq: int, vocab: int) -> Batch:
    """Make texts of 4 to ``seq`` random tokens, as uneven as real ones."""
    rng = np.random.default_rng(0)

    def side() -> Side:
        mask = (np.arange(seq) < rng.integers(4, seq + 1, (pairs, 1))).astype(np.int64)
        return Side(rng.integers(1, vocab, (pairs, seq)) * mask, mask)

    nothing = np.zeros(0, np.int64)
    return Batch("cross", side(), side(), np.arange(pairs), (nothing, nothing))


def make_encoder(section: dict[str, Any], vocab: int) -> Encoder:
    """Make a new encoder under training."""
    torch.manual_seed(0)
    return new_encoder(EncoderSection(**section), vocab_size=vocab, pad_id=0).train()


def make_step(
    encoder: Encoder, batch: Batch, chunk: int = 0, **tables: dict[str, Any]
) -> Callable[[], None]:
    """Return a whole step: gradients, clipping and optimizer."""
    config = TrainConfig.model_validate(
        {
            "run": {"name": "costs"},
            "tokenizer": {},
            "encoder": {"kind": encoder.config.kind, "dim": 16, "max_tokens": 64},
            "corpora": {"weights": {"none": 1.0}},
            "batches": {"pairs": len(batch.pivots), "chunk": chunk},
            "optim": {"steps": 1, "lr": 1e-6},
            **tables,
        }
    )
    losses, optimizer = Composition(config), make_optimizer(encoder, config.optim)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        losses.backward(encoder, batch, 0, 1.0)
        clip_gradients(encoder.parameters(), 1.0)
        optimizer.step()

    return step


def medians(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Time steps in turns, after one round to warm up; CPU seconds."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            found[name].append(time.process_time() - began)
    return {name: statistics.median(times[1:]) for name, times in found.items()}


class Meter:
    """Counts the bytes that autograd keeps between forward and backward, weights apart."""

    def __init__(self, encoder: Encoder) -> None:
        self.now = self.peak = 0
        self._weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}

    def measure(self, step: Callable[[], None]) -> int:
        """Return the most bytes kept at a time in a step."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            step()
        return self.peak

    def _pack(self, tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        kept = tensor.view_as(tensor)
        self.now += kept.nbytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(kept, self._drop, kept.nbytes)
        return kept

    def _drop(self, size: int) -> None:
        self.now -= size


def robust_rows(kind: str, rounds: int, pairs: int) -> list[list[str]]:
    """Measure each kind of noise on one encoder."""
    section, vocab = (STATIC, 32_000) if kind == "static" else (TRANSFORMER, 8_000)
    encoder, batch = make_encoder(section, vocab), make_batch(pairs, 24, vocab)
    steps = {name: make_step(encoder, batch, **tables) for name, tables in NOISES.items()}
    found = medians(steps, rounds)
    what = f"{kind}, dim {section['dim']}, {pairs} pairs"
    return [
        [what, name, f"{1000 * seconds:.0f}", f"{seconds / found['plain']:.2f}", _target(name)]
        for name, seconds in found.items()
    ]


def caching_rows(rounds: int, pairs: int, chunk: int) -> list[list[str]]:
    """Measure gradient caching: time, and bytes kept for the backward."""
    encoder, batch = make_encoder(CACHED, 8_000), make_batch(pairs, 16, 8_000)
    steps = {"plain": make_step(encoder, batch), "cached": make_step(encoder, batch, chunk)}
    kept = {name: Meter(encoder).measure(step) for name, step in steps.items()}
    found = medians(steps, rounds)
    what = f"transformer, dim 64, {pairs} pairs, chunk {chunk}"
    ratio, share = found["cached"] / found["plain"], kept["cached"] / kept["plain"]
    return [
        [what, "plain", f"{1000 * found['plain']:.0f}", "1.00", ""],
        [what, "cached", f"{1000 * found['cached']:.0f}", f"{ratio:.2f}", "<= 1.6"],
        [what, "cached, bytes kept", f"{kept['cached'] / 1e6:.1f} MB", f"{share:.3f}", "< 0.1"],
    ]


def large_batch_rows(pairs: int, chunk: int) -> list[list[str]]:
    """Measure the most bytes that a step holds: of one chunk alone, and of a large batch."""
    rows: list[list[str]] = []
    held: list[int] = []
    for count, size in ((chunk, 0), (pairs, chunk)):
        encoder, batch = make_encoder(TRANSFORMER, 2_000), make_batch(count, 64, 2_000)
        step = make_step(encoder, batch, size)
        step()  # the optimizer's moments are there from then on
        held.append(peak_of(step))
        what = f"transformer, dim 128, {count} pairs, {f'chunk {size}' if size else 'at once'}"
        ratio = f"{held[-1] / held[0]:.2f}"
        rows.append([what, f"{held[-1] / 1e6:.0f} MB at its peak", "", ratio, "<= 1"])
    return rows


def peak_of(step: Callable[[], None]) -> int:
    """Return the most bytes that torch holds at a time in a step, beyond those before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    profiler: Any = found.profiler  # its raw events: the averages know no order
    events = profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return int(np.cumsum([size for _, size in sorted(changes)]).max())


def _target(name: str) -> str:
    return f"<= {TARGETS[name]}" if name in TARGETS else ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--static-pairs", type=int, default=1024)
    parser.add_argument("--transformer-pairs", type=int, default=32)
    parser.add_argument("--cached-pairs", type=int, default=2048)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--large-pairs", type=int, default=8192, help="0: leave that out")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[str]] = [
        *robust_rows("static", chosen.rounds, chosen.static_pairs),
        *robust_rows("transformer", chosen.rounds, chosen.transformer_pairs),
        *caching_rows(max(3, chosen.rounds // 2), chosen.cached_pairs, chosen.chunk),
        *(large_batch_rows(chosen.large_pairs, chosen.chunk) if chosen.large_pairs else []),
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = f"{platform.machine()} {platform.system()}, one thread, torch {torch.__version__}"
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"Commit {commit or 'unknown'}, {machine}, {today}; medians of CPU time.\n")
    print("| encoder | step | ms | ratio | target |\n|---|---|---:|---:|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
