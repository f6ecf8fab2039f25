"""Static encoders of sentence-transformers (``StaticEmbedding``, model2vec's too): tables.

A text's vector is the mean of its tokens' rows, without special tokens, as in our own static kind.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from app.errors import ArtifactError
from export.pretrained import Pretrained, require_cuts, require_rows
from training.checkpoint import CheckpointError, EncoderConfig
from training.folders import TOKENIZER, read_prompts
from training.matryoshka import read_matryoshka
from training.model import StaticEncoder
from training.modules import MODULES, Part, read_parts

KIND = "StaticEmbedding"
_WEIGHTS = "model.safetensors"
_PADDING = ("[PAD]", "<pad>")


def is_static(path: Path) -> bool:
    """Tell whether a folder is a static encoder of sentence-transformers.

    Raises:
        CheckpointError: If its list of parts cannot be used.
    """
    return (path / MODULES).is_file() and KIND in [part.kind for part in read_parts(path)]


def load_static(path: Path, max_tokens: int | None) -> Pretrained:
    """Load a static encoder.

    Args:
        path: The folder.
        max_tokens: Where to cut texts; None: where the folder does.

    Raises:
        ArtifactError: If the choice does not fit the folder, or its parts do not fit together.
        CheckpointError: If the folder cannot be read, or has a part that is not supported.
    """
    parts = read_parts(path)
    kinds = [part.kind for part in parts]
    if kinds not in ([KIND], [KIND, "Normalize"]):
        raise CheckpointError(
            f"{path} is made of {', '.join(kinds)}: expected {KIND} and perhaps Normalize; other "
            "parts are not supported"
        )
    tokenizer = _read_tokenizer(parts[0])
    cut = tokenizer.truncation["max_length"] if tokenizer.truncation else None
    longest = max_tokens or cut
    if longest is None:
        raise ArtifactError(
            f"{path}: got a static model, which reads texts of any length; expected a choice where "
            "to cut: --max-tokens 512, say."
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = None  # the library encodes without special tokens
    table = _read_table(parts[0].path / _WEIGHTS)
    require_rows(path, tokenizer, len(table))
    padding = [tokenizer.token_to_id(name) for name in _PADDING]
    matryoshka = read_matryoshka(path, None)
    require_cuts(path, matryoshka, table.shape[1])
    config = EncoderConfig(
        kind="static",
        dim=table.shape[1],
        vocab_size=len(table),
        max_tokens=longest,
        # Any id will do where there is no such token: padding is masked out.
        pad_id=next((index for index in padding if index is not None), 0),
        prompts={"query": "", "document": "", **read_prompts(path)},
    )
    encoder = StaticEncoder(config)
    encoder.load_state_dict({"embeddings.weight": table})
    cuts = tuple(dim for dim in matryoshka if dim < config.dim)
    return Pretrained(encoder.eval(), tokenizer.to_str(), cuts)


def _read_tokenizer(part: Part) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(part.path / TOKENIZER))
    except Exception as error:  # the engine raises bare Exception for any broken file
        raise CheckpointError(
            f"cannot read the tokenizer {part.path / TOKENIZER}: {error}"
        ) from error


def _read_table(path: Path) -> Tensor:
    """Read one row for each token id, in float32, shape (vocab, dim).

    model2vec shares rows among tokens (``mapping``) and weighs tokens (``weights``).
    """
    if not path.is_file() and path.with_name("pytorch_model.bin").is_file():
        raise CheckpointError(
            f"{path.parent} holds its weights in pytorch_model.bin, a pickle, which can run code: "
            f"expected {_WEIGHTS}. If you trust it, load the model with sentence-transformers and "
            "save it again"
        )
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}") from error
    table = found.get("embedding.weight", found.get("embeddings"))
    if table is None or table.ndim != 2:
        raise CheckpointError(
            f"{path} holds {', '.join(sorted(found)) or 'nothing'}: expected a table "
            "embedding.weight or embeddings"
        )
    try:
        table = table[found["mapping"].long()] if "mapping" in found else table
        table = table.float()
        table = table * found["weights"].float()[:, None] if "weights" in found else table
    except (IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path} has parts that do not fit together: {error}") from error
    if not torch.isfinite(table).all():
        raise CheckpointError(f"{path} has weights that are not finite: expected numbers")
    return table.contiguous()
