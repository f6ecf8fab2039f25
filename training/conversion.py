"""Tokenizers of folders without ``tokenizer.json``: put together in memory from the older files.

transformers knows for most of its models how a vocabulary file becomes a tokenizer of the
``tokenizers`` library. What it cannot convert (XLM's, whose first step is a program, Moses) is
refused: a near copy would give other token ids than the body was trained on, without a word.
"""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from training.checkpoint import CheckpointError
from training.modules import read_json

_WORD_END = "</w>"
_SLOW = ("vocab.txt", "vocab.json", "merges.txt")


def convert_tokenizer(path: Path) -> Tokenizer:
    """Make the tokenizer of a folder that has vocabulary files alone.

    Args:
        path: Of ``config.json`` and the vocabulary; nothing is written there.

    Raises:
        CheckpointError: If there are no such files, or no known way from them to a tokenizer.
    """
    slow = _slow_files(path)
    if not slow:
        raise CheckpointError(
            f"{path} holds no tokenizer: expected tokenizer.json, or the vocabulary files that its "
            "library saved"
        )
    from transformers import AutoTokenizer  # takes seconds to import

    try:
        found = AutoTokenizer.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
        engine = getattr(found, "backend_tokenizer", None)
        if isinstance(engine, Tokenizer):
            return Tokenizer.from_str(engine.to_str())
        why = f"{type(found).__name__} of transformers is a program of its own"
    except ImportError as error:
        why = f"transformers' own needs packages that are not here ({_first_line(error)})"
    except Exception as error:  # each converter fails in its own way on files that do not fit
        why = _first_line(error)
    raise CheckpointError(
        f"{path} holds only {', '.join(slow)}, which cannot be converted: {why}. Expected "
        "tokenizer.json: take a model that has one; to train, learn a vocabulary (tokenizer.source "
        "= 'learn') on XLM's body, or on a new encoder (leave encoder.backbone out)"
    )


def nearby_tokenizer(path: Path) -> Tokenizer | None:
    """Make a tokenizer that splits words as XLM's does, but finds words in a simpler way.

    Good enough to tell what old pieces a new word is made of, not to run the old model: of
    FLORES-200's sentences it finds the words of XLM's own in half (figures: export/README.md).

    Args:
        path: Of ``config.json``, ``vocab.json`` and ``merges.txt``.

    Returns:
        The tokenizer; None if the folder is not of XLM, or has a ``tokenizer.json``.

    Raises:
        CheckpointError: If the files make no vocabulary.
    """
    files = (path / "vocab.json", path / "merges.txt")
    if (path / "tokenizer.json").is_file() or not all(file.is_file() for file in files):
        return None
    if read_json(path / "config.json").get("model_type") != "xlm":
        return None
    vocabulary = read_json(files[0])
    try:
        lines = files[1].read_text(encoding="utf-8").splitlines()
        # A third column counts how often a pair was seen.
        pairs = [(left, right) for left, right, *_ in map(str.split, lines)]
        known = [pair for pair in pairs if {*pair, "".join(pair)} <= vocabulary.keys()]
        model = models.BPE(vocabulary, known, unk_token="<unk>", end_of_word_suffix=_WORD_END)
    except Exception as error:  # the engine raises bare Exception for a broken vocabulary
        raise CheckpointError(f"cannot read the vocabulary of {path}: {error}") from error
    tokenizer = Tokenizer(model)
    stated = path / "tokenizer_config.json"
    cased = stated.is_file() and read_json(stated).get("do_lowercase_and_remove_accent") is False
    lowered = [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    tokenizer.normalizer = normalizers.NFC() if cased else normalizers.Sequence(lowered)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def require_known_tokenizer(path: Path) -> None:
    """Check that a folder's tokenizer is not a program that it brings along.

    Raises:
        CheckpointError: If it is.
    """
    stated = path / "tokenizer_config.json"
    code = read_json(stated).get("auto_map") if stated.is_file() else None
    if code:
        raise CheckpointError(
            f"{stated} names code of the folder's own (auto_map: {code}): expected a tokenizer of "
            "the library itself; no code of a folder is run"
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _slow_files(path: Path) -> Sequence[str]:
    named = [name for name in _SLOW if (path / name).is_file()]
    return [*named, *sorted(found.name for found in path.glob("*.model"))]
