"""Encoders that other libraries saved, as ours: sentence-transformers' and plain transformers.

What is exported has to give the vectors that the original library gives. So whatever our way of
running a body could change is tried out on it: token ids, token types, and embeddings in place of
ids. What differs is refused by name.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from app.errors import ArtifactError
from export.golden import GOLDEN_TEXTS
from training.assembly import pretrained_encoder
from training.backbones import is_causal, most_tokens, read_backbone
from training.folders import Folder, Pooling, open_folder, read_tokenizer, special_ids
from training.model import Encoder

STATES_TOLERANCE = 1e-4
"""By which last states from ids and from embeddings may differ, in units of their largest entry."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """An encoder that another library saved.

    Attributes:
        encoder: In evaluation mode; its configuration says all else.
        tokenizer: Content of ``tokenizer.json``.
        matryoshka: Dimensions that its vectors were trained to be cut to, ascending.
    """

    encoder: Encoder
    tokenizer: str
    matryoshka: tuple[int, ...] = ()


def load_pretrained(path: Path, pooling: Pooling | None, max_tokens: int | None) -> Pretrained:
    """Load a transformer that transformers or sentence-transformers saved.

    Args:
        path: The folder.
        pooling: Of a folder that does not say it; None: as the folder says.
        max_tokens: Where to cut texts; None: where the folder does, or where positions end.

    Raises:
        ArtifactError: If the choices do not fit the folder, or our way of running it would give
            other vectors than its own library.
        CheckpointError: If the folder cannot be read, lacks something or is not supported.
    """
    folder = open_folder(path)
    pooling = _choose_pooling(path, folder, pooling)
    tokenizer = read_tokenizer(folder)
    pad_id = special_ids(folder, tokenizer)["pad"]
    backbone = read_backbone(folder.path, causal=True)
    if pooling == "cls" and is_causal(backbone):
        raise ArtifactError(
            f"{path}: got pooling 'cls' for a decoder, whose first token sees no other; expected "
            "'last': choose it with --pooling last."
        )
    encoder = pretrained_encoder(
        folder,
        backbone,
        pooling=pooling,
        max_tokens=_choose_max_tokens(path, folder, most_tokens(backbone), max_tokens),
        pad_id=pad_id,
    ).eval()
    require_rows(path, tokenizer, encoder.config.vocab_size)
    _require_same_ids(folder, tokenizer)
    _require_same_states(path, backbone, pad_id)
    require_cuts(path, folder.matryoshka, encoder.config.dim)
    cuts = tuple(dim for dim in folder.matryoshka if dim < encoder.config.dim)
    return Pretrained(encoder, tokenizer.to_str(), cuts)


def require_rows(path: Path, tokenizer: Tokenizer, rows: int) -> None:
    """Check that each token id has a row of weights; spare rows, as many models have, do no harm.

    Raises:
        ArtifactError: If one has none.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= rows:
        raise ArtifactError(
            f"{path}: got token ids up to {highest} and weights for {rows} tokens; expected a row "
            "for each id. Tokenizer and weights are of different models: get the folder again."
        )


def require_cuts(path: Path, matryoshka: tuple[int, ...], dim: int) -> None:
    """Check that vectors can be cut to what a folder states.

    Raises:
        ArtifactError: If one is more than they have.
    """
    if matryoshka and matryoshka[-1] > dim:
        raise ArtifactError(
            f"{path}: got matryoshka dimensions up to {matryoshka[-1]} and vectors of {dim}; "
            "expected dimensions to cut to. Correct them in config.json or README.md."
        )


def _choose_pooling(path: Path, folder: Folder, chosen: Pooling | None) -> Pooling:
    found = folder.pooling or chosen
    if found is None:
        raise ArtifactError(
            f"{path}: got a plain transformers model, which does not say how token states become "
            "one vector; expected a choice: --pooling mean, cls or last, as its authors use it."
        )
    if chosen not in (None, found):
        raise ArtifactError(
            f"{path}: got --pooling {chosen} for a model that pools by {found!r}; expected no "
            f"other: leave it out, or name the transformer's own folder {folder.path}."
        )
    return found


def _choose_max_tokens(path: Path, folder: Folder, most: int | None, chosen: int | None) -> int:
    stated = folder.max_tokens if chosen is None else chosen
    if stated is not None and most is not None and stated > most:
        source = "--max-tokens" if chosen is not None else "max_seq_length"
        raise ArtifactError(
            f"{path}: got {source} {stated} for a body with positions for {most} tokens; expected "
            f"at most that: give --max-tokens {most} or less."
        )
    bounds = [bound for bound in (stated or folder.tokenizer_max, most) if bound is not None]
    if not bounds:
        raise ArtifactError(
            f"{path}: got a model that does not say how long a text may be; expected a choice: "
            "--max-tokens, as its authors use it."
        )
    return min(bounds)


def _require_same_ids(folder: Folder, tokenizer: Tokenizer) -> None:
    """Check that transformers makes the same ids of a folder as its ``tokenizer.json`` alone.

    Options beside that file (lower case, an end token) may change what the library does.
    """
    from transformers import AutoTokenizer  # takes seconds to import

    plain = read_tokenizer(dataclasses.replace(folder, lowercase=False))
    for text in GOLDEN_TEXTS:
        if any(tokenizer.encode(text).type_ids):
            raise ArtifactError(
                f"{folder.path}: got a tokenizer that gives single texts token types other than 0; "
                "expected 0 throughout, as for BERT. Such models (XLNet, Funnel) are not supported."
            )
    try:
        library = AutoTokenizer.from_pretrained(
            str(folder.path), local_files_only=True, trust_remote_code=False
        )
    except Exception:  # it may need packages that only it uses; tokenizer.json says it all then
        return
    for text in GOLDEN_TEXTS:
        theirs, ours = library(text)["input_ids"], plain.encode(text).ids
        if theirs != ours:
            raise ArtifactError(
                f"{folder.path}: got token ids {ours[:12]} for {text[:40]!r} by tokenizer.json, "
                f"and {theirs[:12]} by transformers; expected the same. Save the one that the "
                "model was trained with: AutoTokenizer.from_pretrained(FOLDER)"
                ".save_pretrained(FOLDER)."
            )


@torch.no_grad()
def _require_same_states(path: Path, backbone: Any, pad_id: int) -> None:
    """Check that a body computes the same from ids and from their embeddings, padded or not."""
    rows = backbone.get_input_embeddings().num_embeddings
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(0, rows, (2, 7), generator=dice)  # (batch, seq)
    ids[ids == pad_id] = (pad_id + 1) % rows  # padding inside a text is no text
    mask = torch.ones_like(ids)
    ids[1, 4:], mask[1, 4:] = pad_id, 0
    theirs = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    embeddings = backbone.get_input_embeddings()(ids)
    ours = backbone(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
    apart = ((theirs - ours) * mask[..., None]).abs().max()
    if not apart <= STATES_TOLERANCE * theirs.abs().max():
        raise ArtifactError(
            f"{path}: got last states from token embeddings that differ from those from token ids "
            f"by {apart:.1e}; expected the same. {type(backbone).__name__} is not supported."
        )
