"""What every run of the matrix is measured on: sentences, clean and attacked, as token ids.

All runs share one vocabulary, so texts are perturbed and tokenized once. The perturbed texts are
kept in files whose names hold the hash of what they were made from, and their own hash stands in
the results: the same texts for every model.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from app.text.normalize import normalize
from app.text.perturbations.context import Context
from app.text.perturbations.edits import Edit, apply_edits, fits
from app.text.perturbations.passage import Passage
from app.text.perturbations.registry import family_of, proposals
from training.corpus import CorpusError
from training.model import Encoder
from training.tokens import TokenTable, tokenize_texts
from training.xtyntegra.matrix_plan import Scoring

ENGLISH = "eng_Latn"
Floats = NDArray[np.float32]
Texts = Mapping[str, Sequence[Sequence[str | None]]]
"""Language -> sentence -> text of each draw, None where the family changes nothing."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """One family at one budget, in all languages.

    Attributes:
        tokens: Of all attacked queries, language by language, sentence by sentence, draw by draw.
        applicable: Whether the family changed the query, shape (languages, sentences, draws).
        sha256: Of the texts.
    """

    tokens: TokenTable
    applicable: NDArray[np.bool_]
    sha256: str


@dataclass(frozen=True, slots=True)
class Exam:
    """Sentences of FLORES-200 dev as token ids.

    Attributes:
        scoring: What is measured.
        languages: Of the queries, in the order of ``clean``.
        clean: Every sentence in every language, shape of its vectors (languages * sentences, dim).
        english: Every sentence in English.
        attacked: Condition, such as ``typo@3`` -> queries.
        sentences: How many there are in a language.
    """

    scoring: Scoring
    languages: tuple[str, ...]
    clean: TokenTable
    english: TokenTable
    attacked: Mapping[str, Attacked]
    sentences: int


def make_exam(
    scoring: Scoring,
    tokenizer: Tokenizer,
    pad_id: int,
    data: Path,
    kept: Path,
) -> Exam:
    """Read, perturb (or read perturbed) and tokenize.

    Args:
        scoring: What to measure.
        tokenizer: That of all runs.
        pad_id: Its padding.
        data: The data folder.
        kept: Folder of the perturbed texts.

    Raises:
        CorpusError: If FLORES-200 dev is missing or lacks a language.
    """
    chosen = scoring.languages
    texts = read_flores(data, [*chosen, ENGLISH])

    def tokens(listed: Sequence[str]) -> TokenTable:
        return tokenize_texts(tokenizer, map(normalize, listed), pad_id)

    attacked = {}
    for family, budgets in scoring.attacks.items():
        for edits in budgets:
            found = perturbed(texts, chosen, family, edits, scoring, kept)
            flat = [
                texts[lang][row] if text is None else text
                for lang in chosen
                for row, drawn in enumerate(found[lang])
                for text in drawn
            ]
            changed = [[[t is not None for t in drawn] for drawn in found[lang]] for lang in chosen]
            attacked[f"{family}@{edits}"] = Attacked(
                tokens(flat), np.array(changed, bool), _digest({k: found[k] for k in chosen})
            )
    clean = tokens([text for lang in chosen for text in texts[lang]])
    english = tokens(texts[ENGLISH])
    return Exam(scoring, chosen, clean, english, attacked, len(texts[ENGLISH]))


def read_flores(data: Path, languages: Sequence[str]) -> dict[str, list[str]]:
    """Read the sentences of some languages, n-way parallel.

    Raises:
        CorpusError: If the file is missing or lacks a language.
    """
    path = data / "eval" / "flores200-dev.parquet"
    try:
        if missing := sorted(set(languages) - set(pq.read_schema(path).names)):
            raise CorpusError(f"{path} has no column {', '.join(missing)}: correct scoring.groups")
        table = pq.read_table(path, columns=list(languages))
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error
    return {lang: table[lang].to_pylist() for lang in languages}


def perturbed(
    texts: Mapping[str, Sequence[str]],
    languages: Sequence[str],
    family: str,
    edits: int,
    scoring: Scoring,
    kept: Path,
) -> Texts:
    """Perturb the first sentences of each language, or read what was perturbed before."""
    found: dict[str, list[list[str | None]]] = {}
    for lang in languages:
        chosen = list(texts[lang][: scoring.attack_sentences])
        name = _digest([chosen, lang, family, edits, scoring.draws, scoring.seed])[:16]
        path = kept / f"{family}-{edits}-{lang}-{name}.json"
        if not path.exists():
            kept.mkdir(parents=True, exist_ok=True)
            made = [_draws(text, lang, family, edits, scoring) for text in chosen]
            writing = path.with_suffix(".writing")
            writing.write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
            writing.replace(path)
        found[lang] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _draws(text: str, lang: str, family: str, edits: int, scoring: Scoring) -> list[str | None]:
    """Apply that many edits drawn at random from all that a family proposes, once for each draw.

    The proposals are listed once for all draws, since that is what takes the time.
    """
    listed = proposals(family_of(family), Passage.of(text), scoring.seed, Context(lang=lang))
    drawn: list[str | None] = []
    for draw in range(scoring.draws):
        rng = np.random.default_rng([scoring.seed, draw, zlib.crc32(text.encode("utf-8"))])
        chosen: list[Edit] = []
        for place in rng.permutation(len(listed)).tolist():
            if len(chosen) == edits:
                break
            if fits(listed[place].edit, chosen):
                chosen.append(listed[place].edit)
        drawn.append(apply_edits(text, chosen) if chosen else None)
    return drawn


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@torch.inference_mode()
def encode_tokens(
    encoder: Encoder, table: TokenTable, rows: NDArray[np.intp] | None = None, batch: int = 512
) -> Floats:
    """Encode texts that are token ids already.

    Args:
        encoder: In evaluation mode.
        table: Of the texts.
        rows: Which of them; None: all.
        batch: Texts of a forward pass.

    Returns:
        Unit rows, shape (rows, dim).
    """
    rows = np.arange(len(table.lengths)) if rows is None else rows
    lengths = np.minimum(table.lengths[rows], table.room(encoder.config.max_tokens))
    order = np.argsort(lengths, kind="stable")  # little padding within a batch
    vectors = np.zeros((len(rows), encoder.config.dim), np.float32)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        ids, mask = table.gather(table.offsets[rows[part]], lengths[part])
        vectors[part] = encoder(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy()
    return vectors
