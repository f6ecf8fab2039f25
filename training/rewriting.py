"""Texts of a batch changed on the fly: words of other languages (RS-DA) and typos.

What is changed is the text as the batch has it, so a crop is changed as a crop; then it is
tokenized. Which texts, and how, depends on the generator alone. What it trades away: each changed
text is tokenized anew in each step, in every process.
"""

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from tokenizers import Tokenizer

from app.text.normalize import normalize
from training.augmentation import Augment, CodeSwitch, Typos, load_lexicon
from training.collation import Ints
from training.config import AugmentationSection
from training.corpus import Bitext, CorpusError
from training.spans import Rewritten, Spans
from training.tokens import TokenTable

Texts = Mapping[int, str]
"""Row of a batch -> its text in place of the one drawn."""


class Rewriter:
    """Chooses which texts of a batch are augmented, and tokenizes the outcome."""

    def __init__(
        self,
        bitext: Bitext,
        tokenizer: Tokenizer,
        section: AugmentationSection,
        *,
        switch: Augment | None = None,
        typos: Augment | None = None,
    ) -> None:
        """Take what to augment with.

        Args:
            bitext: Texts and languages.
            tokenizer: That of the token table.
            section: How often.
            switch: Replaces words of queries and documents; None: nothing does.
            typos: Writes typos into queries; None: nothing does.
        """
        self._texts, self._langs = bitext.texts, bitext.langs
        self._tokenizer = tokenizer
        self._switch, self._typos = switch, typos
        self._section = section

    @property
    def self_teaching(self) -> bool:
        """Whether queries stay clean and their noisy versions stand beside them."""
        return self._typos is not None and self._section.self_teaching > 0

    def switched(self, tokens: TokenTable, spans: Spans, rng: Generator) -> Texts:
        """Replace words of some texts, each with ``sentence_probability``."""
        if self._switch is None:
            return {}
        rows = np.flatnonzero(rng.random(len(spans.texts)) < self._section.sentence_probability)
        return self._augmented(self._switch, self._strings(tokens, spans, rows), spans, rng)

    def with_typos(
        self, tokens: TokenTable, spans: Spans, switched: Texts, rng: Generator
    ) -> Texts:
        """Write typos into some texts, each with ``typo_probability``.

        Args:
            tokens: Of all texts.
            spans: The queries.
            switched: Those of them whose words were replaced; these get their typos after that.
            rng: Decides.

        Returns:
            All texts that are not as they were drawn, ``switched`` among them.
        """
        if self._typos is None:
            return switched
        rows = np.flatnonzero(rng.random(len(spans.texts)) < self._section.typo_probability)
        drawn = self._strings(tokens, spans, rows)
        return {
            **switched,
            **self._augmented(
                self._typos, {r: switched.get(r, drawn[r]) for r in drawn}, spans, rng
            ),
        }

    def tokenized(self, texts: Texts, room: int, pad_id: int) -> Rewritten:
        """Tokenize texts, up to ``room`` tokens of each."""
        encodings = self._tokenizer.encode_batch_fast(
            list(texts.values()), add_special_tokens=False
        )
        ids = [encoding.ids[:room] or [pad_id] for encoding in encodings]
        return Rewritten(np.fromiter(texts, np.int64, len(texts)), ids)

    def _augmented(self, augment: Augment, texts: Texts, spans: Spans, rng: Generator) -> Texts:
        """Augment texts; only those that came out changed, and not empty, are returned."""
        found = {}
        for row, text in texts.items():
            new = normalize(augment(text, self._langs[spans.langs[row]], rng))
            if new and new != text:
                found[row] = new
        return found

    def _strings(self, tokens: TokenTable, spans: Spans, rows: Ints) -> dict[int, str]:
        """Return texts as the batch has them: crops are cut out of theirs."""
        texts = self._texts.take(spans.texts[rows]).to_pylist()
        crops = np.flatnonzero(spans.cropped[rows])
        encodings = self._tokenizer.encode_batch(
            [texts[place] for place in crops], add_special_tokens=False
        )
        for place, encoding in zip(crops.tolist(), encodings, strict=True):
            row = rows[place]
            first = spans.starts[row] - tokens.offsets[spans.texts[row]]
            offsets = encoding.offsets[first : first + spans.lengths[row]]
            if offsets:
                texts[place] = texts[place][offsets[0][0] : offsets[-1][1]].strip() or texts[place]
        return dict(zip(rows.tolist(), texts, strict=True))


def make_rewriter(
    section: AugmentationSection, bitext: Bitext, tokenizer: Tokenizer
) -> Rewriter | None:
    """Make the rewriter of a run, or None if it augments nothing.

    Raises:
        CorpusError: If a dictionary cannot be used, none has a language of the corpora, or one that
            is to be switched to is in none.
    """
    switch = None
    if section.sentence_probability:
        lexicon = load_lexicon(section.dictionaries)
        if not set(lexicon.languages) & set(bitext.langs):
            raise CorpusError(
                f"got augmentation.dictionaries of {', '.join(lexicon.languages) or 'no language'}:"
                f" expected a language of the corpora, which have {', '.join(bitext.langs)}"
            )
        wanted = {*section.languages, *filter(None, [section.through])}
        if missing := sorted(wanted - set(lexicon.languages)):
            raise CorpusError(
                f"got {', '.join(missing)} in augmentation.languages or augmentation.through: "
                f"expected languages of the dictionaries, which have {', '.join(lexicon.languages)}"
            )
        switch = CodeSwitch(
            lexicon,
            section.word_probability,
            languages=section.languages or None,
            draw=section.draw,
            through=section.through,
        )
    typos = Typos(section.typo_edits) if section.typo_probability else None
    if switch is None and typos is None:
        return None
    return Rewriter(bitext, tokenizer, section, switch=switch, typos=typos)
