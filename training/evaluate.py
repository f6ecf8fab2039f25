"""Zero-shot retrieval through ``Encode``: can each language find its English sentence?

The same functions measure a checkpoint and an exported artifact, so their figures can be compared.
FLORES-200 dev (997 sentences, 204 languages beside English) is for tuning; Tatoeba (112 languages)
is only for reporting.

    python -m training.evaluate CHECKPOINT_OR_ARTIFACT [--json FILE]
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from app.errors import ServiceError
from app.retrieval.metrics import accuracy_at_1
from app.retrieval.store import Encode
from training.assembly import encoder_of
from training.checkpoint import MODEL, CheckpointError, load_checkpoint
from training.corpus import CorpusError, data_folder
from training.model import as_encode
from training.selection import FLORES, metric_language

PIVOT = "eng_Latn"
_LOW_RESOURCE = """
    ace_Arab ace_Latn ary_Arab arz_Arab bam_Latn ban_Latn bho_Deva bjn_Arab bjn_Latn bug_Latn
    crh_Latn dik_Latn dzo_Tibt fur_Latn fuv_Latn grn_Latn hne_Deva kas_Arab kas_Deva knc_Arab
    knc_Latn lij_Latn lim_Latn lmo_Latn ltg_Latn mag_Deva mni_Beng mri_Latn nqo_Nkoo nus_Latn
    pbt_Arab prs_Arab scn_Latn shn_Mymr srd_Latn szl_Latn taq_Latn taq_Tfng tzm_Tfng vec_Latn
"""
LOW_RESOURCE = tuple(_LOW_RESOURCE.split())
"""The 40 languages of nllb-seed, as FLORES names them."""


def flores_accuracy(
    encode: Encode,
    data: Path,
    languages: Sequence[str] = (),
    encode_of: Mapping[str, Encode] | None = None,
) -> dict[str, float]:
    """Measure accuracy at 1 from each language to English on FLORES-200 dev.

    Args:
        encode: The encoder.
        data: The data folder, which holds ``eval/``.
        languages: Of the file's columns; empty: all but English.
        encode_of: Language -> what encodes its texts in place of ``encode``.

    Raises:
        CorpusError: If the file is missing, or has no such language.
    """
    table = _read(data / "eval" / "flores200-dev.parquet")
    chosen = languages or sorted(set(table.column_names) - {PIVOT})
    if missing := sorted({*chosen, PIVOT} - set(table.column_names)):
        raise CorpusError(f"flores200-dev has no column {', '.join(missing)}")
    own = encode_of or {}
    english = encode(table[PIVOT].to_pylist())
    return {
        lang: accuracy_at_1(own.get(lang, encode)(table[lang].to_pylist()), english)
        for lang in chosen
    }


def flores_languages(data: Path) -> list[str]:
    """List the languages of FLORES-200 dev but English.

    Raises:
        CorpusError: If the file is missing.
    """
    return sorted(set(_read(data / "eval" / "flores200-dev.parquet").column_names) - {PIVOT})


def tatoeba_accuracy(encode: Encode, data: Path) -> dict[str, float]:
    """Measure accuracy at 1 from each language to English within the language's own set.

    Raises:
        CorpusError: If the file is missing.
    """
    columns = _read(data / "eval" / "tatoeba-v1.parquet").to_pydict()
    rows: dict[str, tuple[list[str], list[str]]] = {}
    for lang, text, english in zip(
        columns["lang"], columns["text"], columns["english"], strict=True
    ):
        texts, translations = rows.setdefault(lang, ([], []))
        texts.append(text)
        translations.append(english)
    return {
        lang: accuracy_at_1(encode(texts), encode(translations))
        for lang, (texts, translations) in sorted(rows.items())
    }


def mean_of(accuracies: Mapping[str, float], languages: Sequence[str] = ()) -> float:
    """Average over languages, each counting the same; languages not measured are left out."""
    chosen = [accuracies[lang] for lang in languages or accuracies if lang in accuracies]
    return sum(chosen) / len(chosen) if chosen else float("nan")


def languages_to_measure(langs: Sequence[str], data: Path, chosen: str = "") -> list[str]:
    """Choose the languages of FLORES-200 dev that a run is measured on while it goes on.

    Args:
        langs: That are trained on; of these the ones with little data, or all if there are none.
        data: The data folder, which holds ``eval/``.
        chosen: Measured too, trained on or not.

    Raises:
        CorpusError: If the file is missing, has no language ``chosen``, or none at all of these.
    """
    known = set(flores_languages(data))
    if chosen and chosen not in known:
        raise CorpusError(
            f"run.metric: flores200-dev has no language {chosen}: expected one of its "
            f"{len(known)} codes, such as swh_Latn"
        )
    trained = sorted(known & set(langs))
    few = [lang for lang in trained if lang in LOW_RESOURCE] or trained
    if not (few or chosen):
        raise CorpusError(
            "run.evaluate_every: none of the languages trained on is in flores200-dev; set "
            "run.metric to loss, or to flores200-dev:LANG"
        )
    return sorted({*few, chosen} - {""})


def figures_of(
    encode: Encode, data: Path, languages: Sequence[str], metric: str
) -> dict[str, float]:
    """Measure what ``run.metric`` names: the mean over ``languages`` and, if named, its language.

    Raises:
        CorpusError: If the file is missing, or has no such language.
    """
    accuracy = flores_accuracy(encode, data, languages)
    figures = {FLORES: mean_of(accuracy)}
    if lang := metric_language(metric):
        figures[metric] = accuracy[lang]
    return figures


def evaluate(encode: Encode, data: Path) -> dict[str, Any]:
    """Measure everything; see the module's docstring.

    Returns:
        Means under ``macro``, and the accuracy of each language under ``flores200-dev`` and
        ``tatoeba``.

    Raises:
        CorpusError: If an evaluation set is missing.
    """
    flores, tatoeba = flores_accuracy(encode, data), tatoeba_accuracy(encode, data)
    return {
        "macro": {
            "flores200-dev, 40 nllb-seed languages": mean_of(flores, LOW_RESOURCE),
            f"flores200-dev, all {len(flores)} languages": mean_of(flores),
            f"tatoeba, {len(tatoeba)} languages": mean_of(tatoeba),
        },
        "flores200-dev": flores,
        "tatoeba": tatoeba,
    }


@contextmanager
def open_encode(path: Path) -> Iterator[Encode]:
    """Open a checkpoint, or else an exported artifact, for the time of a ``with``.

    Raises:
        CheckpointError: If a checkpoint is incomplete or changed.
        ArtifactError: If there is no checkpoint, and no artifact either.
    """
    if (path / MODEL).exists():
        snapshot = load_checkpoint(path)
        # Both sides of a translation are queries, as they are to an artifact below.
        tokenizer = Tokenizer.from_str(snapshot.tokenizer)
        yield as_encode(encoder_of(snapshot), tokenizer, role="query")
        return
    from app.encoder.encoder import TextEncoder  # only artifacts need ONNX Runtime

    encoder = TextEncoder.open(path)
    try:
        yield encoder.encode_query
    finally:
        encoder.close()


def format_table(report: Mapping[str, Any]) -> str:
    """Write the means, and the languages found best and worst, as a table for people."""
    lines = [f"{value:7.4f}  {name}" for name, value in report["macro"].items()]
    for name in ("flores200-dev", "tatoeba"):
        ordered = sorted(report[name].items(), key=lambda item: -item[1])
        for title, part in (("best", ordered[:5]), ("worst", ordered[-5:])):
            listed = ", ".join(f"{lang} {value:.3f}" for lang, value in part)
            lines.append(f"         {name}, {title}: {listed}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate")
    parser.add_argument("path", type=Path, help="folder of a checkpoint or of an artifact")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args(arguments)
    try:
        with open_encode(options.path) as encode:
            report = evaluate(encode, data_folder())
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except (CheckpointError, CorpusError, ServiceError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(format_table(report) + "\n")
    return 0


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
