"""Which part of a text each token stands for, and what a token is written as.

An attack that exchanges tokens has to come out with a text. Exchanging the characters that a token
covers, rather than decoding all tokens, leaves the rest of the text as it is, case and accents that
the tokenizer drops included. Whether the new text has the tokens that were meant only the tokenizer
can tell: read it.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.artifact import Manifest
from app.encoder.excerpt import is_visible
from app.encoder.tokenizer import InputType, Tokenizer
from app.text.normalize import require_text
from app.text.script import script_of

# How vocabularies mark where a word begins, goes on or ends.
_BEGINS = ("\u2581", "\u0120")
_GOES_ON = "##"
_ENDS = "</w>"
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Spelled:
    """A text with its tokens as they are served.

    Attributes:
        text: The text, normalized, without the prompt.
        ids: Token ids, special tokens and prompt included.
        begin: Where its own tokens begin.
        end: Where they end.
        spans: What each of its own tokens covers in ``text``, white space in front left out.
    """

    text: str
    ids: tuple[int, ...]
    begin: int
    end: int
    spans: tuple[tuple[int, int], ...]


class Spelling:
    """An artifact's tokenizer, both ways, for queries or for documents.

    Attributes:
        vocabulary: Ids of the tokens that are written as something visible, in order.
    """

    def __init__(self, tokenizer: Tokenizer, manifest: Manifest, input_type: InputType) -> None:
        self._tokenizer = tokenizer
        self._input_type: InputType = input_type
        self._prompt = getattr(manifest.prompts, input_type)
        engine = tokenizer.engine
        added = engine.get_added_tokens_decoder()
        self._pieces = {
            token: piece
            for piece, token in engine.get_vocab(with_added_tokens=True).items()
            if token not in added
        }
        self._by_bytes = "ByteLevel" in str(engine.decoder)
        self._surfaces = {token: self._written(token) for token in sorted(self._pieces)}
        self.vocabulary = [token for token, surface in self._surfaces.items() if surface]
        self._scripts: dict[str, dict[int, str]] = {}
        for token in self.vocabulary:
            surface = self._surfaces[token]
            self._scripts.setdefault(script_of(surface), {})[token] = surface

    def surface(self, token: int, script: str | None = None) -> str:
        """What a token is written as, without white space; empty if that is not known.

        Args:
            token: Its id.
            script: ISO 15924 code of the script to write it in; None: as the vocabulary has it.
        """
        known = self._surfaces if script is None else self._scripts.get(script, {})
        return known.get(token, "")

    def learn(self, texts: Sequence[str], go_on: Callable[[], None] = lambda: None) -> None:
        """Learn from texts how tokens are written in their scripts, where that is not known yet.

        A tokenizer that romanizes has its vocabulary in Latin letters; in which other letters a
        token may come only texts show, such as the documents of a collection. What comes most
        often counts, the first by code point of equals.

        Args:
            texts: What to learn from.
            go_on: Called now and then; what it raises ends this, and nothing is learned.
        """
        seen: dict[str, dict[int, Counter[str]]] = {}
        for read in self._reads(texts, go_on):
            for token, (left, right) in zip(read.ids[read.begin :], read.spans, strict=False):
                piece = read.text[left:right]
                if self._surfaces.get(token) and piece and not any(map(str.isspace, piece)):
                    by_token = seen.setdefault(script_of(piece), {})
                    by_token.setdefault(token, Counter())[piece] += 1
        for script, by_token in seen.items():
            known = self._scripts.setdefault(script, {})
            for token, pieces in by_token.items():
                most = min(pieces, key=lambda piece, of=pieces: (-of[piece], piece))
                known.setdefault(token, most)

    def _reads(self, texts: Sequence[str], go_on: Callable[[], None]) -> Iterator[Spelled]:
        for start in range(0, len(texts), _AT_ONCE):
            go_on()
            yield from self.read(texts[start : start + _AT_ONCE])

    def sort(self, token: int) -> tuple[bool, bool, bool]:
        """Whether it begins a word, goes one on, or ends one, as the vocabulary marks it.

        Tokens of one sort can stand in one another's place.
        """
        piece = self._pieces.get(token, "")
        return piece.startswith(_BEGINS), piece.startswith(_GOES_ON), piece.endswith(_ENDS)

    def read(self, texts: Sequence[str]) -> list[Spelled]:
        """Tokenize texts as the service does, and find what each token covers.

        Where it cannot be told, because a text was cut or runs into the prompt, fewer tokens count
        as the text's own.

        Raises:
            InvalidInputError: If a text is empty, shows nothing, or holds a lone surrogate.
        """
        served = self._tokenizer.tokenize(texts, self._input_type)
        return [self._spell(text, row.ids) for text, row in zip(texts, served, strict=True)]

    def _spell(self, text: str, ids: list[int]) -> Spelled:
        body = require_text(text)
        whole = require_text(self._prompt + body)
        start = len(whole) - len(body) if whole.endswith(body) else len(whole)
        encoding = self._tokenizer.engine.encode(whole, add_special_tokens=False)
        offsets = [(left - start, right - start) for left, right in encoding.offsets]
        lead = self._tokenizer.leading
        served = ids[lead : lead + len(offsets)]
        alike = map(int.__eq__, served, encoding.ids)
        # What is served of a long text is its beginning, up to where the two part.
        same = next((place for place, is_same in enumerate(alike) if not is_same), len(served))
        own = [place for place in range(same) if offsets[place][1] > 0]
        # A token that covers prompt and text in one is not the text's own; a space may be.
        if own and offsets[own[0]][0] < -1:
            own = own[1:]
        first = lead + own[0] if own else len(ids)
        spans = tuple(self._span(body, offsets, place) for place in own)
        return Spelled(body, tuple(ids), first, first + len(spans), spans)

    @staticmethod
    def _span(body: str, offsets: list[tuple[int, int]], place: int) -> tuple[int, int]:
        left, right = max(0, offsets[place][0]), offsets[place][1]
        following = offsets[place + 1][0] if place + 1 < len(offsets) else len(body)
        # A mark that the tokenizer drops goes with the letter it stands on.
        while right < following and unicodedata.category(body[right]).startswith("M"):
            right += 1
        return right - len(body[left:right].lstrip()), right

    def _written(self, token: int) -> str:
        piece = self._pieces.get(token, "")
        if self._by_bytes:
            piece = self._tokenizer.engine.decode([token])
        for mark in _BEGINS:
            piece = piece.replace(mark, " ")
        piece = piece.removeprefix(_GOES_ON).removesuffix(_ENDS).strip()
        if piece.startswith("<0x") or "\ufffd" in piece or not any(map(is_visible, piece)):
            return ""
        return piece
