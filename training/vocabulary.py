"""How a run's texts become token ids: a vocabulary learned from its corpora, or one that is there.

A new run learns its vocabulary, or takes that of the pretrained folder or of the checkpoint that it
starts from; a resumed one has its own. Prompts belong to it, since they are tokens before a text.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer

from training.checkpoint import (
    CheckpointError,
    EncoderConfig,
    Snapshot,
    load_checkpoint,
    load_encoder_config,
)
from training.config import EncoderSection, TrainConfig
from training.corpus import Bitext
from training.folders import Folder, open_folder, read_pieces, read_tokenizer, special_ids
from training.tokenization import (
    CLS_TOKEN,
    PAD_TOKEN,
    SEP_TOKEN,
    UNK_TOKEN,
    build_tokenizer,
    sample_texts,
)
from training.tokens import Role

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How texts become token ids.

    Attributes:
        tokenizer: Without padding and truncation.
        pad_id: The id that fills short rows.
        prompts: What is put before queries and documents.
    """

    tokenizer: Tokenizer
    pad_id: int
    prompts: Mapping[Role, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """One more than the highest id."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())


def first_vocabulary(config: TrainConfig, bitext: Bitext) -> Vocabulary:
    """Learn a new run's vocabulary, or take that of the folder that it starts from.

    Raises:
        CheckpointError: If that folder cannot be read or does not fit the configuration.
    """
    section, source = config.encoder, config.tokenizer.source
    if source == "start":
        require_start(section, load_encoder_config(Path(section.start)))
        vocabulary = vocabulary_of(load_checkpoint(Path(section.start)))
        log.info("taking the %d tokens of %s", vocabulary.size, section.start)
        return _with_prompts(vocabulary, section)
    folder = open_backbone(section) if section.backbone else None
    if source == "backbone" and folder:
        tokenizer = read_tokenizer(folder)
        pad_id = special_ids(folder, tokenizer)["pad"]
        vocabulary = Vocabulary(tokenizer, pad_id, folder.prompts)
        log.info("taking the %d tokens of %s", vocabulary.size, folder.path)
        return _with_prompts(vocabulary, section)
    return _with_prompts(_learn(config, bitext, folder), section)


def vocabulary_of(snapshot: Snapshot) -> Vocabulary:
    """Give the vocabulary of a checkpoint."""
    prompts = cast(Mapping[Role, str], snapshot.config.prompts)
    return Vocabulary(Tokenizer.from_str(snapshot.tokenizer), snapshot.config.pad_id, prompts)


def open_backbone(section: EncoderSection) -> Folder:
    """Open the folder of the configured backbone.

    Raises:
        CheckpointError: If it cannot be read, or pools in another way than is configured.
    """
    folder = open_folder(Path(section.backbone))
    if folder.pooling and folder.pooling != section.pooling:
        raise CheckpointError(
            f"the backbone {section.backbone} pools by {folder.pooling!r}, the configuration says "
            f"{section.pooling!r}: set encoder.pooling = '{folder.pooling}', or name the "
            f"transformer's own folder {folder.path} if you mean to change it"
        )
    if folder.max_tokens and folder.max_tokens < section.max_tokens:
        log.info(
            "%s cuts texts at %d tokens, this run at %d",
            section.backbone,
            folder.max_tokens,
            section.max_tokens,
        )
    return folder


def require_start(section: EncoderSection, found: EncoderConfig) -> None:
    """Check that the checkpoint to start from is of the configured shape.

    Raises:
        CheckpointError: If its kind, dimension or pooling is another.
    """
    for key in ("kind", "dim", "pooling", "grams"):
        ours, theirs = getattr(section, key), getattr(found, key)
        if ours != theirs:
            value = str(theirs).lower() if isinstance(theirs, bool) else repr(theirs)
            raise CheckpointError(
                f"the checkpoint {section.start} has {key} {value}, the configuration {ours!r}: "
                f"set encoder.{key} = {value}"
            )


def new_special_tokens(old: Mapping[str, int]) -> list[str]:
    """Order the special tokens of a vocabulary that is learned for an old body.

    Padding keeps its id, which positions may count from, if the others fill the ids before it.
    """
    tokens = [UNK_TOKEN]
    tokens += [CLS_TOKEN] if role_id(CLS_TOKEN, old) is not None else []
    tokens += [SEP_TOKEN] if role_id(SEP_TOKEN, old) is not None else []
    tokens.insert(old["pad"] if old["pad"] <= len(tokens) else 0, PAD_TOKEN)
    return tokens


def role_id(token: str, old: Mapping[str, int]) -> int | None:
    """Find the old special token that plays the role of a new one."""
    roles = {
        PAD_TOKEN: ("pad",),
        UNK_TOKEN: ("unk",),
        CLS_TOKEN: ("cls", "bos"),
        SEP_TOKEN: ("sep", "eos"),
    }
    return next((old[role] for role in roles[token] if role in old), None)


def _learn(config: TrainConfig, bitext: Bitext, folder: Folder | None) -> Vocabulary:
    """Learn a vocabulary; its special tokens are those that the body knows."""
    log.info("learning %d tokens", config.tokenizer.vocab_size)
    if folder:
        special = new_special_tokens(special_ids(folder, read_pieces(folder)))
    elif config.encoder.kind == "transformer" and config.encoder.pooling != "mean":
        # Something has to stand where the vector is taken from.
        special = [PAD_TOKEN, UNK_TOKEN, CLS_TOKEN, SEP_TOKEN]
    else:
        special = [PAD_TOKEN, UNK_TOKEN]
    sample = sample_texts(bitext, config.tokenizer.sample_characters, seed=config.run.seed)
    tokenizer = build_tokenizer(
        sample,
        config.tokenizer.vocab_size,
        romanize=config.tokenizer.romanize,
        special_tokens=special,
    )
    pad_id = special.index(PAD_TOKEN)
    return Vocabulary(tokenizer, pad_id, folder.prompts if folder else {})


def _with_prompts(vocabulary: Vocabulary, section: EncoderSection) -> Vocabulary:
    prompts: dict[Role, str] = {"query": "", "document": ""}
    prompts.update(section.prompts or vocabulary.prompts)
    return Vocabulary(vocabulary.tokenizer, vocabulary.pad_id, prompts)
