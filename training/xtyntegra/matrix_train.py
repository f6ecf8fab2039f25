"""Train the runs of the matrix one after another, with what they share held in memory once.

Corpora, vocabulary and token ids are the same for all runs, so they are read once; the batches, the
noise and the steps are those of ``python -m training`` with the same configuration. A run takes a
minute or so: one that is killed begins again, and nothing of it is kept but its log.
"""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from training import assembly
from training.batches import HybridBatches
from training.checkpoint import Snapshot, load_checkpoint
from training.config import TrainConfig
from training.corpus import Bitext, data_folder, iterate_texts, load_bitext, select_corpora
from training.distillation import TeacherVectors
from training.memory import keep_freed_memory
from training.model import Encoder
from training.preparation import Preparation, ask_teacher, ask_teacher_states
from training.rewriting import make_rewriter
from training.schedule import learning_rate
from training.tokens import TokenTable, tokenize_texts
from training.trainer import Trainer
from training.vocabulary import Vocabulary, first_vocabulary, vocabulary_of

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shared:
    """What several runs share: pairs, vocabulary, token ids, and the teacher's vectors.

    Attributes:
        bitext: All pairs.
        vocabulary: Of the weights that all runs start from.
        tokens: Token ids of all texts.
        taught: The teacher's vectors by how many there are; asked for once.
    """

    bitext: Bitext
    vocabulary: Vocabulary
    tokens: TokenTable
    taught: dict[int, TeacherVectors] = field(default_factory=dict)

    @classmethod
    def read(cls, config: TrainConfig, start: Path) -> "Shared":
        """Read what runs with the corpora of a configuration share.

        Raises:
            CheckpointError: If the weights to start from cannot be read.
            CorpusError: If corpora are missing or may not be used.
        """
        section = config.corpora
        corpora = select_corpora(list(section.weights), shippable=section.shippable)
        bitext = load_bitext(data_folder(), corpora, section.languages)
        vocabulary = vocabulary_of(load_checkpoint(start))
        log.info("tokenizing %d texts of %d pairs", len(bitext.texts), len(bitext))
        tokens = tokenize_texts(
            vocabulary.tokenizer, iterate_texts(bitext.texts), vocabulary.pad_id
        )
        return cls(bitext, vocabulary, tokens)

    def prepare(self, config: TrainConfig) -> Preparation:
        """Make the material of one run."""
        batches = HybridBatches(
            self.bitext,
            self.tokens,
            config.corpora,
            config.batches,
            max_tokens=config.encoder.max_tokens,
            seed=config.run.seed,
            rewriter=make_rewriter(config.augmentation, self.bitext, self.vocabulary.tokenizer),
        )
        return Preparation(self.bitext, self.vocabulary, self.tokens, batches)

    def teacher(self, config: TrainConfig, material: Preparation) -> TeacherVectors | None:
        """Ask the teacher once for all runs that want as many texts of it.

        Which texts those are depends on how likely pairs are drawn, not on a run's seed.
        """
        if not config.distillation.pooled:
            return None
        count = config.distillation.teacher_texts
        if count not in self.taught:
            found = ask_teacher(config, material)
            if found is not None:
                self.taught[count] = found
        return self.taught[count]


@dataclass(frozen=True, slots=True)
class Trained:
    """An encoder and what its training cost and said.

    Attributes:
        encoder: In evaluation mode.
        seconds: Of processor time, its material and the teacher's vectors left out.
        snapshot: To save as a checkpoint.
        losses: Parts of the last step's loss, and the mean loss of the last tenth of the steps.
    """

    encoder: Encoder
    seconds: float
    snapshot: Snapshot
    losses: dict[str, float]


def train_run(config: TrainConfig, shared: Shared, encoder: Encoder | None = None) -> Trained:
    """Train one run from its first step to its last.

    Args:
        config: Of the run.
        shared: Read once for all runs.
        encoder: To train; None: the one that the configuration starts from.

    Raises:
        CheckpointError: If the weights to start from do not fit.
        TrainingError: If the loss is no number.
    """
    keep_freed_memory()
    torch.set_num_threads(config.run.threads or 1)
    torch.manual_seed(config.run.seed)
    material = shared.prepare(config)
    teacher = shared.teacher(config, material)
    if encoder is None:
        encoder = assembly.first_encoder(config, first_vocabulary(config, shared.bitext))
    states = ask_teacher_states(config, material, encoder)
    trainer = Trainer(config, encoder, material.tokenizer, shared.bitext, teacher, states)
    began, losses = time.process_time(), []
    for step in range(config.optim.steps):
        trainer.step(material.batches.batch(step), learning_rate(config.optim, step))
        losses.append(trainer.parts.get("loss_clean", float("nan")))
    last = losses[-max(1, len(losses) // 10) :]
    parts = trainer.parts | {"loss_clean_last_tenth": sum(last) / len(last)}
    seconds = time.process_time() - began
    return Trained(trainer.averaged().eval(), seconds, trainer.snapshot(), parts)


def train_body(config: TrainConfig, shared: Shared, table: Tensor) -> Trained:
    """Train the transformer that all runs with one start from, from a static encoder's table.

    Raises:
        TrainingError: If the loss is no number.
    """
    torch.manual_seed(config.run.seed)
    vocabulary = shared.vocabulary
    encoder = assembly.new_encoder(config.encoder, len(table), vocabulary.pad_id)
    transformer_from_table(encoder, table)
    return train_run(config, shared, encoder)


@torch.no_grad()
def transformer_from_table(encoder: Encoder, table: Tensor) -> None:
    """Give a new transformer the best narrow copy of a static encoder's table.

    The rows are turned onto the directions in which they differ most and scaled to the spread that
    the body's own first rows have; what its layers make of them is learned afterwards.

    Args:
        encoder: A transformer with as many rows; changed in place.
        table: Rows of the static encoder, shape (vocab, dim), dim at least the transformer's width.
    """
    rows = next(p for p in encoder.parameters() if len(p) == len(table))
    _, _, right = torch.linalg.svd(table.T @ table)
    narrow = table @ right[: rows.shape[1]].T  # (vocab, width)
    rows.copy_(narrow * (rows.std() / narrow.std()))
