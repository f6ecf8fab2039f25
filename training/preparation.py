"""What stands before the first step: corpora, vocabulary, token ids and the first encoder.

All of it is in memory before the first step, and all of it is a function of the configuration and
the corpora alone, so a resumed run sees the same batches and a dry run the true ones.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training import assembly, distributed
from training.batches import HybridBatches
from training.checkpoint import Snapshot
from training.config import TrainConfig
from training.corpus import Bitext, data_folder, iterate_texts, load_bitext, select_corpora
from training.distillation import TeacherVectors, TransportDistillation
from training.initialization import initial_table
from training.model import Encoder
from training.phrases import PHRASES, add_phrases
from training.rewriting import make_rewriter
from training.teacher import teach, teacher_of
from training.tokens import TokenTable, tokenize_texts
from training.vocabulary import Vocabulary, first_vocabulary, vocabulary_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preparation:
    """The material of a run.

    Attributes:
        bitext: All pairs.
        vocabulary: Learned from them, or of the folder that the run starts from.
        tokens: Token ids of all texts.
        batches: Of any step.
    """

    bitext: Bitext
    vocabulary: Vocabulary
    tokens: TokenTable
    batches: HybridBatches

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary's tokenizer."""
        return self.vocabulary.tokenizer


def prepare(config: TrainConfig, before: Snapshot | None = None) -> Preparation:
    """Read the corpora, learn or take a vocabulary, and tokenize.

    Args:
        config: Of the run.
        before: The checkpoint to go on from, if there is one.

    Raises:
        CheckpointError: If the folder to start from cannot be read or does not fit.
        ConfigError: If a prompt does not go with the tokenizer, or the device is not there.
        CorpusError: If corpora are missing or may not be used.
    """
    _warn_of_emulation(config)
    section = config.corpora
    corpora = select_corpora(
        list(section.weights), shippable=section.shippable, files=section.files
    )
    log.info("reading %d corpora", len(corpora))
    # Own files have paths of their own: a run on these alone needs no data folder.
    folder = Path() if all(corpus.own for corpus in corpora) else data_folder()
    bitext = load_bitext(folder, corpora, section.languages)
    vocabulary = vocabulary_of(before) if before else first_vocabulary(config, bitext)
    log.info("tokenizing %d texts of %d pairs", len(bitext.texts), len(bitext))
    tokens = tokenize_texts(
        vocabulary.tokenizer, iterate_texts(bitext.texts), vocabulary.pad_id, vocabulary.prompts
    )
    if section.phrases:
        bitext, tokens = add_phrases(bitext, tokens, vocabulary.tokenizer, seed=config.run.seed)
        log.info("cutting phrases: %d pairs in all", len(bitext))
        weights = {**section.weights, PHRASES: section.phrases}
        section = section.model_copy(update={"weights": weights})
    batches = HybridBatches(
        bitext,
        tokens,
        section,
        config.batches,
        max_tokens=config.encoder.max_tokens,
        seed=config.run.seed,
        rewriter=make_rewriter(config.augmentation, bitext, vocabulary.tokenizer),
    )
    return Preparation(bitext, vocabulary, tokens, batches)


def _warn_of_emulation(config: TrainConfig) -> None:
    on_cpu = distributed.choose_device(config.run.device).type == "cpu"
    if on_cpu and config.run.precision != "fp32":
        log.warning(
            "run.precision = '%s' on a CPU: one without instructions for it takes tens of times "
            "longer than with fp32",
            config.run.precision,
        )


def ask_teacher(config: TrainConfig, material: Preparation) -> TeacherVectors | None:
    """Encode what the teacher is asked about, or nothing if there is no distillation."""
    if not config.distillation.pooled:
        return None
    count = config.distillation.teacher_texts
    log.info("encoding up to %d texts with the teacher", count)
    device = str(distributed.choose_device(config.run.device))
    return teach(material.bitext, material.batches, count, teacher_of(config, device))


def ask_teacher_states(
    config: TrainConfig, material: Preparation, encoder: Encoder
) -> TransportDistillation | None:
    """Open the teacher that is asked for token states at each step, or none.

    Raises:
        CheckpointError: If the teacher cannot be read.
        ConfigError: If its dimensions are not the student's.
        CorpusError: If the corpora hold no English.
    """
    if not config.distillation.transport:
        return None
    decoder = material.tokenizer.get_added_tokens_decoder()
    return TransportDistillation(
        teacher_of(config, str(distributed.choose_device(config.run.device))).states,
        material.bitext,
        config.distillation,
        encoder,
        [token_id for token_id, token in decoder.items() if token.special],
    )


def first_encoder(config: TrainConfig, material: Preparation) -> Encoder:
    """Make the encoder that training starts from.

    Raises:
        CheckpointError: If a backbone cannot be read or does not fit.
    """
    encoder = assembly.first_encoder(config, material.vocabulary)
    if config.encoder.teacher_table:
        log.info("starting from the teacher's words")
        table = initial_table(
            material.bitext, material.tokens, material.tokenizer, seed=config.run.seed
        )
        with torch.no_grad():
            encoder.get_parameter("embeddings.weight").copy_(torch.from_numpy(table))
    return encoder
