"""Measure one encoder of the matrix on the exam: outcomes of every query, and figures from them.

What is kept of a run are its queries' outcomes as small arrays, so that all comparisons can be
drawn anew later (paired, over sentences and seeds) without the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.retrieval.metrics import ranks_of
from training.model import Encoder
from training.xtyntegra.matrix_exam import ENGLISH, Exam, Floats, encode_tokens
from training.xtyntegra.matrix_white import attack_tokens, mean_norm

Outcomes = Mapping[str, NDArray[np.generic]]
"""Name -> array. ``clean``: ranks (languages, sentences). ``attack:NAME@EDITS``: ranks of
each draw (languages, sentences, draws). ``white:EPSILON``: 1 where a query holds (languages,
sentences). ``between``: 1 where the translation is first (query languages, document languages,
sentences), 1 on the diagonal too. ``pooled:distance``: distance of ranks (languages, sentences);
``pooled:english`` and ``pooled:own``: 1 where the first hit is in English, or of another sentence
in the query's own language. ``pooled:ap``: average precision."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Unit rows of the clean sentences.

    Attributes:
        queries: Shape (languages, sentences, dim).
        english: Shape (sentences, dim).
    """

    queries: Floats
    english: Floats


def score(encoder: Encoder, exam: Exam) -> dict[str, NDArray[np.generic]]:
    """Measure all that the exam asks for; see ``Outcomes``.

    Args:
        encoder: In evaluation mode.
        exam: Made with its vocabulary.
    """
    shape = (len(exam.languages), exam.sentences, -1)
    vectors = Vectors(
        encode_tokens(encoder, exam.clean).reshape(shape), encode_tokens(encoder, exam.english)
    )
    found: dict[str, NDArray[np.generic]] = {
        "clean": np.stack([_ranks(rows, vectors.english) for rows in vectors.queries])
    }
    for name in exam.attacked:
        found[f"attack:{name}"] = _attacked(encoder, exam, name, vectors)
    found |= _white(encoder, exam, vectors)
    found["between"] = _between(exam, vectors)
    return found | _pooled(exam, vectors)


def _ranks(queries: Floats, documents: Floats, goal: NDArray[np.intp] | None = None) -> NDArray:
    return ranks_of(queries, documents, goal).astype(np.uint16)


def _attacked(encoder: Encoder, exam: Exam, name: str, vectors: Vectors) -> NDArray[np.uint16]:
    """Rank the document of each attacked query, (languages, sentences, draws)."""
    shape = exam.attacked[name].applicable.shape
    rows = encode_tokens(encoder, exam.attacked[name].tokens)
    goal = np.repeat(np.arange(shape[1]), shape[2])  # (sentences * draws,)
    found = [_ranks(part, vectors.english, goal) for part in np.split(rows, shape[0])]
    return np.stack(found).reshape(shape)


def _white(encoder: Encoder, exam: Exam, vectors: Vectors) -> dict[str, NDArray[np.generic]]:
    scoring, places = exam.scoring, np.arange(len(exam.languages))
    count = min(scoring.white_box_sentences, exam.sentences)
    rows = (places[:, None] * exam.sentences + np.arange(count)).ravel()
    holds = attack_tokens(
        encoder,
        exam.clean,
        rows,
        np.tile(np.arange(count), len(places)),
        vectors.english,
        epsilons=scoring.epsilons,
        steps=scoring.white_box_steps,
    )
    norm = np.array([mean_norm(encoder, exam.clean, rows)], np.float32)
    shaped = {f"white:{e:g}": held.reshape(len(places), count) for e, held in holds.items()}
    return {**shaped, "token_norm": norm}


def _between(exam: Exam, vectors: Vectors) -> NDArray[np.bool_]:
    """Tell where a sentence in one language finds its translation in another."""
    chosen = [exam.languages.index(lang) for lang in exam.scoring.between if lang in exam.languages]
    found = np.ones((len(chosen), len(chosen), exam.sentences), bool)
    for row, query in enumerate(chosen):
        for column, document in enumerate(chosen):
            if row != column:
                ranks = ranks_of(vectors.queries[query], vectors.queries[document])
                found[row, column] = ranks == 1
    return found


def _pooled(exam: Exam, vectors: Vectors) -> dict[str, NDArray[np.generic]]:
    """Rank the first sentences in all languages together; a query itself does not compete."""
    count = min(exam.scoring.pooled_sentences, exam.sentences)
    langs = [*exam.languages, ENGLISH]
    rows = np.concatenate([vectors.queries[:, :count], vectors.english[None, :count]])
    pool = rows.reshape(len(langs) * count, -1)  # language by language
    sentence = np.tile(np.arange(count), len(langs))
    shape = (len(exam.languages), count)
    distance, precision = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    english, own = np.zeros(shape, bool), np.zeros(shape, bool)
    for place in range(len(exam.languages)):
        scores = rows[place] @ pool.T  # (sentences, pool)
        scores[np.arange(count), place * count + np.arange(count)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]  # without the query itself
        right = sentence[order] == np.arange(count)[:, None]
        ranks = 1 + np.nonzero(right)[1].reshape(count, len(langs) - 1)
        distance[place] = ranks[:, -1] - ranks[:, 0]
        precision[place] = (np.arange(1, len(langs)) / ranks).mean(axis=1)
        first = order[:, 0] // count
        english[place], own[place] = first == len(langs) - 1, first == place
    return {
        "pooled:distance": distance,
        "pooled:ap": precision,
        "pooled:english": english,
        "pooled:own": own,
    }
