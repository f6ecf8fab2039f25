"""The two tasks: their classes, their languages and where their published files keep what.

The formats are those of PAWS-X (``x-final``), of XNLI 1.0 with XNLI-MT 1.0 for training, and of
XTREME, which rewrites both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Split = Literal["train", "dev", "test"]
ENGLISH = "eng_Latn"


@dataclass(frozen=True, slots=True)
class Format:
    """Where a file keeps what; columns by name.

    Attributes:
        path: Below the folder, with ``{split}`` and ``{lang}`` to fill in.
        columns: Names of first sentence, second sentence and label.
        pair_id: Name of the column of a pair's id; empty: lines are numbered.
        language: Name of the column of the language; empty: the path tells it.
        header: Whether the first line names the columns; without one they come in this order.
        quoted: Whether fields are quoted as in CSV; the official files hold bare quotation marks.
    """

    path: str
    columns: tuple[str, str, str] = ("sentence1", "sentence2", "label")
    pair_id: str = ""
    language: str = ""
    header: bool = True
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A classification task: its classes in order, its languages and where files may lie.

    Attributes:
        labels: Name of each class, as the files write it.
        synonyms: Other spellings of labels.
        languages: FLORES code -> the code in the files.
        formats: Of each split, in the order in which they are looked for.
        placeholder: Sentence that stands for none.
    """

    name: str
    labels: tuple[str, ...]
    languages: Mapping[str, str]
    formats: Mapping[Split, tuple[Format, ...]]
    synonyms: Mapping[str, str] = field(default_factory=dict)
    placeholder: str = ""


def _pawsx(path: str) -> Format:
    return Format(path, pair_id="id")


def _xnli(path: str) -> Format:
    columns = ("sentence1", "sentence2", "gold_label")
    return Format(path, columns, pair_id="pairID", language="language")


def _multinli(path: str) -> Format:
    return Format(path, ("premise", "hypo", "label"))


def _xtreme(split: Split) -> Format:
    """XTREME's files: no header, no id, quoted as CSV; its own test sets lack the labels."""
    return Format(f"{split}-{{lang}}.tsv", header=False, quoted=True)


PAWSX = Task(
    name="pawsx",
    labels=("0", "1"),
    languages={
        ENGLISH: "en",
        "deu_Latn": "de",
        "spa_Latn": "es",
        "fra_Latn": "fr",
        "jpn_Jpan": "ja",
        "kor_Hang": "ko",
        "zho_Hans": "zh",
    },
    formats={
        "train": (
            _pawsx("{lang}/train.tsv"),
            _pawsx("{lang}/translated_train.tsv"),
            _xtreme("train"),
        ),
        "dev": (_pawsx("{lang}/dev_2k.tsv"), _xtreme("dev")),
        "test": (_pawsx("{lang}/test_2k.tsv"), _xtreme("test")),
    },
    placeholder="NS",  # stands where a translation was not made
)
XNLI = Task(
    name="xnli",
    labels=("contradiction", "entailment", "neutral"),
    languages={
        ENGLISH: "en",
        "arb_Arab": "ar",
        "bul_Cyrl": "bg",
        "deu_Latn": "de",
        "ell_Grek": "el",
        "spa_Latn": "es",
        "fra_Latn": "fr",
        "hin_Deva": "hi",
        "rus_Cyrl": "ru",
        "swh_Latn": "sw",
        "tha_Thai": "th",
        "tur_Latn": "tr",
        "urd_Arab": "ur",
        "vie_Latn": "vi",
        "zho_Hans": "zh",
    },
    formats={
        "train": (
            _multinli("multinli.train.{lang}.tsv"),
            _multinli("XNLI-MT-1.0/multinli/multinli.train.{lang}.tsv"),
            _xtreme("train"),
        ),
        "dev": (_xnli("xnli.dev.tsv"), _xnli("XNLI-1.0/xnli.dev.tsv"), _xtreme("dev")),
        "test": (_xnli("xnli.test.tsv"), _xnli("XNLI-1.0/xnli.test.tsv"), _xtreme("test")),
    },
    synonyms={"contradictory": "contradiction"},
)
TASKS: dict[str, Task] = {task.name: task for task in (PAWSX, XNLI)}
