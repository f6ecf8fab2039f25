"""Which languages the shippable corpora and the tasks hold."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training.registry import CORPORA, CorpusError
from training.xtyntegra.parquet import column_names
from training.xtyntegra.tatoeba import FLORES as TATOEBA
from training.xtyntegra.xquad import FLORES as XQUAD


def pairs_by_language(data: Path) -> dict[str, int]:
    """Count the pairs with each language on one side, in the corpora that may be shipped.

    Raises:
        CorpusError: If a corpus cannot be read.
    """
    pairs: Counter[str] = Counter()
    for corpus in CORPORA.values():
        if corpus.shippable:
            for (one, other), count in _counted(data / "bitext" / f"{corpus.name}.parquet").items():
                pairs.update(dict.fromkeys({one, other}, count))
    return dict(pairs)


def tasks_by_language(data: Path) -> dict[str, list[str]]:
    """List the tasks of the data folder that have each language, English included.

    Raises:
        CorpusError: If a file cannot be read.
    """
    ntrex = {lang for pair in _counted(data / "bitext" / "ntrex128.parquet") for lang in pair}
    found: dict[str, list[str]] = {}
    for task, langs in (
        ("flores200", column_names(data / "eval" / "flores200-dev.parquet")),
        ("ntrex128", ntrex),
        ("tatoeba", TATOEBA.values()),
        ("xquad-r", XQUAD.values()),
    ):
        for lang in langs:
            found.setdefault(lang, []).append(task)
    return found


def _counted(path: Path) -> dict[tuple[str, str], int]:
    try:
        table = pq.read_table(path, columns=["lang_a", "lang_b"])
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error
    counts = table.group_by(["lang_a", "lang_b"]).aggregate([([], "count_all")]).to_pydict()
    langs = zip(counts["lang_a"], counts["lang_b"], strict=True)
    return dict(zip(langs, counts["count_all"], strict=True))
