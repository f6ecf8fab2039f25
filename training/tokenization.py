"""Build the encoder's tokenizer: a romanizing normalizer and a BPE vocabulary.

Everything ends up inside one Hugging Face ``tokenizer.json`` made of built-in parts only,
so serving needs nothing but the ``tokenizers`` package.
"""

import io
import math
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sentencepiece
from anyascii import anyascii
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from training.corpus import Bitext, texts_by_language

PAD_TOKEN = "[PAD]"
UNK_TOKEN = "[UNK]"
CLS_TOKEN = "[CLS]"
SEP_TOKEN = "[SEP]"
PAD_ID = 0
UNK_ID = 1
MAX_REPEATS = 10  # of a text in the sample that the vocabulary is learned from

_HAN_RANGES = (
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
# anyascii leaves out, or marks with a quotation mark, letters that carry or stand for a vowel:
# alef (a), alef with hamza below (i), ain and hamza (nothing), of Arabic and Hebrew.
_OVERRIDES = dict.fromkeys("\u0627\u0622\u0623\u0671\u0649\u0629\u05d0", "a")
_OVERRIDES |= {"\u0625": "i"} | dict.fromkeys("\u0639\u0621\u05e2", "")
_OVERRIDES |= dict.fromkeys(
    "\u2018\u2019\u02bc\u02bb\u02bd\u02b9\u02c8\u02ca\u02cb`\u00b4\ua78b\ua78c", "'"
)


def is_han(codepoint: int) -> bool:
    """Tell whether a code point is a Chinese character (kept as it is)."""
    return any(first <= codepoint <= last for first, last in _HAN_RANGES)


def _invisible(character: str) -> bool:
    """Tell whether a character is a control, a variation selector or has no meaning."""
    unwanted = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn")
    return unwanted or 0xFE00 <= ord(character) <= 0xFE0F


def _is_mark(character: str) -> bool:
    """Tell whether a character is a combining accent or a Hebrew or Arabic vowel point.

    The precompiled table drops these after a letter of two bytes in any case, so that dropping
    them everywhere makes the outcome independent of what they follow.
    """
    if unicodedata.category(character) != "Mn":
        return False
    return 0x300 <= ord(character) < 0x370 or 0x590 <= ord(character) < 0x700


def romanize_character(character: str) -> str:
    """Return the plain lower-case form of one character.

    Args:
        character: One Unicode character.

    Returns:
        Zero or more characters: letters of alphabets, abugidas and syllabaries as lower-case
        ASCII; Chinese characters unchanged; invisible and bidirectional controls as nothing;
        separators and line controls as one space; emoji as their English names; anything
        without a reading unchanged.
    """
    category = unicodedata.category(character)
    if character in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
        return " "
    if _invisible(character):
        return ""
    if character in _OVERRIDES:
        return _OVERRIDES[character]
    if ord(character) < 128 or is_han(ord(character)):
        return character.lower()
    if _is_mark(character):
        return ""
    folded = unicodedata.normalize("NFKC", character).lower()
    return _transliterate(folded, category)


def _transliterate(folded: str, category: str) -> str:
    """Write a folded character of the given Unicode category with anyascii's tables."""
    plain = anyascii(folded).lower().strip()
    if category[0] in "LMN":
        kept = "".join(c for c in plain if c.isalnum())
        return kept if kept or category[0] == "M" or plain else folded
    if category == "So" and plain.startswith(":"):
        return f" {plain.strip(':').replace('_', ' ')} "
    return plain if plain else folded


@lru_cache(maxsize=1)
def romanization_rules() -> Mapping[str, str]:
    """Return every character of Unicode that `romanize_character` changes, with its new form."""
    rules: dict[str, str] = {}
    for codepoint in range(1, 0x110000):
        character = chr(codepoint)
        category = unicodedata.category(character)
        composed = unicodedata.normalize("NFKC", character)
        if category in ("Cn", "Co", "Cs") or is_han(codepoint) or composed != character:
            continue
        plain = romanize_character(character)
        if plain != character:
            rules[character] = plain
    return rules


def compile_charsmap(rules: Mapping[str, str]) -> bytes:
    """Compile replacement rules to sentencepiece's binary form (a double-array trie).

    Raises:
        ValueError: If a rule replaces nothing, or holds the NUL that ends entries in the trie.
    """
    lines: list[str] = []
    for source, target in rules.items():
        if not source or "\0" in source + target:
            raise ValueError(f"got rule {source!r} -> {target!r}: expected a source and no NUL")
        left = " ".join(f"{ord(c):X}" for c in source)
        lines.append(left + "\t" + " ".join(f"{ord(c):X}" for c in target))
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "rules.tsv")
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f"]),
            model_writer=model,
            model_type="char",
            vocab_size=9,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(table),
            minloglevel=2,
        )
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


def build_normalizer(*, romanize: bool) -> normalizers.Normalizer:
    """Build the normalizer: NFKC, then the romanizing table or plain lower-casing."""
    if not romanize:
        return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    charsmap = compile_charsmap(romanization_rules())
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Precompiled(charsmap)])


def build_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Split at white space, and around each mark, run of digits and run of Chinese characters.

    Question marks are dropped: a query has one and the documents that answer it have none, so a
    bag of tokens would match questions to questions. Every piece starts with the mark of a word,
    so that a word after a bracket or a quotation mark is the same token as one after a space.
    """
    mark = r"\p{P}$+<=>^`|~"
    pieces = Regex(rf"\p{{N}}+|\p{{Han}}+|(?!\?)[{mark}]|[^\s\p{{N}}\p{{Han}}{mark}]+")
    return pre_tokenizers.Sequence(
        [
            # Inverted: what matches is kept, a piece each, and what lies between is removed.
            pre_tokenizers.Split(pieces, "removed", invert=True),
            pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=False),
        ]
    )


def build_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    romanize: bool,
    limit_alphabet: int = 5000,
    max_token_length: int = 16,
    special_tokens: Sequence[str] = (PAD_TOKEN, UNK_TOKEN),
) -> Tokenizer:
    """Train a BPE tokenizer.

    Args:
        texts: Training texts, already balanced over languages (see `sample_texts`).
        vocab_size: Number of tokens, special ones included.
        romanize: Map every script but Chinese to plain lower-case Latin letters.
        limit_alphabet: Number of single characters kept; rarer ones become `UNK_TOKEN`.
        max_token_length: Longest token, in characters.
        special_tokens: Those with the first ids, in order; `CLS_TOKEN` and `SEP_TOKEN` among them
            are put before and after each text.

    Returns:
        A tokenizer without truncation and padding.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNK_TOKEN, fuse_unk=True))
    tokenizer.normalizer = build_normalizer(romanize=romanize)
    tokenizer.pre_tokenizer = build_pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(special_tokens),
        limit_alphabet=limit_alphabet,
        max_token_length=max_token_length,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    around = [token for token in (CLS_TOKEN, SEP_TOKEN) if token in special_tokens]
    if around:
        template = [part for part in (CLS_TOKEN, "$A", SEP_TOKEN) if part in (*around, "$A")]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template,
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in around],
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def sample_texts(
    bitext: Bitext, characters: int, *, exponent: float = 0.4, seed: int = 0
) -> list[str]:
    """Draw texts so that a language's share grows with its size to a power below one.

    Args:
        bitext: What to draw from.
        characters: Wanted size of the sample.
        exponent: 0 gives every language one share, 1 gives shares by size.
        seed: Seed of the draw.

    Returns:
        Texts in a random order; those of small languages repeat up to ten times.
    """
    rng = np.random.default_rng(seed)
    lengths = (
        pc.call_function("utf8_length", [bitext.texts]).to_numpy().astype(np.int64)
    )  # (texts,)
    pools = {lang: pool for lang, pool in texts_by_language(bitext).items() if len(pool)}
    powers = {lang: float(lengths[pool].sum()) ** exponent for lang, pool in pools.items()}
    chosen = []
    for lang, pool in sorted(pools.items()):
        wanted = characters * powers[lang] / sum(powers.values())
        repeats = min(MAX_REPEATS, math.ceil(wanted / lengths[pool].sum()))
        drawn = np.concatenate([rng.permutation(pool) for _ in range(repeats)])
        before = np.cumsum(lengths[drawn]) - lengths[drawn]
        chosen.append(drawn[before < wanted])
    order = rng.permutation(np.concatenate(chosen))
    return bitext.texts.take(pa.array(order)).to_pylist()
