"""How encoders come to be: new, on a pretrained body, from a checkpoint of ours, or resumed.

What an encoder starts from is a function of the configuration and the folders named there; whatever
does not fit is refused before the first step, with what to change.
"""

import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError
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
from training.checkpoint import CheckpointError, EncoderConfig, Snapshot, load_checkpoint
from training.composed import ComposedEncoder, grams_of
from training.config import EncoderSection, TrainConfig
from training.folders import Folder, Pooling, read_pieces, special_ids
from training.model import Encoder, StaticEncoder, TransformerEncoder
from training.transplant import transplant_rows
from training.vocabulary import (
    Vocabulary,
    new_special_tokens,
    open_backbone,
    require_start,
    role_id,
)

log = logging.getLogger(__name__)


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
        require_start(section, encoder.config)
    elif section.backbone:
        encoder = _on_backbone(config, vocabulary)
    else:
        encoder = new_encoder(section, vocabulary.size, vocabulary.pad_id, vocabulary.tokenizer)
    found = encoder.config
    if vocabulary.size > found.vocab_size:
        raise CheckpointError(
            f"the tokenizer of {section.start or section.backbone} has ids up to "
            f"{vocabulary.size - 1}, its weights rows for {found.vocab_size}: expected a row "
            "for each; the folder is not as its library saved it"
        )
    if isinstance(encoder, TransformerEncoder):
        _require_positions(section, encoder.backbone)
    if config.distillation.transport and encoder.state_dim != found.dim:
        raise CheckpointError(
            f"{section.start or section.backbone} has token states of {encoder.state_dim} "
            f"dimensions and, after its dense layers, vectors of {found.dim}: transport compares "
            "states with the teacher's, so set distillation.transport = 0"
        )
    encoder.config = found.model_copy(
        update={"max_tokens": section.max_tokens, "prompts": dict(vocabulary.prompts)}
    )
    return encoder


def new_encoder(
    section: EncoderSection, vocab_size: int, pad_id: int, tokenizer: Tokenizer | None = None
) -> Encoder:
    """Make an encoder with random weights; one with ``grams`` needs its tokenizer."""
    config = EncoderConfig(
        kind=section.kind,
        dim=section.dim,
        vocab_size=vocab_size,
        max_tokens=section.max_tokens,
        pad_id=pad_id,
        pooling=section.pooling,
        grams=section.grams,
    )
    if section.kind == "static":
        return _static(config, tokenizer)
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
        encoder: Encoder = _static(config, Tokenizer.from_str(snapshot.tokenizer))
    else:
        names = [name.removeprefix("backbone.") for name in snapshot.weights]
        encoder = TransformerEncoder(config, rebuild_backbone(config.backbone or {}, names))
    try:
        encoder.load_state_dict(dict(snapshot.weights))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights do not fit the encoder's config: {first}") from error
    return encoder.eval()


def _static(config: EncoderConfig, tokenizer: Tokenizer | None) -> StaticEncoder:
    if not config.grams or tokenizer is None:
        return StaticEncoder(config)
    return ComposedEncoder(config, grams_of(tokenizer))


def load_encoder(path: Path) -> Encoder:
    """Load the encoder of a checkpoint folder, in evaluation mode.

    Raises:
        CheckpointError: If the checkpoint is missing, incomplete, changed or malformed.
    """
    return encoder_of(load_checkpoint(path))


def _on_backbone(config: TrainConfig, vocabulary: Vocabulary) -> Encoder:
    section = config.encoder
    folder = open_backbone(section)
    backbone = read_backbone(folder.path)
    if config.tokenizer.source == "learn":
        _exchange_vocabulary(backbone, folder, vocabulary, config.run.seed)
    encoder = pretrained_encoder(
        folder,
        backbone,
        pooling=section.pooling,
        max_tokens=section.max_tokens,
        pad_id=vocabulary.pad_id,
    )
    if (dim := encoder.config.dim) != section.dim:
        made = "its dense layers make" if folder.dense else "it has hidden size"
        raise CheckpointError(
            f"got the backbone {section.backbone}, {made} {dim}, and encoder.dim {section.dim}: "
            f"set encoder.dim = {dim}"
        )
    return encoder


def pretrained_encoder(
    folder: Folder, backbone: Any, *, pooling: Pooling, max_tokens: int, pad_id: int
) -> TransformerEncoder:
    """Put pooling and a folder's dense layers on its body.

    Args:
        folder: Whose dense layers and prompts are taken.
        backbone: As ``read_backbone`` gives it.
        pooling: Of the body's states.
        max_tokens: Where texts will be cut.
        pad_id: Of the vocabulary.

    Raises:
        CheckpointError: If the dense layers cannot be read or do not fit.
    """
    hidden = backbone.config.hidden_size
    layers = tuple(part.layer for part in folder.dense)
    if layers and layers[0].inputs != hidden:
        raise CheckpointError(
            f"the dense layer {folder.dense[0].path} takes {layers[0].inputs} dimensions, the body "
            f"{folder.path} gives {hidden}: expected parts of one model"
        )
    try:
        config = EncoderConfig(
            kind="transformer",
            dim=layers[-1].outputs if layers else hidden,
            vocab_size=len(backbone.get_input_embeddings().weight),
            max_tokens=max_tokens,
            pad_id=pad_id,
            pooling=pooling,
            prompts={"query": "", "document": "", **folder.prompts},
            backbone=describe_backbone(backbone),
            dense=layers,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"]
        raise CheckpointError(f"{folder.path} makes no encoder: {first}") from error
    encoder = TransformerEncoder(config, backbone)
    for layer, part in zip(encoder.dense, folder.dense, strict=True):
        layer.load_state_dict(part.weights())
    return encoder


def _exchange_vocabulary(backbone: Any, folder: Folder, vocabulary: Vocabulary, seed: int) -> None:
    """Put an embedding table for the new vocabulary in place of the old one."""
    old = read_pieces(folder)
    old_ids = special_ids(folder, old)
    special = {
        new: old_id
        for token in new_special_tokens(old_ids)
        if (new := vocabulary.tokenizer.token_to_id(token)) is not None
        and (old_id := role_id(token, old_ids)) is not None
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


def _require_positions(section: EncoderSection, backbone: Any) -> None:
    most = most_tokens(backbone)
    if most is not None and section.max_tokens > most:
        raise CheckpointError(
            f"{section.start or section.backbone} has positions for {most} tokens, the "
            f"configuration says {section.max_tokens}: set encoder.max_tokens to {most} or less"
        )
