"""Rotation: a baseline that trains nothing, for what a trained encoder has to beat.

Vectors of one language are turned onto those of English by the rotation that fits translation pairs
best, with or without shifting the mean of the one onto that of the other. English stays where it
is, so an index of English vectors stays valid. What it trades away: one linear map for each
language, which must be known of every text.

    python -m training.alignment CHECKPOINT_OR_ARTIFACT --languages swh_Latn yor_Latn [--center]

The pairs are drawn from the corpora (never from ``eval/``); the figures are those of FLORES-200 dev
before and after.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import ServiceError
from app.retrieval.store import Encode
from training.checkpoint import CheckpointError
from training.corpus import Bitext, CorpusError, data_folder, load_bitext, select_corpora
from training.distillation import ENGLISH
from training.evaluate import flores_accuracy, mean_of, open_encode

CORPORA = ("nllb-seed", "ntrex128", "bible-nt")
PAIRS = 10_000


@dataclass(frozen=True, slots=True)
class Alignment:
    """A map from the vectors of one language to those of another: (x - from) R + to.

    Attributes:
        rotation: Orthogonal (a reflection at times), shape (dim, dim).
        mean_from: Subtracted first, shape (dim,).
        mean_to: Added last, shape (dim,).
    """

    rotation: NDArray[np.float64]
    mean_from: NDArray[np.float64]
    mean_to: NDArray[np.float64]

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map rows of shape (n, dim) and bring them to unit length."""
        moved = (vectors - self.mean_from) @ self.rotation + self.mean_to
        lengths = np.linalg.norm(moved, axis=1, keepdims=True)
        return (moved / np.maximum(lengths, 1e-12)).astype(np.float32)


def fit(
    vectors: NDArray[np.floating], targets: NDArray[np.floating], *, center: bool = False
) -> Alignment:
    """Find the rotation R of least |X R - Y|^2: U V', where X'Y = U S V'.

    Args:
        vectors: X, shape (pairs, dim).
        targets: Y, row i belongs to row i of X, shape (pairs, dim).
        center: Subtract the mean of each first.

    Raises:
        ValueError: If the shapes differ, or there is no pair.

    References:
        Schoenemann 1966, https://doi.org/10.1007/BF02289451; for embeddings of two languages,
        Xing, Wang, Liu and Lin 2015, https://aclanthology.org/N15-1104.
    """
    if vectors.shape != targets.shape or not len(vectors):
        raise ValueError(
            f"got vectors of shape {vectors.shape} and targets of shape {targets.shape}: expected "
            "the same, and at least one pair"
        )
    x, y = vectors.astype(np.float64), targets.astype(np.float64)  # (pairs, dim) each
    mean_x, mean_y = x.mean(axis=0) * center, y.mean(axis=0) * center
    left, _, right = np.linalg.svd((x - mean_x).T @ (y - mean_y))
    return Alignment(left @ right, mean_x, mean_y)


def aligned(encode: Encode, alignment: Alignment) -> Encode:
    """Wrap an encoder for the texts of one language."""

    def encode_aligned(texts: Sequence[str]) -> NDArray[np.float32]:
        return alignment.apply(encode(texts))

    return encode_aligned


def translation_pairs(
    bitext: Bitext, lang: str, count: int, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Draw distinct pairs of a language with English, as texts of the one and of the other.

    Raises:
        CorpusError: If there is none.
    """
    index = {name: position for position, name in enumerate(bitext.langs)}
    own, english = index.get(lang, -1), index.get(ENGLISH, -1)
    forth = np.flatnonzero((bitext.lang_b == own) & (bitext.lang_a == english))
    back = np.flatnonzero((bitext.lang_a == own) & (bitext.lang_b == english))
    texts = np.concatenate([bitext.text_b[forth], bitext.text_a[back]])
    targets = np.concatenate([bitext.text_a[forth], bitext.text_b[back]])
    pairs = np.unique(np.stack([texts, targets], axis=1), axis=0)  # (pairs, 2)
    if not len(pairs):
        raise CorpusError(
            f"no pairs of {lang} with English in {', '.join(c.name for c in bitext.corpora)}: "
            "choose other --languages or --corpora"
        )
    pairs = np.random.default_rng(seed).permutation(pairs)[:count]
    return bitext.texts.take(pairs[:, 0]).to_pylist(), bitext.texts.take(pairs[:, 1]).to_pylist()


def fit_languages(
    encode: Encode, bitext: Bitext, languages: Sequence[str], *, center: bool, count: int = PAIRS
) -> dict[str, Alignment]:
    """Fit a rotation to English for each language, on ``count`` pairs at most.

    Raises:
        CorpusError: If there are no pairs for one of them.
    """
    found = {}
    for lang in languages:
        texts, targets = translation_pairs(bitext, lang, count)
        found[lang] = fit(encode(texts), encode(targets), center=center)
    return found


def compare(
    encode: Encode, data: Path, alignments: Mapping[str, Alignment]
) -> dict[str, tuple[float, float]]:
    """Measure accuracy at 1 to English on FLORES-200 dev, without and with the rotations.

    Raises:
        CorpusError: If a language is not in it.
    """
    languages = list(alignments)
    turned = {lang: aligned(encode, alignment) for lang, alignment in alignments.items()}
    before = flores_accuracy(encode, data, languages)
    after = flores_accuracy(encode, data, languages, turned)
    return {lang: (before[lang], after[lang]) for lang in languages}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, fit and measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.alignment")
    parser.add_argument("path", type=Path, help="folder of a checkpoint or of an artifact")
    parser.add_argument("--languages", nargs="+", required=True, help="such as swh_Latn")
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), help="to draw pairs from")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each language, at most")
    parser.add_argument("--center", action="store_true", help="also shift the mean")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error(f"got --pairs {options.pairs}: expected at least 1")
    try:
        data, corpora = data_folder(), select_corpora(options.corpora, shippable=False)
        bitext = load_bitext(data, corpora, [ENGLISH, *options.languages])
        with open_encode(options.path) as encode:
            found = fit_languages(
                encode, bitext, options.languages, center=options.center, count=options.pairs
            )
            compared = compare(encode, data, found)
    except (CheckpointError, CorpusError, ServiceError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    lines = ["before  after"]
    lines += [f"{old:.4f}  {new:.4f}  {lang}" for lang, (old, new) in compared.items()]
    means = [mean_of({lang: pair[side] for lang, pair in compared.items()}) for side in (0, 1)]
    lines.append(f"{means[0]:.4f}  {means[1]:.4f}  mean")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
