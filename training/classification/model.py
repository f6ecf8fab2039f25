"""The classifier: [CLS] first [SEP] second [SEP] -> token states -> first token -> class scores.

It is an ``Encoder`` whose ``pool`` gives scores in place of unit rows, so the passes, the adversary
and the smoother that train encoders train it as they are. The head is BERT's: a dense layer with
tanh on the first token's state, which takes over the weights of the backbone's own pooling layer if
its folder has one.
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from training.backbones import describe_backbone, most_tokens, read_backbone, rebuild_backbone
from training.checkpoint import CheckpointError, EncoderConfig, Snapshot
from training.classification.config import BackboneSection
from training.classification.tasks import Task
from training.classification.tokenization import PairTokenizer
from training.model import Encoder

_POOLER = "pooler.dense."


class ClassifierConfig(EncoderConfig):
    """What is needed, beside weights and tokenizer, to run a classifier."""

    task: str
    labels: tuple[str, ...] = Field(min_length=2, description="names of the classes, in order")
    dropout: float = Field(ge=0.0, lt=1.0)
    end_id: int | None = Field(description="token after which the second sentence's type begins")


class PairClassifier(Encoder):
    """A transformers backbone with a classification head on its first token."""

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, backbone: Any) -> None:
        super().__init__()
        # Narrower than an encoder's, which is sound, for nothing sets it anew.
        self.config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.backbone: Any = backbone
        self.dense = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.scores = nn.Linear(config.dim, len(config.labels))
        for layer in (self.dense, self.scores):  # as BERT starts its own
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        # Held in a tuple, lest it be registered, and saved, a second time.
        self._types = tuple(_type_embeddings(backbone)) if config.end_id is not None else ()

    def token_embeddings(self, input_ids: Tensor) -> Tensor:
        """Look the input embeddings up, (pairs, seq) -> (pairs, seq, dim_in)."""
        return self.backbone.get_input_embeddings()(input_ids)

    def noise_points(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings, those of the second sentence with its token type.

        A body that gets embeddings without types takes all of them for type 0, so what is added
        here is the difference of the two.
        """
        points = self.token_embeddings(input_ids)  # (pairs, seq, dim_in)
        for table in self._types:
            types = second_sentence(input_ids, self.config.end_id)  # (pairs, seq)
            points = points + (table.weight[1] - table.weight[0]) * types[..., None]
        return points, attention_mask

    def token_states(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the last hidden states, (pairs, seq, dim_in) -> (pairs, seq, dim)."""
        return self.backbone(
            inputs_embeds=token_embeddings, attention_mask=attention_mask
        ).last_hidden_state

    def pool(self, token_states: Tensor, attention_mask: Tensor) -> Tensor:
        """Score the classes, (pairs, seq, dim) -> (pairs, classes)."""
        pooled = torch.tanh(self.dense(token_states[:, 0]))  # (pairs, dim); padding is on the right
        return self.scores(self.dropout(pooled))


def second_sentence(input_ids: Tensor, end_id: int | None) -> Tensor:
    """Mark what follows the first ``end_id`` of each pair, shape (pairs, seq)."""
    ends = input_ids == end_id
    return (ends.cumsum(dim=1) - ends.long()) > 0


def _type_embeddings(backbone: Any) -> list[nn.Embedding]:
    """Find the table of token types, if the body tells two of them apart."""
    return [
        module
        for name, module in backbone.named_modules()
        if name.endswith("token_type_embeddings")
        and isinstance(module, nn.Embedding)
        and module.num_embeddings > 1
    ]


def new_classifier(
    section: BackboneSection, task: Task, tokenizer: PairTokenizer
) -> PairClassifier:
    """Make a classifier to train: with a pretrained backbone from a local folder, or new.

    Args:
        section: The backbone.
        task: Whose classes it tells apart.
        tokenizer: Of the backbone, or learned.

    Raises:
        CheckpointError: If the backbone's folder cannot be read or does not fit.
    """
    path = Path(section.backbone)
    if section.backbone:
        backbone = read_backbone(path)
        _require_room(section, backbone, tokenizer.vocab_size)
    else:
        backbone = _new_backbone(section, tokenizer)
    config = ClassifierConfig(
        kind="transformer",
        pooling="cls",
        dim=backbone.config.hidden_size,
        vocab_size=tokenizer.vocab_size,
        max_tokens=section.max_tokens,
        pad_id=tokenizer.pad_id,
        backbone=describe_backbone(backbone),
        task=task.name,
        labels=task.labels,
        dropout=section.dropout,
        end_id=tokenizer.end_id,
    )
    model = PairClassifier(config, backbone)
    if section.backbone and (pooler := _read_pooler(path)):
        model.dense.load_state_dict(pooler)
    return model


def classifier_of(snapshot: Snapshot) -> PairClassifier:
    """Rebuild the classifier of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: If weights and configuration do not fit together.
    """
    config = snapshot.config
    if not isinstance(config, ClassifierConfig):
        raise CheckpointError(f"got a checkpoint of {type(config).__name__}: expected a classifier")
    names = [
        name.removeprefix("backbone.") for name in snapshot.weights if name.startswith("backbone.")
    ]
    model = PairClassifier(config, rebuild_backbone(config.backbone or {}, names))
    try:
        model.load_state_dict(dict(snapshot.weights))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights do not fit the classifier's config: {first}") from error
    return model.eval()


def _new_backbone(section: BackboneSection, tokenizer: PairTokenizer) -> Any:
    from transformers import AutoModel, BertConfig  # takes seconds to import

    layout = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=section.dim,
        num_hidden_layers=section.layers,
        num_attention_heads=section.heads,
        intermediate_size=4 * section.dim,
        max_position_embeddings=section.max_tokens,
        type_vocab_size=2,
        hidden_dropout_prob=section.dropout,
        attention_probs_dropout_prob=section.dropout,
        pad_token_id=tokenizer.pad_id,
    )
    return AutoModel.from_config(layout, add_pooling_layer=False)


def _require_room(section: BackboneSection, backbone: Any, vocab_size: int) -> None:
    room, tokens = most_tokens(backbone), backbone.config.vocab_size
    if room is not None and room < section.max_tokens:
        raise CheckpointError(
            f"the backbone {section.backbone} has {room} positions: expected at least "
            f"encoder.max_tokens {section.max_tokens}; lower it"
        )
    if tokens < vocab_size:
        raise CheckpointError(
            f"the backbone {section.backbone} has {tokens} embeddings, its tokenizer {vocab_size} "
            "tokens: expected a folder whose two parts belong together"
        )


def _read_pooler(path: Path) -> dict[str, Tensor]:
    """Read the dense layer of a backbone's own pooling, from whichever file has it."""
    found: dict[str, Tensor] = {}
    try:
        for name in sorted(path.glob("*.safetensors")):
            with safe_open(name, "pt") as file:
                for key in file.keys():  # noqa: SIM118 - it is no mapping
                    before, matched, part = key.rpartition(_POOLER)
                    if matched and (not before or before.endswith(".")):
                        found[part] = file.get_tensor(key).float()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the backbone {path}: {error}") from error
    return found if set(found) == {"weight", "bias"} else {}
