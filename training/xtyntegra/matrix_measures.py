"""From the outcomes of a run's queries to figures of sentences, which are then averaged and drawn.

A figure is a ratio of two sums over sentences: of what counts and of what it is counted of. All
languages have the same sentences, so a sentence is what is drawn anew, in all languages at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of one run, sentence by sentence.

    Attributes:
        counts: Sum over languages of what counts, shape (sentences,).
        out_of: Of what it is counted, shape (sentences,).
        complement: Whether the figure is 1 less the ratio.
    """

    counts: Floats
    out_of: Floats
    complement: bool = False


def figures_of(
    outcomes: Arrays, languages: Sequence[str], between: Sequence[str], group: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    """Yield the measures of a run over a group of languages, by name.

    ``clean`` and ``attack:*`` are accuracies at 1 to English (under attack with the worst of the
    draws), ``mrr`` the mean reciprocal rank. ``attacked`` is the mean of all attacks and ``before``
    the clean accuracy on the same sentences; ``success`` is the share of queries right before that
    an attack turns wrong (of those that it changes), ``drop`` the relative drop under attack.
    ``white:*`` are accuracies under white-box attack (``white:0`` without noise), ``between`` is
    the accuracy among low-resource languages, ``pooled:*`` are as in ``matrix_score``.
    """
    rows = [languages.index(lang) for lang in group if lang in languages]
    clean = np.asarray(outcomes["clean"], np.int64)[rows]  # (languages, sentences)
    yield "clean", _share(clean == 1)
    yield "mrr", _share(np.reciprocal(clean.astype(np.float64)))
    yield from _attacks(outcomes, rows, clean)
    for name, values in outcomes.items():
        if name.startswith(("white:", "pooled:")):
            yield name, _share(np.asarray(values)[rows])
    noised = max((np.shape(v)[1] for n, v in outcomes.items() if n.startswith("white:")), default=0)
    if noised:
        yield "white:0", _share(clean[:, :noised] == 1)
    known = [lang for lang in between if lang in languages]
    asked = [known.index(lang) for lang in group if lang in known]
    if asked and len(known) > 1:
        hits = np.asarray(outcomes["between"], bool)[asked]  # (queries, documents, sentences)
        # The diagonal holds 1 and is no pair.
        right = hits.sum(axis=(0, 1)) - float(len(asked))
        yield "between", Figure(right, np.full(right.shape, len(asked) * (len(known) - 1.0)))


def _attacks(
    outcomes: Arrays, rows: Sequence[int], clean: NDArray[np.generic]
) -> Iterator[tuple[str, Figure]]:
    held, won, lost, before = [], [], [], []
    for name, values in outcomes.items():
        if not name.startswith("attack:"):
            continue
        holds = (np.asarray(values)[rows] == 1).all(axis=2)  # (languages, sentences)
        right = clean[:, : holds.shape[1]] == 1
        changed = np.asarray(outcomes[name.replace("attack", "applicable")], bool)[rows]
        exposed = right & changed.any(axis=2)
        yield name, _share(holds)
        yield f"success:{name.partition(':')[2]}", _ratio(exposed & ~holds, exposed)
        held.append(holds)
        won.append(exposed & ~holds)
        lost.append(exposed)
        before.append(right)
    if held:
        yield "before", _share(before[0])
        yield "attacked", _share(np.concatenate(held))
        yield "success", _ratio(np.concatenate(won), np.concatenate(lost))
        yield "drop", _ratio(np.concatenate(held), np.concatenate(before), complement=True)


def _share(values: NDArray[np.generic]) -> Figure:
    """Average over all languages and sentences."""
    found = np.asarray(values, np.float64)
    return Figure(found.sum(axis=0), np.full(found.shape[1], float(len(found))))


def _ratio(
    counts: NDArray[np.generic], out_of: NDArray[np.generic], *, complement: bool = False
) -> Figure:
    top, bottom = np.asarray(counts, np.float64), np.asarray(out_of, np.float64)
    return Figure(top.sum(axis=0), bottom.sum(axis=0), complement)
