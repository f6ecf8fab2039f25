"""Made-up PAWS-X and XNLI in the official formats, small enough for a tiny model to learn."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.classification.config import PairConfig

FILLER = {
    "en": "the cat dog house sees finds old red under over small tree",
    "de": "die katze hund haus sieht findet alt rot unter ueber klein baum",
}
MARKS = {"en": (("falls", "drops"), ("rises", "climbs")), "de": (("faellt",), ("steigt",))}
XNLI_HEADER = (
    "language gold_label sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2 promptID pairID genre label1 label2 label3 label4 label5 "
    "sentence1_tokenized sentence2_tokenized match"
)
XNLI_LABELS = ("contradiction", "entailment", "neutral")


def write_rows(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def made_up(code: str, count: int, seed: int, mark: int = 0) -> list[tuple[str, str, int]]:
    """Pairs whose label one word of the second sentence tells; the same rows in each language."""
    rng = np.random.default_rng(seed)
    filler = FILLER[code].split()
    rows = []
    for _ in range(count):
        drawn = rng.integers(0, 12, 8)
        label, place = rng.integers(0, 2), rng.integers(0, 4)
        first = [filler[index] for index in drawn[:4]]
        second = [filler[index] for index in drawn[4:]]
        second.insert(place, MARKS[code][label][mark])
        rows.append((" ".join(first), " ".join(second), int(label)))
    return rows


def write_pawsx(folder: Path, dev_mark: int = 0) -> Path:
    """Write 256 English pairs to train on, 48 in English and German to choose and to test by."""
    header = ("id", "sentence1", "sentence2", "label")

    def write(path: str, rows: list[tuple[str, str, int]]) -> None:
        numbered = [(str(i), a, b, str(label)) for i, (a, b, label) in enumerate(rows, 1)]
        write_rows(folder / path, [header, *numbered])

    write("en/train.tsv", made_up("en", 256, seed=1))
    for code in ("en", "de"):
        write(f"{code}/dev_2k.tsv", made_up(code, 48, 2, dev_mark if code == "en" else 0))
        write(f"{code}/test_2k.tsv", made_up(code, 48, seed=3))
    return folder


@pytest.fixture(scope="session")
def pawsx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up PAWS-X."""
    return write_pawsx(tmp_path_factory.mktemp("x-final"))


@pytest.fixture
def other_words(tmp_path: Path) -> Path:
    """The same, but that its English development set tells the classes by other words."""
    return write_pawsx(tmp_path / "x-final", dev_mark=1)


@pytest.fixture(scope="session")
def config(pawsx: Path) -> Callable[..., PairConfig]:
    """Build the configuration of a tiny run on the made-up PAWS-X; tables are merged."""

    def build(**tables: dict[str, Any]) -> PairConfig:
        tree: dict[str, dict[str, Any]] = {
            "run": {"name": "unit", "threads": 1, "device": "cpu", "evaluate_every": 16},
            "data": {"task": "pawsx", "folder": str(pawsx)},
            "encoder": {
                "max_tokens": 24,
                "dropout": 0.0,
                "dim": 32,
                "layers": 2,
                "vocab_size": 256,
                "romanize": False,
            },
            "batches": {"pairs": 16},
            "optim": {"epochs": 3, "lr": 3e-3},
        }
        for name, values in tables.items():
            tree[name] = tree.get(name, {}) | values
        return PairConfig.model_validate(tree)

    return build


@pytest.fixture
def xnli_row() -> Callable[..., list[str]]:
    """Build a row of XNLI 1.0 from the columns that matter."""

    def build(lang: str, label: str, first: str, second: str, pair_id: str) -> list[str]:
        known = {
            "language": lang,
            "gold_label": label,
            "sentence1": first,
            "sentence2": second,
            "pairID": pair_id,
        }
        return [known.get(name, "-") for name in XNLI_HEADER.split()]

    return build


@pytest.fixture
def xnli(tmp_path: Path, xnli_row: Callable[..., list[str]]) -> Path:
    """XNLI 1.0 and XNLI-MT 1.0 in English and German, three pairs each."""
    pairs = [("a b", "c d", label) for label in XNLI_LABELS]
    rows = [
        xnli_row(code, label, f"{first} {code}", second, str(index))
        for code in ("de", "en")
        for index, (first, second, label) in enumerate(pairs)
    ]
    for split in ("dev", "test"):
        write_rows(tmp_path / "XNLI-1.0" / f"xnli.{split}.tsv", [XNLI_HEADER.split(), *rows])
    train = [("premise", "hypo", "label"), ("p", "h", "contradictory"), ("p", "h", "neutral")]
    write_rows(tmp_path / "XNLI-MT-1.0" / "multinli" / "multinli.train.en.tsv", train)
    return tmp_path
