"""The body of a transformer encoder: new, from a folder's safetensors, or as a checkpoint holds it.

Any architecture of the transformers library will do that lets a token see those after it and takes
embeddings in place of ids; both are tried out rather than looked up in a list. No code of a folder
is run and no pickle is read.
"""

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.checkpoint import CheckpointError
from training.config import EncoderSection
from training.weights import require_all, require_plain, require_safetensors

_PROBED = 6  # tokens of the text that an unknown architecture is tried out on


def new_backbone(section: EncoderSection, vocab_size: int, pad_id: int) -> Any:
    """Make a small BERT with random weights, without dropout and segments."""
    from transformers import AutoModel, BertConfig  # takes seconds to import

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
    return AutoModel.from_config(layout, add_pooling_layer=False)


def read_backbone(path: Path, *, causal: bool = False) -> Any:
    """Read a pretrained body, in float32.

    Args:
        path: Folder of ``config.json`` and weights in safetensors.
        causal: Whether a decoder, whose tokens do not see those after them, will do.

    Raises:
        CheckpointError: If it cannot be read, lacks weights, or is of an architecture that is not
            supported.
    """
    require_plain(path)
    require_safetensors(path)
    model_class, layout = _find_class(path)
    try:
        with _quiet():
            backbone, report = model_class.from_pretrained(
                str(path),
                config=layout,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **_without_pooler(model_class),
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"cannot read the backbone {path}: {_first_line(error)}") from error
    require_all(path, backbone, report)
    _require_encoder(backbone, path)
    if not causal and is_causal(backbone):
        raise _unsupported(
            path, backbone.config.model_type, "is a decoder: its tokens do not see those after them"
        )
    # Padding is masked out, so its row needs no exception; in a vocabulary learned later, that id
    # may be a word.
    backbone.get_input_embeddings().padding_idx = None
    return backbone


def rebuild_backbone(layout: Mapping[str, Any], names: Collection[str]) -> Any:
    """Make a body by its configuration, with room for the named weights.

    Raises:
        CheckpointError: If the configuration makes no body.
    """
    from transformers import MODEL_MAPPING, AutoConfig, AutoModel

    fields = dict(layout)
    try:
        config = AutoConfig.for_model(fields.pop("model_type", ""), **fields)
        # BERT-like models come with a pooling layer that our pooling leaves unused.
        pooler = any(name.startswith("pooler.") for name in names)
        options = {} if pooler else _without_pooler(MODEL_MAPPING[type(config)])
        backbone = AutoModel.from_config(config, **options).float()
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"the configuration makes no transformer: {_first_line(error)}"
        ) from error
    backbone.get_input_embeddings().padding_idx = None
    return backbone


def describe_backbone(backbone: Any) -> dict[str, Any]:
    """Give the configuration that ``rebuild_backbone`` takes."""
    layout = backbone.config.to_diff_dict()
    return {key: value for key, value in layout.items() if key not in ("auto_map", "dtype")}


def most_tokens(backbone: Any) -> int | None:
    """Find how many tokens a body has positions for; None if there is no limit.

    RoBERTa and its kin count positions from the padding id on, so two or more of theirs are never
    used.
    """
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - _offset(module)
    stated = getattr(backbone.config, "max_position_embeddings", None)
    return stated if isinstance(stated, int) and stated > 0 else None


def counts_from_padding(backbone: Any) -> bool:
    """Tell whether a body's first position follows from its padding id."""
    return any(
        name.endswith("position_embeddings")
        and isinstance(module, nn.Embedding)
        and _offset(module) > 0
        for name, module in backbone.named_modules()
    )


def _offset(positions: nn.Embedding) -> int:
    return 0 if positions.padding_idx is None else positions.padding_idx + 1


def _find_class(path: Path) -> tuple[Any, Any]:
    from transformers import MODEL_MAPPING, AutoConfig

    try:
        layout = AutoConfig.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read the backbone {path}: {_first_line(error)}") from error
    if getattr(layout, "is_encoder_decoder", False):
        raise _unsupported(path, layout.model_type, "is an encoder with a decoder")
    model_class: Any = MODEL_MAPPING.get(type(layout), None)
    if model_class is None or isinstance(model_class, tuple):
        raise _unsupported(path, layout.model_type, "has no model class of its own")
    if "inputs_embeds" not in inspect.signature(model_class.forward).parameters:
        raise _unsupported(path, layout.model_type, "takes no embeddings in place of token ids")
    return model_class, layout


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from listing weights of heads that are not used; those lacking are told."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _without_pooler(model_class: Any) -> dict[str, bool]:
    takes = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if takes else {}


def is_causal(backbone: Any) -> bool:
    """Tell whether the first token's state is blind to the last token."""
    states = _probe(backbone)
    return torch.equal(states[0][:, 0], states[1][:, 0])


def _require_encoder(backbone: Any, path: Path) -> None:
    """Try out that it takes embeddings and gives states."""
    kind = backbone.config.model_type
    if hasattr(backbone.config, "use_cache"):
        backbone.config.use_cache = False  # of decoders, to write on from; nothing is written here
    try:
        states = _probe(backbone)
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise _unsupported(path, kind, f"does not run on embeddings ({error})") from error
    if states[0].shape[:2] != (1, _PROBED):
        raise _unsupported(path, kind, "does not give one state for each token")


@torch.no_grad()
def _probe(backbone: Any) -> list[Tensor]:
    """Give the states of two texts that differ in their last token alone, (1, seq, dim) each."""
    backbone.eval()
    mask = torch.ones(1, _PROBED, dtype=torch.int64)
    table = backbone.get_input_embeddings().weight
    dice = torch.Generator().manual_seed(0)
    text = table.std() * torch.randn(1, _PROBED, table.shape[1], generator=dice)
    other = text.clone()
    other[:, -1] = -text[:, -1]
    return [
        backbone(inputs_embeds=part, attention_mask=mask).last_hidden_state
        for part in (text, other)
    ]


def _unsupported(path: Path, kind: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"the backbone {path} ({kind}) {why}: expected an encoder such as bert, distilbert, xlm, "
        "xlm-roberta or mpnet"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
