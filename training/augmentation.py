"""Texts made anew while training: words of other languages or synonyms (RS-DA), and typos.

An augmentation is a function of a text, its language and a generator: the same generator gives the
same text. Which texts are augmented is up to whoever draws the batch. The words come from
dictionaries (``app.text.dictionaries``), the typos from the very family that the probe attacks
with, so that what is trained against is what is measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from numpy.random import Generator

from app.errors import InvalidInputError
from app.text.lexicon import Lexicon
from app.text.perturbations.context import Context
from app.text.perturbations.edits import Edit, apply_edits
from app.text.perturbations.passage import clusters_of, keeps_clusters
from app.text.perturbations.registry import FAMILIES, perturb
from app.text.switching import Switches, word_spans, write_switch
from training.registry import CorpusError

Augment = Callable[[str, str, Generator], str]
"""A text, its language and a generator -> the text augmented; never empty if the text is not."""

Draw = Literal["neighbor", "itself", "language"]
WINDOW = 24
"""Grapheme clusters, at most, that a typo is looked for among."""


def load_lexicon(paths: Sequence[str | Path]) -> Lexicon:
    """Read the dictionaries of a run.

    Raises:
        CorpusError: If one cannot be used; names the file and the line.
    """
    try:
        return Lexicon.load([Path(path) for path in paths])
    except InvalidInputError as error:
        raise CorpusError(error.message) from error


@dataclass(frozen=True, slots=True)
class CodeSwitch:
    """Replace known words by their translations or synonyms.

    Punctuation and spaces stay, and so does a capital at the beginning of a word; how words are
    found, in scripts without spaces too, is told in ``app.text.switching``.

    Attributes:
        lexicon: What can stand for what.
        word_probability: Of each known word to be replaced.
        languages: Switch to these alone (a text's own language for synonyms); None for any.
        draw: ``neighbor``: uniformly among a word's neighbors. ``itself``: uniformly among the
            word and its neighbors, so that it may stay as it is; with a probability of 1 this is
            RS-DA as published. ``language``: a language first, then a word of it (CoSDA-ML), so
            that a language with many synonyms is not drawn more often.
        through: A language that joins others (see ``Lexicon.lookup``), such as ``eng_Latn`` where
            the dictionaries have English on one side of each line; empty for none.

    Raises:
        ValueError: If the probability is none, or the lexicon has no word of a language wanted.

    References:
        Huang et al. 2021, https://arxiv.org/abs/2104.08645 (RS-DA); Qin et al. 2020,
        https://arxiv.org/abs/2006.06402 (CoSDA-ML).
    """

    lexicon: Lexicon
    word_probability: float
    languages: Sequence[str] | None = None
    draw: Draw = "neighbor"
    through: str = ""
    _switches: Switches = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.word_probability <= 1.0:
            raise ValueError(f"word_probability {self.word_probability}: expected 0 to 1")
        wanted = {*(self.languages or ()), *filter(None, [self.through])}
        if missing := sorted(wanted - set(self.lexicon.languages)):
            raise ValueError(
                f"no words of {', '.join(missing)} in the dictionaries, which have "
                f"{', '.join(self.lexicon.languages) or 'none'}"
            )
        languages = None if self.languages is None else frozenset(self.languages)
        object.__setattr__(self, "_switches", Switches(self.lexicon, languages, self.through))

    def __call__(self, text: str, lang: str, rng: Generator) -> str:
        """Return the text with some of its words replaced."""
        occurrences = self._switches.occurrences(text, lang)
        edits: list[Edit] = []
        chances = rng.random(len(occurrences))
        for occurrence, chance in zip(occurrences, chances.tolist(), strict=True):
            word = self._choose(occurrence.neighbors, rng) if chance < self.word_probability else ""
            if word and (edit := write_switch(text, occurrence, word)):
                edits.append(edit)
        return apply_edits(text, edits)

    def _choose(self, neighbors: Sequence[int], rng: Generator) -> str:
        """Draw a word; empty for the word that stands there."""
        if self.draw == "language":
            language = self.lexicon.language
            langs = sorted(set(map(language, neighbors)))
            chosen = langs[rng.integers(len(langs))]
            neighbors = [number for number in neighbors if language(number) == chosen]
        index = int(rng.integers(len(neighbors) + (self.draw == "itself")))
        return self.lexicon.word(neighbors[index])[0] if index < len(neighbors) else ""


@dataclass(frozen=True, slots=True)
class Typos:
    """Slips of the finger, in any script; no grapheme cluster is torn and no word vanishes.

    Attributes:
        edits: In a text, each in another word as far as there are words; fewer where a short text
            has no room for so many.

    Raises:
        ValueError: If that is less than one.

    References:
        Zhuang and Zuccon 2021, https://arxiv.org/abs/2108.12139 (typos in training queries).
    """

    edits: int = 1

    def __post_init__(self) -> None:
        if self.edits < 1:
            raise ValueError(f"edits {self.edits}: expected at least 1")

    def __call__(self, text: str, lang: str, rng: Generator) -> str:
        """Return the text with typos, as on the keyboard that its language is typed with."""
        context = Context(lang=lang)
        # Only the words drawn are searched for slips: a whole text has thousands of them.
        words = [span for span in word_spans(text) if any(map(str.isalpha, text[slice(*span)]))]
        chosen = rng.permutation(len(words))[: self.edits].tolist()
        edits: list[Edit] = []
        for turn, index in enumerate(chosen):
            start, end = _window(text, words[index], rng)
            share = len(range(turn, self.edits, len(chosen)))
            seed = int(rng.integers(1 << 63))
            after, _ = perturb(text[start:end], FAMILIES["typo"], share, seed, context)
            edit = Edit(start, end, text[start:end], after)
            if keeps_clusters(text, edit):
                edits.append(edit)
        return apply_edits(text, edits)


def _window(text: str, span: tuple[int, int], rng: Generator) -> tuple[int, int]:
    """Draw a part of a span that is too long for a word, as a line of Chinese is."""
    start, end = span
    if end - start <= WINDOW:
        return span
    clusters = clusters_of(text[start:end])
    first = int(rng.integers(max(1, len(clusters) - WINDOW + 1)))
    start += len("".join(clusters[:first]))
    return start, start + len("".join(clusters[first : first + WINDOW]))
