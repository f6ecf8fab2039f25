"""How encoders come to be: new, on a pretrained backbone, or as a checkpoint holds them."""

from pathlib import Path
from typing import Any

from training.checkpoint import CheckpointError, EncoderConfig, Snapshot, load_checkpoint
from training.config import EncoderSection
from training.model import Encoder, StaticEncoder, TransformerEncoder


def new_encoder(section: EncoderSection, vocab_size: int, pad_id: int) -> Encoder:
    """Make an encoder to train: new, or with a pretrained backbone from a local folder.

    Raises:
        CheckpointError: If the backbone's folder cannot be read or does not fit.
    """
    config = EncoderConfig(
        kind=section.kind,
        dim=section.dim,
        vocab_size=vocab_size,
        max_tokens=section.max_tokens,
        pad_id=pad_id,
    )
    if section.kind == "static":
        return StaticEncoder(config)
    from transformers import AutoModel, BertConfig  # takes seconds to import

    backbone = _read_backbone(section, vocab_size) if section.backbone else None
    if backbone is None:
        layout = BertConfig(
            vocab_size=vocab_size,
            hidden_size=section.dim,
            num_hidden_layers=section.layers,
            num_attention_heads=section.heads,
            intermediate_size=4 * section.dim,
            max_position_embeddings=section.max_tokens,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=pad_id,
        )
        backbone = AutoModel.from_config(layout, add_pooling_layer=False)
    layout = backbone.config.to_diff_dict()
    return TransformerEncoder(config.model_copy(update={"backbone": layout}), backbone)


def _read_backbone(section: EncoderSection, vocab_size: int) -> Any:
    from transformers import AutoModel

    try:
        backbone = AutoModel.from_pretrained(
            section.backbone, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the backbone {section.backbone}: {error}") from error
    hidden = backbone.config.hidden_size
    if hidden != section.dim or backbone.config.vocab_size < vocab_size:
        raise CheckpointError(
            f"the backbone {section.backbone} has hidden size {hidden} and "
            f"{backbone.config.vocab_size} tokens: expected encoder.dim {section.dim} and at least "
            f"{vocab_size} tokens; change the configuration or the backbone"
        )
    return backbone


def encoder_of(snapshot: Snapshot) -> Encoder:
    """Rebuild the encoder of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: If weights and configuration do not fit together.
    """
    config = snapshot.config
    if config.kind == "static":
        encoder: Encoder = StaticEncoder(config)
    else:
        from transformers import AutoConfig, AutoModel

        fields = dict(config.backbone or {})
        layout = AutoConfig.for_model(fields.pop("model_type"), **fields)
        # BERT-like models come with a pooling layer that mean pooling leaves unused.
        names = {name.split(".")[1] for name in snapshot.weights if name.startswith("backbone.")}
        options = {} if "pooler" in names else {"add_pooling_layer": False}
        encoder = TransformerEncoder(config, AutoModel.from_config(layout, **options))
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
