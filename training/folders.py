"""Folders of pretrained encoders, as transformers and sentence-transformers save them.

What is read here is the description alone: which tokenizer, which pooling, which prompts. Nothing
in a folder is run or unpickled, and what cannot be followed to the letter is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer, normalizers

from training.checkpoint import CheckpointError
from training.conversion import convert_tokenizer, nearby_tokenizer, require_known_tokenizer
from training.dense import DenseFolder, open_dense
from training.matryoshka import read_matryoshka
from training.modules import MODULES, read_json, read_parts
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
# Special tokens of models whose older folders do not name them.
_ROLES_OF = {
    "xlm": {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "</s>",
        "sep_token": "</s>",
    }
}
_SPELLED_OUT = 100_000  # a longer model_max_length is transformers' way to say that there is none
# What a Transformer's own file may say beside lengths and case, and stay a plain body.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "transformer_task": (None, "feature-extraction"),
    "module_output_name": (None, "token_embeddings"),
    "query_expansion": (None,),
    "query_length": (None,),
    "document_length": (None,),
    "tokenizer_name_or_path": (None,),
}
_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
# Options of loading that decide how a body is computed, not what comes out.
_HARMLESS = {
    "add_pooling_layer",
    "attn_implementation",
    "dtype",
    "torch_dtype",
    "trust_remote_code",
    "use_cache",
    "use_safetensors",
}


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder says of its encoder.

    Attributes:
        path: Of configuration, weights and tokenizer.
        pooling: As a sentence-transformers folder states it; None: a plain transformer.
        prompts: What is put before queries and documents.
        max_tokens: Where the folder itself cuts texts; None: it does not say.
        tokenizer_max: Where its tokenizer cuts texts if nothing else does; None: it does not say.
        lowercase: Whether texts are lower-cased before they are tokenized.
        dense: Layers after pooling, in order.
        matryoshka: Dimensions that its vectors were trained to be cut to, ascending.
    """

    path: Path
    pooling: Pooling | None = None
    prompts: Mapping[Role, str] = field(default_factory=dict)
    max_tokens: int | None = None
    tokenizer_max: int | None = None
    lowercase: bool = False
    dense: tuple[DenseFolder, ...] = ()
    matryoshka: tuple[int, ...] = ()


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
    if (path / MODULES).is_file():
        return _open_sentence_transformer(path)
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"{path} holds neither config.json nor modules.json: expected a folder that "
            "transformers or sentence-transformers saved"
        )
    return Folder(path, tokenizer_max=_tokenizer_max(path), matryoshka=read_matryoshka(path, path))


def read_tokenizer(folder: Folder) -> Tokenizer:
    """Read a folder's tokenizer, without the padding and truncation that were saved with it.

    Raises:
        CheckpointError: If there is none that can be read.
    """
    path = folder.path / TOKENIZER
    require_known_tokenizer(folder.path)
    if path.is_file():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the engine raises bare Exception for any broken file
            raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error
    else:
        tokenizer = convert_tokenizer(folder.path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if folder.lowercase:
        first = normalizers.Lowercase()
        rest = tokenizer.normalizer
        tokenizer.normalizer = normalizers.Sequence([first, rest]) if rest else first
    return tokenizer


def read_pieces(folder: Folder) -> Tokenizer:
    """Read what splits words into the pieces that a body has rows for.

    Its tokenizer, or, for an XLM without ``tokenizer.json``, one that comes near it: enough to put
    another vocabulary in its place.

    Raises:
        CheckpointError: As ``read_tokenizer``.
    """
    return nearby_tokenizer(folder.path) or read_tokenizer(folder)


def special_ids(folder: Folder, tokenizer: Tokenizer) -> dict[str, int]:
    """Find the special tokens of a folder: role ("pad", "unk", "cls", ...) -> id.

    Raises:
        CheckpointError: If no padding token is named, or one that the tokenizer does not have.
    """
    described = read_json(folder.path / "config.json")
    named: dict[str, Any] = dict(_ROLES_OF.get(described.get("model_type", ""), {}))
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
        stated = described.get("pad_token_id")
        if not isinstance(stated, int) or tokenizer.id_to_token(stated) is None:
            raise CheckpointError(
                f"{folder.path} names no padding token that its tokenizer has: expected pad_token "
                "in tokenizer_config.json, or pad_token_id in config.json"
            )
        found["pad"] = stated
    return found


def _open_sentence_transformer(path: Path) -> Folder:
    parts = read_parts(path)
    kinds = [part.kind for part in parts]
    # Unit length is ours at the end anyway; before a dense layer it would change what comes out.
    middle = kinds[2:-1] if kinds[-1:] == ["Normalize"] else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or set(middle) - {"Dense"}:
        raise CheckpointError(
            f"{path} is made of {', '.join(kinds) or 'nothing'}: expected Transformer, Pooling, "
            "any number of Dense and perhaps Normalize, in this order; other parts are not "
            "supported"
        )
    body, pooling = parts[0].path, parts[1].path
    if not (body / "config.json").is_file():
        raise CheckpointError(f"{body} holds no config.json: expected that of a transformer")
    described = _describe_body(body)
    longest = described.get("max_seq_length")
    return Folder(
        path=body,
        pooling=_read_pooling(pooling / "config.json"),
        prompts=read_prompts(path),
        max_tokens=longest if isinstance(longest, int) else None,
        tokenizer_max=_tokenizer_max(body),
        lowercase=bool(described.get("do_lower_case")),
        dense=tuple(open_dense(part.path) for part in parts if part.kind == "Dense"),
        matryoshka=read_matryoshka(path, body),
    )


def _describe_body(body: Path) -> dict[str, Any]:
    """Read what sentence-transformers says of a body, and that it uses it plainly.

    Raises:
        CheckpointError: If it asks for something that is not followed here.
    """
    described: dict[str, Any] = {}
    for name in sorted(body.glob("sentence_*_config.json")):
        described |= read_json(name)
    asked = [key for key, plain in _PLAIN.items() if described.get(key) not in plain]
    texts = (described.get("modality_config") or {}).get("text", _TEXT)
    asked += ["modality_config"] if texts != _TEXT else []
    for key, value in described.items():
        if key.endswith(("_args", "_kwargs")):
            asked += [f"{key}.{option}" for option in set(value or {}) - _HARMLESS]
    if asked:
        raise CheckpointError(
            f"{body} has {', '.join(asked)} in its sentence_..._config.json: expected a body that "
            "reads texts and gives its last states; these options are not supported"
        )
    return described


def _tokenizer_max(body: Path) -> int | None:
    stated = body / "tokenizer_config.json"
    longest = read_json(stated).get("model_max_length") if stated.is_file() else None
    return longest if isinstance(longest, int) and 0 < longest <= _SPELLED_OUT else None


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


def read_prompts(path: Path) -> dict[Role, str]:
    """Read what a sentence-transformers folder puts before queries and documents.

    Raises:
        CheckpointError: If the file that says so cannot be read.
    """
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
