"""Pairs of sentences -> token ids, by the backbone's own tokenizer and its template for pairs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer, processors

from training.checkpoint import CheckpointError
from training.classification.config import BackboneSection
from training.folders import open_folder, read_tokenizer, special_ids
from training.passes import Block
from training.tokenization import (
    CLS_TOKEN,
    PAD_ID,
    PAD_TOKEN,
    SEP_TOKEN,
    UNK_TOKEN,
    build_tokenizer,
)


class PairTokenizer:
    """Tokenizes pairs, cuts the longer sentence first, and pads on the right.

    Attributes:
        saved: Text of ``tokenizer.json``.
        pad_id: What short rows are filled with.
        special_ids: What the template puts around sentences, and padding.
        end_id: The token after which the second sentence's type begins, if types tell the two
            sentences apart.
    """

    def __init__(self, tokenizer: Tokenizer, pad_id: int, max_tokens: int) -> None:
        """Take a tokenizer that puts special tokens around a pair.

        Raises:
            CheckpointError: If it puts none, or none in the first place, where the head looks.
        """
        probe = tokenizer.encode("a", "a")
        special = probe.special_tokens_mask
        if len(special) < 2 or not special[0] or not special[-1]:
            raise CheckpointError(
                "the tokenizer puts no special tokens before and after a pair of sentences: "
                "expected a backbone whose tokenizer.json has a template for pairs, such as BERT's"
            )
        self.saved = tokenizer.to_str()
        self.pad_id = pad_id
        around = {i for i, is_special in zip(probe.ids, special, strict=True) if is_special}
        self.special_ids = sorted({*around, pad_id})
        self.end_id = probe.ids[probe.type_ids.index(1) - 1] if any(probe.type_ids) else None
        self.vocab_size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        self._tokenizer = Tokenizer.from_str(self.saved)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")

    def encode(self, first: Sequence[str], second: Sequence[str]) -> Block:
        """Tokenize pairs of sentences."""
        pairs = list(zip(first, second, strict=True))
        found: list[Encoding] = self._tokenizer.encode_batch(pairs)
        width = max(map(len, found))
        ids = [[*one.ids, *[self.pad_id] * (width - len(one))] for one in found]
        mask = [[1] * len(one) + [0] * (width - len(one)) for one in found]
        return Block(torch.tensor(ids), torch.tensor(mask))


def backbone_tokenizer(section: BackboneSection) -> PairTokenizer:
    """Read the tokenizer of a backbone's folder.

    Raises:
        CheckpointError: If there is none, or none for pairs.
    """
    folder = open_folder(Path(section.backbone))
    tokenizer = read_tokenizer(folder)
    return PairTokenizer(tokenizer, special_ids(folder, tokenizer)["pad"], section.max_tokens)


def learned_tokenizer(section: BackboneSection, texts: Iterable[str]) -> PairTokenizer:
    """Learn a vocabulary for a new transformer, with BERT's template for pairs."""
    special = (PAD_TOKEN, UNK_TOKEN, CLS_TOKEN, SEP_TOKEN)
    tokenizer = build_tokenizer(
        texts, section.vocab_size, romanize=section.romanize, special_tokens=special
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS_TOKEN} $A {SEP_TOKEN}",
        pair=f"{CLS_TOKEN} $A {SEP_TOKEN} $B:1 {SEP_TOKEN}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in special[2:]],
    )
    return PairTokenizer(tokenizer, PAD_ID, section.max_tokens)
