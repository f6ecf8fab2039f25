"""A small data folder in the shape of the real one, so that training is tested without corpora."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.config import TrainConfig

LANGS = ("fra_Latn", "swh_Latn", "rus_Cyrl")
CONFIG = {
    "run": {"name": "unit", "threads": 1},
    "tokenizer": {"vocab_size": 400, "sample_characters": 20_000, "romanize": False},
    "encoder": {"kind": "static", "dim": 16, "max_tokens": 32},
    "corpora": {"weights": {"nllb-seed": 1.0, "wikipedia-app": 0.5}},
    "batches": {"pairs": 16},
    "loss": {},
    "optim": {"steps": 8, "lr": 0.01, "warmup": 2},
}


def sentences(count: int, lang: str, seed: int = 0) -> list[str]:
    """Sentences over 60 invented words; the same ones, word by word, in each language."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 60, rng.integers(6, 12)) for _ in range(count)]
    letters = "бвгдзклмнпрстж" if lang == "rus_Cyrl" else "bcdfghjklmnprs"
    vowels = "аеиоу" if lang == "rus_Cyrl" else "aeiou"
    names = np.random.default_rng(sum(map(ord, lang)))
    words = [
        "".join(letters[names.integers(14)] + vowels[names.integers(5)] for _ in range(3))
        for _ in range(60)
    ]
    return [" ".join(words[index] for index in row) for row in rows]


def write_bitext(folder: Path, name: str, count: int, seed: int) -> None:
    english = sentences(count, "eng_Latn", seed)
    columns = {
        "lang_a": ["eng_Latn"] * count * len(LANGS),
        "lang_b": [lang for lang in LANGS for _ in range(count)],
        "text_a": english * len(LANGS),
        "text_b": [text for lang in LANGS for text in sentences(count, lang, seed)],
    }
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "bitext").mkdir()
    (folder / "eval").mkdir()
    write_bitext(folder / "bitext", "nllb-seed", 60, seed=1)
    write_bitext(folder / "bitext", "wikipedia-app", 30, seed=2)
    flores = {lang: sentences(20, lang, seed=3) for lang in ("eng_Latn", *LANGS)}
    pq.write_table(pa.table(flores), folder / "eval" / "flores200-dev.parquet")
    tatoeba = {
        "lang": ["fra"] * 12 + ["rus"] * 8,
        "text": flores["fra_Latn"][:12] + flores["rus_Cyrl"][12:],
        "english": flores["eng_Latn"],
    }
    pq.write_table(pa.table(tatoeba), folder / "eval" / "tatoeba-v1.parquet")
    return folder


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig.model_validate(CONFIG)
