"""Time a step of our loop against one of sentence-transformers' trainer, on the same small encoder.

    pip install --no-deps --target /tmp/overlay sentence-transformers==6.2.0 datasets==5.2.0 \
        accelerate==1.15.0 dill multiprocess xxhash pandas psutil python-dateutil six tzdata
    OMP_NUM_THREADS=1 PYTHONPATH=/tmp/overlay python tests/benchmarks/trainers.py

The library is no dependency of the project; with --no-deps it comes beside the torch that is there
and brings none of its own.

Both train a BERT of 2 layers and 128 dimensions with 8,000 tokens, in float32, from the same
weights, on the same pairs, with AdamW, clipping and the plain contrastive loss from queries to
documents (MultipleNegativesRankingLoss there). They take turns in one process with the same number
of threads. A step counts from the end of the one before, so making batches counts too, in whatever
thread it happens. What one trainer does once before its first step (ours tokenizes all texts) does
not count; it is printed apart. Prints a Markdown table; ratios above 1 say that ours is faster.
"""

import argparse
import datetime
import importlib
import itertools
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from backbone import MAX_TOKENS, save_backbone

from training.config import TrainConfig
from training.corpus import CorpusError, data_folder
from training.prefetch import Prefetcher
from training.preparation import first_encoder, prepare
from training.trainer import Trainer

LIBRARIES = ("sentence_transformers", "datasets", "accelerate")
CORPUS = "nllb-seed"
RATE = 1e-4
TEMPERATURE = 0.05


@dataclass(frozen=True)
class Timing:
    """What one step took: seconds by the clock, and of the processor in all threads."""

    wall: float
    cpu: float


def load_libraries() -> dict[str, Any]:
    """Import what is compared with, or end with a line that says what to install."""
    found: dict[str, Any] = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.import_module(name)
        except ImportError as error:
            sys.exit(
                f"error: cannot import {name} ({error}): install it as this script's head says"
            )
    return found


def make_pairs(count: int) -> pa.Table:
    """Take pairs from the corpora, or make them up where there are none."""
    rng = np.random.default_rng(0)
    try:
        table = pq.read_table(data_folder() / "bitext" / f"{CORPUS}.parquet")
        return table.take(rng.permutation(table.num_rows)[:count])
    except (CorpusError, OSError):
        words = ["".join(rng.choice(list("abdefgiklmnoprstu"), 5)) for _ in range(4000)]
        sides = [
            [" ".join(rng.choice(words, rng.integers(8, 40))) for _ in range(count)]
            for _ in range(2)
        ]
        return pa.table(
            {
                "lang_a": ["eng_Latn"] * count,
                "lang_b": ["fra_Latn"] * count,
                "text_a": sides[0],
                "text_b": sides[1],
            }
        )


def run_config(backbone: Path, pairs: int) -> TrainConfig:
    """Configure our loop."""
    return TrainConfig.model_validate(
        {
            "run": {"name": "trainers"},
            "tokenizer": {"source": "backbone"},
            "encoder": {
                "kind": "transformer",
                "backbone": str(backbone),
                "dim": 128,
                "max_tokens": MAX_TOKENS,
            },
            "corpora": {"weights": {CORPUS: 1.0}, "language_exponent": 1.0},
            "batches": {"pairs": pairs, "cross_probability": 1.0, "pivot_free": 0.0},
            "loss": {"temperature": TEMPERATURE, "symmetric": False},
            "optim": {"steps": 1_000_000, "lr": RATE, "schedule": "constant"},
        }
    )


def ours(backbone: Path, pairs: int) -> Callable[[int], list[Timing]]:
    """Prepare our loop; the function returned does some steps more and times them."""
    config = run_config(backbone, pairs)
    material = prepare(config)
    encoder = first_encoder(config, material)
    trainer = Trainer(config, encoder, material.tokenizer, material.bitext)

    def run(steps: int) -> list[Timing]:
        start = trainer.progress.step

        def ends() -> Generator[None]:
            with Prefetcher(material.batches.batch, start, start + steps + 1) as ahead:
                for batch in ahead:
                    trainer.step(batch, RATE)
                    yield

        with closing(ends()) as done:
            return timed(done)

    return run


def theirs(
    found: dict[str, Any], backbone: Path, table: pa.Table, pairs: int, scratch: Path
) -> Callable[[int], list[Timing]]:
    """Prepare the library's trainer, in the same way."""
    library = found["sentence_transformers"]
    parts = importlib.import_module("sentence_transformers.models")
    losses = importlib.import_module("sentence_transformers.losses")
    transformers = importlib.import_module("transformers")
    body = parts.Transformer(str(backbone), max_seq_length=MAX_TOKENS)
    model = library.SentenceTransformer(modules=[body, parts.Pooling(128, "mean")], device="cpu")
    data = found["datasets"].Dataset.from_dict(
        {"anchor": table["text_b"].to_pylist(), "positive": table["text_a"].to_pylist()}
    )
    loss = losses.MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)

    class Clock(transformers.TrainerCallback):
        """Notes the end of each step."""

        def __init__(self) -> None:
            self.ends: list[tuple[float, float]] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append((time.perf_counter(), time.process_time()))

    def run(steps: int) -> list[Timing]:
        clock = Clock()
        arguments = library.SentenceTransformerTrainingArguments(
            output_dir=str(scratch),
            max_steps=steps + 1,
            per_device_train_batch_size=pairs,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = library.SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=loss, callbacks=[clock]
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        return between(clock.ends)

    return run


def timed(ends: Iterable[None]) -> list[Timing]:
    """Time what is between the items of an iterator."""
    return between([(time.perf_counter(), time.process_time()) for _ in ends])


def between(ends: list[tuple[float, float]]) -> list[Timing]:
    """Turn times of ends into times of what is between them."""
    pairs = itertools.pairwise(ends)
    return [Timing(after[0] - before[0], after[1] - before[1]) for before, after in pairs]


def measure(
    runs: dict[str, Callable[[int], list[Timing]]], rounds: int, steps: int
) -> dict[str, list[Timing]]:
    """Let them take turns; for each round, the median of a step. The first round warms up."""
    found: dict[str, list[Timing]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in list(runs) if turn % 2 else reversed(runs):
            times = runs[name](steps)
            if turn:
                wall = statistics.median(t.wall for t in times)
                found[name].append(Timing(wall, statistics.median(t.cpu for t in times)))
    return found


def describe(pairs: int, found: dict[str, list[Timing]]) -> str:
    """Write a row of the table: medians over the rounds, and the spread of the ratio by round."""
    cells = [str(pairs)]
    for field in ("wall", "cpu"):
        own, other = ([getattr(t, field) for t in found[name]] for name in ("ours", "theirs"))
        ratios = [b / a for a, b in zip(own, other, strict=True)]
        cells += [f"{1 / statistics.median(own):.2f}", f"{1 / statistics.median(other):.2f}"]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure each size of batch and print the table."""
    parser = argparse.ArgumentParser(description="ours against sentence-transformers' trainer")
    parser.add_argument("--pairs", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="of each round")
    parser.add_argument("--texts", type=int, default=8000, help="pairs of the corpus")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found = load_libraries()
    print("| pairs | ours, steps/s | theirs | ratio | ours, steps/CPU s | theirs | ratio |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        table = make_pairs(options.texts)
        (scratch / "bitext").mkdir()
        pq.write_table(table, scratch / "bitext" / f"{CORPUS}.parquet")
        os.environ["TYNTEGRA_DATA"] = name
        texts = table["text_a"].to_pylist() + table["text_b"].to_pylist()
        save_backbone(scratch / "backbone", texts)
        preparing = 0.0
        for pairs in options.pairs:
            began = time.perf_counter()
            own = ours(scratch / "backbone", pairs)
            preparing = time.perf_counter() - began
            other = theirs(found, scratch / "backbone", table, pairs, scratch / "out")
            timings = measure({"ours": own, "theirs": other}, options.rounds, options.steps)
            print(describe(pairs, timings), flush=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(
        f"\n{datetime.date.today()}, commit {commit}, {platform.machine()}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads, sentence-transformers "
        f"{found['sentence_transformers'].__version__}; median of {options.rounds} rounds of "
        f"{options.steps} steps, the ratio's least and most in parentheses. Reading and "
        f"tokenizing {len(table)} pairs beforehand took ours {preparing:.1f} s."
    )


if __name__ == "__main__":
    main()
