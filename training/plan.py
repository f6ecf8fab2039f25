"""A dry run: what a run would train on and what it would take, with nothing written to disk."""

import numpy as np
import torch

from training.assembly import first_encoder
from training.collation import Ints
from training.config import TrainConfig
from training.footprint import Footprint, estimate_footprint, format_bytes
from training.makeup import Makeup, count_makeup, epoch_lines
from training.preparation import Preparation, prepare

BATCHES = 48  # that are made and counted
MEASURED = 4  # of these, the largest, whose memory is estimated


def plan_run(config: TrainConfig) -> str:
    """Prepare a run, make its first batches, and say what they hold and what memory it needs.

    Args:
        config: Of the run. Its teacher is not asked and nothing is mined: that takes minutes.

    Raises:
        CorpusError: If corpora are missing or may not be used.
        CheckpointError: If a folder to start from cannot be read or does not fit.
    """
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    torch.manual_seed(config.run.seed)
    material = prepare(config)
    count = min(BATCHES, config.optim.steps)
    if material.batches.must_mine(0):
        material.batches.load_mined(_unmined(config, material, count))
    batches = [material.batches.batch(step) for step in range(count)]
    makeup = count_makeup(batches, material.bitext)
    largest = sorted(batches, key=lambda b: -(b.query.input_ids.size + b.document.input_ids.size))
    encoder = first_encoder(config, material.vocabulary).train()
    footprint = estimate_footprint(config, encoder, largest[:MEASURED], corpus_bytes(material))
    return describe_plan(config, material, makeup, footprint)


def describe_plan(
    config: TrainConfig, material: Preparation, makeup: Makeup, footprint: Footprint
) -> str:
    """Write what was found for people."""
    run, bitext, tokens = config.run, material.bitext, material.tokens
    skipped = {name: dict(why) for name, why in bitext.skipped.items()}
    parameters = footprint.device["parameters"]
    weights = parameters * (2 if config.optim.ema else 1)
    checkpoint = weights + footprint.device["optimizer"]
    copies = 3 if run.evaluate_every else 2
    return "\n".join(
        [
            f"{run.name}: {config.optim.steps:,} steps of {config.batches.pairs:,} pairs; "
            f"{config.encoder.kind} encoder of {parameters / 4:,.0f} parameters",
            f"corpora: {len(bitext):,} pairs of {len(bitext.texts):,} texts in "
            f"{len(bitext.langs)} languages, {len(tokens.ids):,} tokens of a vocabulary of "
            f"{material.vocabulary.size:,}",
            f"batches (the first {makeup.batches}):",
            *makeup.lines(skipped, mined=not config.batches.mine_every),
            f"epochs in {config.optim.steps:,} steps, that is how often each pair is drawn:",
            *epoch_lines(material.batches.uses(config.optim.steps)),
            f"memory at its peak, estimated ({run.precision}):",
            *footprint.lines(run.device),
            f"disk: some {format_bytes(checkpoint)} a checkpoint, and room for {copies} of them",
            "nothing was trained and nothing written",
        ]
    )


def corpus_bytes(material: Preparation) -> dict[str, float]:
    """Return the bytes of texts, pairs and tokens in memory."""
    bitext, tokens = material.bitext, material.tokens
    columns = (bitext.text_a, bitext.text_b, bitext.lang_a, bitext.lang_b, bitext.corpus)
    return {
        "texts": float(bitext.texts.nbytes),
        "pairs": float(sum(column.nbytes for column in columns)),
        "tokens": float(tokens.ids.nbytes + tokens.offsets.nbytes),
    }


def _unmined(config: TrainConfig, material: Preparation, count: int) -> dict[str, Ints]:
    """Draw negatives at random in place of mined ones: as many, and about as long."""
    shape = (count, config.batches.pairs, config.batches.hard_negatives)
    texts = np.random.default_rng(config.run.seed).choice(material.bitext.text_a, shape)
    return {"first": np.zeros(1, np.int64), "texts": texts.astype(np.int64)}
