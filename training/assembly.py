"""How encoders come to be: new, on a pretrained body, from a checkpoint of ours, or resumed.

A run first gets a vocabulary (learned from its corpora, or that of the folder it starts from) and
then an encoder for it. Both are functions of the configuration, the corpora and the folders named
there; whatever does not fit is refused before the first step, with what to change.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer
from torch import nn

from training.backbones import (
    counts_from_padding,
    describe_backbone,
    most_tokens,
    new_backbone,
    read_backbone,
    rebuild_backbone,
)
from training.checkpoint import (
    CheckpointError,
    EncoderConfig,
    Snapshot,
    load_checkpoint,
    load_encoder_config,
)
from training.config import EncoderSection, TrainConfig
from training.corpus import Bitext
from training.folders import Folder, open_folder, read_tokenizer, special_ids
from training.model import Encoder, StaticEncoder, TransformerEncoder
from training.tokenization import (
    CLS_TOKEN,
    PAD_TOKEN,
    SEP_TOKEN,
    UNK_TOKEN,
    build_tokenizer,
    sample_texts,
)
from training.tokens import Role
from training.transplant import transplant_rows

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
        _require_start(section, load_encoder_config(Path(section.start)))
        vocabulary = vocabulary_of(load_checkpoint(Path(section.start)))
        log.info("taking the %d tokens of %s", vocabulary.size, section.start)
        return _with_prompts(vocabulary, section)
    folder = _open_backbone(section) if section.backbone else None
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


def first_encoder(config: TrainConfig, vocabulary: Vocabulary) -> Encoder:
    """Make the encoder that a new run starts from.

    Args:
        config: Of the run.
        vocabulary: As ``first_vocabulary`` gives it.

    Raises:
        CheckpointError: If the folder that it starts from cannot be read or does not fit.
    """
    section = config.encoder
    if section.start:
        encoder = load_encoder(Path(section.start))
        _require_start(section, encoder.config)
    elif section.backbone:
        encoder = _on_backbone(config, vocabulary)
    else:
        encoder = new_encoder(section, vocabulary.size, vocabulary.pad_id)
    found = encoder.config
    if vocabulary.size > found.vocab_size:
        raise CheckpointError(
            f"the tokenizer of {section.start or section.backbone} has ids up to "
            f"{vocabulary.size - 1}, its weights rows for {found.vocab_size}: expected a row "
            "for each; the folder is not as its library saved it"
        )
    if isinstance(encoder, TransformerEncoder):
        _require_positions(section, encoder.backbone)
    encoder.config = found.model_copy(
        update={"max_tokens": section.max_tokens, "prompts": dict(vocabulary.prompts)}
    )
    return encoder


def new_encoder(section: EncoderSection, vocab_size: int, pad_id: int) -> Encoder:
    """Make an encoder with random weights."""
    config = EncoderConfig(
        kind=section.kind,
        dim=section.dim,
        vocab_size=vocab_size,
        max_tokens=section.max_tokens,
        pad_id=pad_id,
        pooling=section.pooling,
    )
    if section.kind == "static":
        return StaticEncoder(config)
    backbone = new_backbone(section, vocab_size, pad_id)
    described = {"backbone": describe_backbone(backbone)}
    return TransformerEncoder(config.model_copy(update=described), backbone)


def encoder_of(snapshot: Snapshot) -> Encoder:
    """Rebuild the encoder of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: If weights and configuration do not fit together.
    """
    config = snapshot.config
    if config.kind == "static":
        encoder: Encoder = StaticEncoder(config)
    else:
        names = [name.removeprefix("backbone.") for name in snapshot.weights]
        encoder = TransformerEncoder(config, rebuild_backbone(config.backbone or {}, names))
    try:
        encoder.load_state_dict(dict(snapshot.weights))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights do not fit the encoder's config: {first}") from error
    return encoder.eval()


def load_encoder(path: Path) -> Encoder:
    """Load the encoder of a checkpoint folder, in evaluation mode.

    Raises:
        CheckpointError: If the checkpoint is missing, incomplete, changed or malformed.
    """
    return encoder_of(load_checkpoint(path))


def _learn(config: TrainConfig, bitext: Bitext, folder: Folder | None) -> Vocabulary:
    """Learn a vocabulary; its special tokens are those that the body knows."""
    log.info("learning %d tokens", config.tokenizer.vocab_size)
    if folder:
        special = _special_tokens(special_ids(folder, read_tokenizer(folder)))
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


def _special_tokens(old: Mapping[str, int]) -> list[str]:
    """Order new special tokens so that padding keeps its id, which positions may count from."""
    tokens = [UNK_TOKEN]
    tokens += [CLS_TOKEN] if _role_id(CLS_TOKEN, old) is not None else []
    tokens += [SEP_TOKEN] if _role_id(SEP_TOKEN, old) is not None else []
    tokens.insert(old["pad"] if old["pad"] <= len(tokens) else 0, PAD_TOKEN)
    return tokens


def _role_id(token: str, old: Mapping[str, int]) -> int | None:
    """Find the old special token that plays the role of a new one."""
    roles = {
        PAD_TOKEN: ("pad",),
        UNK_TOKEN: ("unk",),
        CLS_TOKEN: ("cls", "bos"),
        SEP_TOKEN: ("sep", "eos"),
    }
    return next((old[role] for role in roles[token] if role in old), None)


def _with_prompts(vocabulary: Vocabulary, section: EncoderSection) -> Vocabulary:
    prompts: dict[Role, str] = {"query": "", "document": ""}
    prompts.update(section.prompts or vocabulary.prompts)
    return Vocabulary(vocabulary.tokenizer, vocabulary.pad_id, prompts)


def _open_backbone(section: EncoderSection) -> Folder:
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


def _on_backbone(config: TrainConfig, vocabulary: Vocabulary) -> Encoder:
    section = config.encoder
    folder = _open_backbone(section)
    backbone = read_backbone(folder.path)
    hidden = backbone.config.hidden_size
    if hidden != section.dim:
        raise CheckpointError(
            f"the backbone {section.backbone} has hidden size {hidden}, the configuration "
            f"encoder.dim {section.dim}: set encoder.dim = {hidden}"
        )
    if config.tokenizer.source == "learn":
        _exchange_vocabulary(backbone, folder, vocabulary, config.run.seed)
    encoder_config = EncoderConfig(
        kind="transformer",
        dim=section.dim,
        vocab_size=len(backbone.get_input_embeddings().weight),
        max_tokens=section.max_tokens,
        pad_id=vocabulary.pad_id,
        pooling=section.pooling,
        backbone=describe_backbone(backbone),
    )
    return TransformerEncoder(encoder_config, backbone)


def _exchange_vocabulary(backbone: Any, folder: Folder, vocabulary: Vocabulary, seed: int) -> None:
    """Put an embedding table for the new vocabulary in place of the old one."""
    old = read_tokenizer(folder)
    old_ids = special_ids(folder, old)
    special = {
        new: old_id
        for token in _special_tokens(old_ids)
        if (new := vocabulary.tokenizer.token_to_id(token)) is not None
        and (old_id := _role_id(token, old_ids)) is not None
    }
    embeddings = backbone.get_input_embeddings()
    rows, counts = transplant_rows(
        vocabulary.tokenizer,
        old,
        embeddings.weight.detach(),
        special,
        seed=seed,
    )
    log.info(
        "new vocabulary on the old body: %s of %d rows",
        ", ".join(f"{count} {way}" for way, count in counts.items()),
        len(rows),
    )
    # In place, so that a layer of a class of its own (one that scales, say) stays what it is.
    embeddings.weight = nn.Parameter(rows)
    embeddings.num_embeddings = backbone.config.vocab_size = len(rows)
    if not counts_from_padding(backbone):
        backbone.config.pad_token_id = vocabulary.pad_id


def _require_start(section: EncoderSection, found: EncoderConfig) -> None:
    for key in ("kind", "dim", "pooling"):
        ours, theirs = getattr(section, key), getattr(found, key)
        if ours != theirs:
            value = repr(theirs)
            raise CheckpointError(
                f"the checkpoint {section.start} has {key} {value}, the configuration {ours!r}: "
                f"set encoder.{key} = {value}"
            )


def _require_positions(section: EncoderSection, backbone: Any) -> None:
    most = most_tokens(backbone)
    if most is not None and section.max_tokens > most:
        raise CheckpointError(
            f"{section.start or section.backbone} has positions for {most} tokens, the "
            f"configuration says {section.max_tokens}: set encoder.max_tokens to {most} or less"
        )
