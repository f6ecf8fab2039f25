"""A FLORES-200 of twenty sentences and tiny encoders, so that whole runs take a second."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from training.checkpoint import EncoderConfig, Snapshot, save_checkpoint
from training.model import StaticEncoder
from training.xtyntegra.flores import POOL_LANGUAGES
from training.xtyntegra.plan import Plan
from training.xtyntegra.run import Request

SENTENCES = 20
WORDS = [a + b + c for a in "bdfgklmn" for b in "aeiou" for c in ("ta", "ro", "mi")]
LANGS = ("swh_Latn", "hau_Latn", "yor_Latn")
PLAN = Plan(
    families=("typo",),
    edits=(1, 2),
    draws=2,
    cells=("flores200/to-english",),
    languages=("swh_Latn", "hau_Latn"),
    queries=12,
    epsilons=(),
)


def write_data(folder: Path, seed: int = 0) -> Path:
    """Sentences of eight words; each other language keeps seven words of ten."""
    dice = np.random.default_rng(seed)
    english = dice.integers(len(WORDS), size=(SENTENCES, 8))
    columns: dict[str, list[str]] = {}
    for lang in POOL_LANGUAGES:
        kept = (dice.random(english.shape) < 0.7) | (lang == "eng_Latn")
        rows = np.where(kept, english, dice.integers(len(WORDS), size=english.shape))
        columns[lang] = [" ".join(WORDS[word] for word in row) for row in rows]
    (folder / "eval").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "eval" / "flores200-dev.parquet")
    return folder


def save_encoder(folder: Path, dim: int = 16, seed: int = 0) -> Path:
    """A static encoder with random rows: the fewer dimensions, the worse."""
    words = ["[PAD]", "[UNK]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(seed)
    config = EncoderConfig(
        kind="static", dim=dim, vocab_size=len(words), max_tokens=16, pad_id=0, prompts={}
    )
    weights = StaticEncoder(config).state_dict()
    save_checkpoint(folder, Snapshot(tokenizer.to_str(), config, weights, {}, {}, {}))
    return folder


def request_for(root: Path, encoder: Path, out: str, plan: Plan | None = PLAN) -> Request:
    return Request(
        source=str(encoder),
        out=root / out,
        data=root / "data",
        tasks=("flores200",),
        languages=LANGS,
        plan=plan,
        perturbed=root / "perturbed",
    )
