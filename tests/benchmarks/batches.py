"""Measure how fast batches are made, with and without augmentation, against a step of training.

    python tests/benchmarks/batches.py --pairs 256

On nllb-seed and ntrex128, in batches half cross-lingual and half monolingual; code-switching takes
its words from osm-id-schema. A step is that of a new transformer (2 layers, 128 dimensions). Times
are of the processor, in one thread, so that other work on the machine does not count. Prints one
JSON line for each way of making batches; ``times_as_fast`` is a step's time over that of its batch.
"""

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.augmentation import CodeSwitch, Typos, load_lexicon
from training.batches import HybridBatches
from training.config import AugmentationSection, TrainConfig
from training.corpus import Bitext, data_folder, iterate_texts, load_bitext, select_corpora
from training.preparation import Preparation, first_encoder, prepare
from training.rewriting import Rewriter
from training.tokens import tokenize_texts
from training.trainer import Trainer

CORPORA = {"nllb-seed": 1.0, "ntrex128": 1.0}
WORDS = "osm-id-schema"
AUGMENTATION = AugmentationSection(
    dictionaries=(WORDS,), sentence_probability=0.5, typo_probability=0.3, self_teaching=1.0
)


def config_of(pairs: int) -> TrainConfig:
    """Configure a run with a small transformer."""
    return TrainConfig.model_validate(
        {
            "run": {"name": "benchmark", "threads": 1},
            "tokenizer": {"vocab_size": 16_000, "sample_characters": 2_000_000},
            "encoder": {"kind": "transformer", "dim": 128, "layers": 2, "max_tokens": 128},
            "corpora": {"weights": CORPORA},
            "batches": {"pairs": pairs},
            "optim": {"steps": 1000, "lr": 1e-4},
        }
    )


def seconds_each(work: Callable[[int], object], count: int, first: int = 0) -> float:
    """Return the processor's seconds of one of several calls, after one that does not count."""
    work(first)
    began = time.process_time()
    for step in range(first + 1, first + 1 + count):
        work(step)
    return (time.process_time() - began) / count


def write_words(path: Path) -> None:
    """Write a dictionary out of the lexicon among the corpora."""
    words = load_bitext(data_folder(), select_corpora([WORDS], shippable=True))
    rows = zip(words.lang_a, words.text_a, words.lang_b, words.text_b, strict=True)
    texts = words.texts.to_pylist()
    lines = {
        f"{words.langs[a]}\t{texts[x]}\t{words.langs[b]}\t{texts[y]}\n"
        for a, x, b, y in rows
        # Codes of two letters, of which the corpora have some, no dictionary takes.
        if len(words.langs[a]) == len(words.langs[b]) == len("eng_Latn")
    }
    path.write_text("".join(sorted(lines)), encoding="utf-8")


def with_rewriter(config: TrainConfig, material: Preparation, rewriter: Rewriter) -> HybridBatches:
    """Make the batches of a run whose texts are augmented."""
    return HybridBatches(
        material.bitext,
        material.tokens,
        config.corpora,
        config.batches,
        max_tokens=config.encoder.max_tokens,
        seed=config.run.seed,
        rewriter=rewriter,
    )


def rewriters(material: Preparation) -> dict[str, Rewriter]:
    """Make one for each augmentation, and one for both."""
    with tempfile.TemporaryDirectory() as folder:
        write_words(path := Path(folder, "words.tsv"))
        switch = CodeSwitch(load_lexicon([path]), AUGMENTATION.word_probability)
    typos = Typos(AUGMENTATION.typo_edits)
    ways: dict[str, dict[str, Any]] = {
        "words switched in half of the texts": {"switch": switch},
        "typos in 30% of the queries": {"typos": typos},
        "both": {"switch": switch, "typos": typos},
    }
    return {
        name: Rewriter(material.bitext, material.tokenizer, AUGMENTATION, **with_)
        for name, with_ in ways.items()
    }


def tokens_per_second(material: Preparation, bitext: Bitext) -> float:
    """Measure the tokenizing that is done once, before the first step."""
    texts = list(iterate_texts(bitext.texts))[:100_000]
    began = time.process_time()
    tokens = tokenize_texts(material.tokenizer, texts, material.vocabulary.pad_id)
    return float(tokens.offsets[-1]) / (time.process_time() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = config_of(arguments.pairs)
    material = prepare(config)
    encoder = first_encoder(config, material)
    trainer = Trainer(config, encoder, material.tokenizer, material.bitext)
    ready = [material.batches.batch(step) for step in range(arguments.steps + 1)]
    step_s = seconds_each(lambda step: trainer.step(ready[step], 1e-4), arguments.steps)

    ways = {"plain": material.batches}
    for name, rewriter in rewriters(material).items():
        ways[name] = with_rewriter(config, material, rewriter)
    print(json.dumps({"tokens_per_s": round(tokens_per_second(material, material.bitext))}))
    for name, batches in ways.items():
        batch_s = seconds_each(batches.batch, arguments.batches)
        line = {
            "batches": name,
            "pairs": arguments.pairs,
            "pairs_per_s": round(arguments.pairs / batch_s),
            "batch_ms": round(1e3 * batch_s, 2),
            "step_ms": round(1e3 * step_s, 1),
            "times_as_fast": round(step_s / batch_s, 1),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
