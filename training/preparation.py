"""What stands before the first step: corpora, vocabulary, token ids and the first encoder.

All of it is in memory before the first step, and all of it is a function of the configuration and
the corpora alone, so a resumed run sees the same batches and a dry run the true ones.
"""

import logging
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from training.assembly import new_encoder
from training.batches import HybridBatches
from training.config import TrainConfig
from training.corpus import Bitext, data_folder, iterate_texts, load_bitext, select_corpora
from training.distillation import TeacherVectors
from training.initialization import initial_table
from training.model import Encoder
from training.teacher import teach
from training.tokenization import PAD_ID, build_tokenizer, sample_texts
from training.tokens import TokenTable, tokenize_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preparation:
    """The material of a run.

    Attributes:
        bitext: All pairs.
        tokenizer: Learned from them, or of a checkpoint.
        tokens: Token ids of all texts.
        batches: Of any step.
    """

    bitext: Bitext
    tokenizer: Tokenizer
    tokens: TokenTable
    batches: HybridBatches


def prepare(config: TrainConfig, tokenizer: Tokenizer | None = None) -> Preparation:
    """Read the corpora, learn a vocabulary unless one is given, and tokenize.

    Raises:
        CorpusError: If corpora are missing or may not be used.
    """
    corpora = select_corpora(list(config.corpora.weights), shippable=config.corpora.shippable)
    log.info("reading %d corpora", len(corpora))
    bitext = load_bitext(data_folder(), corpora, config.corpora.languages)
    tokenizer = tokenizer or _learn(config, bitext)
    log.info("tokenizing %d texts of %d pairs", len(bitext.texts), len(bitext))
    tokens = tokenize_texts(tokenizer, iterate_texts(bitext.texts), PAD_ID)
    batches = HybridBatches(
        bitext,
        tokens,
        config.corpora,
        config.batches,
        max_tokens=config.encoder.max_tokens,
        seed=config.run.seed,
    )
    return Preparation(bitext, tokenizer, tokens, batches)


def ask_teacher(config: TrainConfig, material: Preparation) -> TeacherVectors | None:
    """Encode what the teacher is asked about, or nothing if there is no distillation."""
    if not config.distillation.pooled:
        return None
    log.info("encoding up to %d texts with the teacher", config.distillation.teacher_texts)
    return teach(material.bitext, material.batches, config.distillation.teacher_texts)


def first_encoder(config: TrainConfig, material: Preparation) -> Encoder:
    """Make the encoder that training starts from.

    Raises:
        CheckpointError: If a backbone cannot be read or does not fit.
    """
    encoder = new_encoder(config.encoder, material.tokenizer.get_vocab_size(), PAD_ID)
    if config.encoder.teacher_table:
        log.info("starting from the teacher's words")
        table = initial_table(
            material.bitext, material.tokens, material.tokenizer, seed=config.run.seed
        )
        encoder.load_state_dict({"embeddings.weight": torch.from_numpy(table)})
    return encoder


def _learn(config: TrainConfig, bitext: Bitext) -> Tokenizer:
    log.info("learning %d tokens", config.tokenizer.vocab_size)
    sample = sample_texts(bitext, config.tokenizer.sample_characters, seed=config.run.seed)
    return build_tokenizer(sample, config.tokenizer.vocab_size, romanize=config.tokenizer.romanize)
