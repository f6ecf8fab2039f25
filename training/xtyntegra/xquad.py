"""XQuAD-R: questions find the sentence that answers them, in 11 languages.

The candidates of a language are all sentences of its paragraphs, by the file's break points; the
right one holds the start of the answer. LAReQA's three settings: the pool of the question's
language (mono), that of another (cross, all ordered pairs), and all languages in one pool of
13,014 sentences, where a question has one right answer in each (pooled).

References:
    Roy et al. 2020, https://arxiv.org/abs/2004.05484.
"""

import gzip
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from training.registry import CorpusError
from training.xtyntegra.task import POOLED, Cell, Pool

NAME = "xquad-r"
FLORES = {
    "ar": "arb_Arab",
    "de": "deu_Latn",
    "el": "ell_Grek",
    "en": "eng_Latn",
    "es": "spa_Latn",
    "hi": "hin_Deva",
    "ru": "rus_Cyrl",
    "th": "tha_Thai",
    "tr": "tur_Latn",
    "vi": "vie_Latn",
    "zh": "zho_Hans",
}
"""The files' codes -> FLORES codes."""


@dataclass(frozen=True)
class _Language:
    """Sentences of one language, and the questions with the row of the sentence that answers."""

    lang: str
    sentences: list[str]
    questions: dict[str, tuple[str, int]]


def load(data: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make the cells of XQuAD-R: mono, cross and pooled.

    Args:
        data: The data folder, which holds ``eval/xquad-r``.
        languages: Cells whose two languages are among these; empty: all. The pool of all
            languages stays whole.

    Raises:
        CorpusError: If a file cannot be read, or the languages' questions differ.
    """
    return cells_of(NAME, data / "eval" / "xquad-r", ".json.gz", languages)


def cells_of(task: str, folder: Path, suffix: str, languages: Collection[str] = ()) -> list[Cell]:
    """Make the cells of XQuAD-R from files of any folder.

    Args:
        task: Name of the task.
        folder: Where the files are, such as ``ar.json``.
        suffix: Of the files: ``.json``, or ``.json.gz``.
        languages: As for ``load``.

    Raises:
        CorpusError: As ``load``.
    """
    read = [_read(folder / f"{code}{suffix}", lang) for code, lang in sorted(FLORES.items())]
    ids = read[0].questions.keys()
    for each in read:
        if each.questions.keys() != ids:
            raise CorpusError(f"{folder}: questions of {each.lang} and {read[0].lang} differ")
    pools = {each.lang: _pool(task, [each]) for each in read}
    chosen = [each for each in read if not languages or each.lang in languages]
    cells = [
        _cell("mono" if one is other else "cross", one, other.lang, pools[other.lang], [other], [0])
        for one in chosen
        for other in chosen
    ]
    sizes = [len(each.sentences) for each in read]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    whole = _pool(task, read)
    return cells + [_cell("pooled", one, POOLED, whole, read, starts) for one in chosen]


def _pool(task: str, read: list[_Language]) -> Pool:
    texts = [text for each in read for text in each.sentences]
    langs = [each.lang for each in read for _ in each.sentences]
    ids = [f"{each.lang}:{row}" for each in read for row in range(len(each.sentences))]
    return Pool(f"{task}:{read[0].lang if len(read) == 1 else POOLED}", texts, langs, ids)


def _cell(
    setting: str,
    asked: _Language,
    document_lang: str,
    pool: Pool,
    answering: list[_Language],
    starts: list[int],
) -> Cell:
    """Make one cell; ``starts`` says where the sentences of each answering language begin."""
    relevant = [
        np.array(
            [
                start + each.questions[name][1]
                for each, start in zip(answering, starts, strict=True)
            ],
            dtype=np.intp,
        )
        for name in asked.questions
    ]
    texts = [text for text, _ in asked.questions.values()]
    task = pool.name.partition(":")[0]
    return Cell(
        task,
        setting,
        asked.lang,
        document_lang,
        texts,
        _ids(task, tuple(asked.questions)),
        pool,
        relevant,
    )


@cache
def _ids(task: str, questions: tuple[str, ...]) -> tuple[str, ...]:
    """Name questions; languages that have them in the same order share the names."""
    return tuple(f"{task}:{name}" for name in questions)


def _read(path: Path, lang: str) -> _Language:
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        articles = json.loads(text)["data"]
        paragraphs = [each for article in articles for each in article["paragraphs"]]
        language = _Language(lang, [], {})
        for paragraph in paragraphs:
            _add(language, paragraph)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"cannot read {path}: {type(error).__name__} {error}; expected XQuAD-R's JSON with "
            "data, paragraphs, context, sentence_breaks and qas"
        ) from error
    return language


def _add(language: _Language, paragraph: dict[str, Any]) -> None:
    """Add a paragraph's sentences and questions.

    Raises:
        ValueError: If the answer of a question starts in no sentence.
    """
    context, breaks = paragraph["context"], paragraph["sentence_breaks"]
    first = len(language.sentences)
    language.sentences.extend(context[begin:end] for begin, end in breaks)
    for question in paragraph["qas"]:
        start = question["answers"][0]["answer_start"]
        row = next((i for i, (begin, end) in enumerate(breaks) if begin <= start < end), None)
        if row is None:
            raise ValueError(
                f"question {question['id']}: the answer starts at {start}, in none of "
                f"{len(breaks)} sentences"
            )
        language.questions[question["id"]] = (question["question"], first + row)
