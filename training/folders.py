"""Folders of pretrained encoders, as transformers and sentence-transformers save them.

What is read here is the description alone: which tokenizer, which pooling, which prompts. Nothing
in a folder is run or unpickled, and what cannot be followed to the letter is refused by name.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer, normalizers

from training.checkpoint import CheckpointError
from training.tokens import Role

Pooling = Literal["mean", "cls", "last"]
TOKENIZER = "tokenizer.json"
ROLES = ("pad", "unk", "cls", "sep", "bos", "eos", "mask")
_POOLINGS: dict[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
# Names of prompts in the order in which sentence-transformers looks for them.
_PROMPTS: dict[Role, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder says of its encoder.

    Attributes:
        path: Of configuration, weights and tokenizer.
        pooling: As a sentence-transformers folder states it; None: a plain transformer.
        prompts: What is put before queries and documents.
        max_tokens: Where the folder itself cuts texts; None: it does not say.
        lowercase: Whether texts are lower-cased before they are tokenized.
    """

    path: Path
    pooling: Pooling | None = None
    prompts: Mapping[Role, str] = field(default_factory=dict)
    max_tokens: int | None = None
    lowercase: bool = False


def open_folder(path: Path) -> Folder:
    """Read the description of a pretrained encoder.

    Args:
        path: A folder with ``config.json`` (transformers) or ``modules.json``
            (sentence-transformers).

    Raises:
        CheckpointError: If it is neither, or has a part that is not supported.
    """
    if not path.is_dir():
        raise CheckpointError(
            f"no backbone at {path}: expected a folder that was downloaded before (nothing is "
            "fetched)"
        )
    if (path / "modules.json").is_file():
        return _open_sentence_transformer(path)
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"{path} holds neither config.json nor modules.json: expected a folder that "
            "transformers or sentence-transformers saved"
        )
    return Folder(path)


def read_tokenizer(folder: Folder) -> Tokenizer:
    """Read a folder's tokenizer, without the padding and truncation that were saved with it.

    Raises:
        CheckpointError: If there is none that can be read.
    """
    path = folder.path / TOKENIZER
    if not path.is_file():
        slow = [name for name in _slow_files(folder.path) if (folder.path / name).is_file()]
        got = f"only {', '.join(slow)}" if slow else "no tokenizer"
        raise CheckpointError(
            f"{folder.path} holds {got}: expected {TOKENIZER}. If transformers has a fast "
            "tokenizer for this model, write it with AutoTokenizer.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER); else learn a vocabulary on a new encoder (leave "
            "encoder.backbone out)"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the engine raises bare Exception for any broken file
        raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if folder.lowercase:
        first = normalizers.Lowercase()
        rest = tokenizer.normalizer
        tokenizer.normalizer = normalizers.Sequence([first, rest]) if rest else first
    return tokenizer


def special_ids(folder: Folder, tokenizer: Tokenizer) -> dict[str, int]:
    """Find the special tokens of a folder: role ("pad", "unk", "cls", ...) -> id.

    Raises:
        CheckpointError: If no padding token is named, or one that the tokenizer does not have.
    """
    named: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder.path / name).is_file():
            named |= read_json(folder.path / name)
    found: dict[str, int] = {}
    for role in ROLES:
        token = named.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        index = tokenizer.token_to_id(token) if isinstance(token, str) else None
        if index is not None:
            found[role] = index
    if "pad" not in found:
        stated = read_json(folder.path / "config.json").get("pad_token_id")
        if not isinstance(stated, int) or tokenizer.id_to_token(stated) is None:
            raise CheckpointError(
                f"{folder.path} names no padding token that its tokenizer has: expected pad_token "
                "in tokenizer_config.json, or pad_token_id in config.json"
            )
        found["pad"] = stated
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: If the file cannot be read or is none.
    """
    value = _read(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}: expected a JSON object")
    return value


def _open_sentence_transformer(path: Path) -> Folder:
    modules = list(_modules(path))
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise CheckpointError(
            f"{path} is made of {', '.join(kinds) or 'nothing'}: expected Transformer, Pooling and "
            "perhaps Normalize; other parts are not supported"
        )
    body, pooling = modules[0][1], modules[1][1]
    if not (body / "config.json").is_file():
        raise CheckpointError(f"{body} holds no config.json: expected that of a transformer")
    described: dict[str, Any] = {}
    for name in sorted(body.glob("sentence_*_config.json")):
        described |= read_json(name)
    longest = described.get("max_seq_length")
    return Folder(
        path=body,
        pooling=_read_pooling(pooling / "config.json"),
        prompts=_read_prompts(path),
        max_tokens=longest if isinstance(longest, int) else None,
        lowercase=bool(described.get("do_lower_case")),
    )


def _modules(path: Path) -> Iterator[tuple[str, Path]]:
    """List the parts of a sentence-transformers folder in order: kind and folder of each."""
    modules = _read(path / "modules.json")
    try:
        for module in sorted(modules, key=lambda module: module["idx"]):
            yield module["type"].rpartition(".")[2], path / module["path"]
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path / 'modules.json'} is malformed ({error}): expected a list of idx, type and path"
        ) from error


def _read_pooling(path: Path) -> Pooling:
    described = read_json(path)
    modes = described.get("pooling_mode")
    if modes is None:
        modes = [key for key, on in described.items() if key.startswith("pooling_mode_") and on]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise CheckpointError(
            f"{path} asks for {', '.join(map(str, modes)) or 'no pooling'}: expected one of mean, "
            "cls and lasttoken"
        )
    if described.get("include_prompt", True) is False:
        raise CheckpointError(
            f"{path} has include_prompt = false: pooling without the prompt's tokens is not "
            "supported"
        )
    return _POOLINGS[modes[0]]


def _read_prompts(path: Path) -> dict[Role, str]:
    stated = path / "config_sentence_transformers.json"
    if not stated.is_file():
        return {}
    described = read_json(stated)
    prompts = described.get("prompts") or {}
    fallback = prompts.get(described.get("default_prompt_name") or "", "")
    return {
        role: next((prompts[name] for name in names if name in prompts), fallback) or ""
        for role, names in _PROMPTS.items()
    }


def _slow_files(path: Path) -> Sequence[str]:
    return ["vocab.txt", "vocab.json", "merges.txt", *sorted(p.name for p in path.glob("*.model"))]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
