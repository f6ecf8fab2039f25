"""Sentences of the shippable corpora -> the small table that tells languages apart.

A linear model over hashed n-grams of letters (``app.text.languages``), learned from pieces of
sentences as short as queries are, so that its probabilities are honest about short texts. All
languages have the same weight, and within one all corpora that have it.

References:
    Joulin et al. 2017, bags of n-grams in a linear model, https://arxiv.org/abs/1607.01759.
"""

import io
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from app.text.languages import hash_letters
from app.text.script import LANG_PATTERN
from training.data.lexicons import read_pairs
from training.registry import select_corpora

SOURCES = (
    *("nllb-seed", "ntrex128", "bible-nt", "indian-parallel", "nusax", "nusa-writes"),
    *("gnome-user-docs", "python-docs", "scratch-l10n", "wikipedia-app"),
)
"""Word lists are left out: names and borrowed words say little of a language."""
FEWEST_CHARACTERS = 20_000
MOST_SENTENCES = 4_000

_LANG = re.compile(LANG_PATTERN)
_STEADY_WORDS, _MORE_WORDS = 3.0, 5.0
_STEADY_LETTERS, _MORE_LETTERS = 4, 15.0
_SPACED = 3


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the table is learned.

    Attributes:
        buckets: Rows that n-grams are hashed to.
        dim: Numbers of a row.
        epochs: Rounds.
        pieces: Pieces of each language in a round.
        batch: Pieces of a step.
        rate: Step size of Adam at the beginning; it falls to 0 in a line.
        seed: Chooses pieces and first weights.
    """

    buckets: int = 65_536
    dim: int = 16
    epochs: int = 12
    pieces: int = 1_000
    batch: int = 1_024
    rate: float = 0.02
    seed: int = 0


def build_languages(
    data: Path, recipe: Recipe | None = None, say: Callable[[str], None] = lambda _: None
) -> bytes:
    """Learn the table, packed as ``.npz``.

    Args:
        data: Folder of the corpora.
        recipe: How.
        say: Is told each round's mean loss.

    Raises:
        CorpusError: If a corpus cannot be read.
    """
    chosen = recipe or Recipe()
    sentences = _sentences(data, random.Random(chosen.seed))
    languages = sorted(sentences)
    torch.manual_seed(chosen.seed)
    model = Bag(chosen.buckets, chosen.dim, len(languages))
    _learn(model, [sentences[lang] for lang in languages], chosen, say)
    return _packed(model, languages)


class Bag(nn.Module):
    """Sums of rows, over the square root of their number, to languages."""

    def __init__(self, buckets: int, dim: int, languages: int) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(buckets + 1, dim, mode="sum", padding_idx=buckets)
        nn.init.normal_(self.table.weight, std=0.05)
        with torch.no_grad():
            self.table.weight[buckets] = 0.0  # where no n-gram begins; never learned
        self.head = nn.Linear(dim, languages)
        self.buckets = buckets

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts to logits, shape (texts, languages)."""
        found = hash_letters(texts, self.buckets)
        starts = torch.from_numpy(found.starts)
        sums = torch.stack([self.table(torch.from_numpy(rows), starts) for rows in found.rows])
        counts = torch.from_numpy(found.counts).clamp(min=1).float()
        return self.head(sums.sum(dim=0) / counts.sqrt()[:, None])


def _sentences(data: Path, chance: random.Random) -> dict[str, list[str]]:
    """Sentences of each language, the corpora that have it by turns."""
    found: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for corpus in select_corpora(SOURCES, shippable=True):
        for entry in read_pairs(data, corpus):
            found[entry.lang_a][corpus.name][entry.word_a] = None
            found[entry.lang_b][corpus.name][entry.word_b] = None
    kept: dict[str, list[str]] = {}
    for lang in sorted(found):
        characters = sum(len(text) for texts in found[lang].values() for text in texts)
        if _LANG.fullmatch(lang) and characters >= FEWEST_CHARACTERS:
            piles = [chance.sample(list(texts), len(texts)) for texts in found[lang].values()]
            kept[lang] = list(_by_turns(piles))
    return kept


def _by_turns(piles: Sequence[list[str]]) -> Iterator[str]:
    taken = 0
    while any(piles) and taken < MOST_SENTENCES:
        for pile in piles:
            if pile:
                taken += 1
                yield pile.pop()


def _learn(
    model: Bag, sentences: Sequence[Sequence[str]], recipe: Recipe, say: Callable[[str], None]
) -> None:
    chance = random.Random(recipe.seed)
    adam = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    steps = recipe.epochs * -(-len(sentences) * recipe.pieces // recipe.batch)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
    for epoch in range(recipe.epochs):
        pieces = [
            (lang, piece_of(chance.choice(texts), chance))
            for lang, texts in enumerate(sentences)
            for _ in range(recipe.pieces)
        ]
        chance.shuffle(pieces)
        losses: list[float] = []
        for start in range(0, len(pieces), recipe.batch):
            some = pieces[start : start + recipe.batch]
            logits = model([text for _, text in some])  # (batch, languages)
            loss = functional.cross_entropy(logits, torch.tensor([lang for lang, _ in some]))
            adam.zero_grad()
            loss.backward()
            adam.step()
            fall.step()
            losses.append(loss.item())
        say(f"round {epoch + 1} of {recipe.epochs}: loss {np.mean(losses):.3f}")


def piece_of(text: str, chance: random.Random) -> str:
    """Cut a piece as long as a query: some words, or letters where no spaces part words."""
    words = text.split()
    spaced = len(words) > _SPACED
    whole: Sequence[str] = words if spaced else text
    if spaced:
        wanted = 1 + chance.random() * _STEADY_WORDS + chance.expovariate(1 / _MORE_WORDS)
    else:
        wanted = _STEADY_LETTERS + chance.expovariate(1 / _MORE_LETTERS)
    length = min(len(whole), int(wanted))
    start = chance.randrange(len(whole) - length + 1)
    return (" " if spaced else "").join(whole[start : start + length])


def _packed(model: Bag, languages: Sequence[str]) -> bytes:
    rows = model.table.weight.detach().numpy()
    step = float(np.abs(rows).max()) / 127.0
    parts: Mapping[str, np.ndarray] = {
        "table": np.round(rows / step).astype(np.int8),
        "head": (model.head.weight.detach().numpy().T * step).astype(np.float32),
        "bias": model.head.bias.detach().numpy().astype(np.float32),
        "languages": np.array(languages),
    }
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **parts)
    return file.getvalue()
