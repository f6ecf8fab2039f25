"""Small cells to attack, and an encoder of character n-grams to attack."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.xtyntegra.task import Cell, Pool, one_to_one

ENGLISH = (
    "The doctor comes to the village every Thursday.",
    "The market closes before the rain begins.",
    "My sister sells fish and vegetables at the market.",
    "Water the maize in the evening, when the sun is low.",
    "The river is high and nobody can cross the bridge.",
    "The teacher counted 24 children under the tree.",
    "Our neighbors slaughtered a goat for the feast.",
    "The bus to the capital leaves at dawn.",
    "The old radio plays songs from the coast.",
    "Bring the blankets inside, the night is cold.",
)
HINDI = (
    "डॉक्टर हर गुरुवार को गाँव आता है।",
    "बारिश से पहले बाज़ार बंद हो जाता है।",
    "मेरी बहन बाज़ार में मछली और सब्ज़ियाँ बेचती है।",
)
DIM = 64


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Hashed character trigrams, unit rows."""
    rows = np.zeros((len(texts), DIM), dtype=np.float32)
    for row, text in enumerate(texts):
        padded = f"  {text.lower()} "
        for start in range(len(padded) - 2):
            code = zlib.crc32(padded[start : start + 3].encode())
            rows[row, code % DIM] += 1.0 if code & 1024 else -1.0
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def blurred(texts: Sequence[str]) -> list[str]:
    """Documents: the texts with every fifth letter gone, so that queries are not their copies."""
    return ["".join(c for place, c in enumerate(text) if place % 5 != 4) for text in texts]


def cell(lang: str = "eng_Latn", texts: Sequence[str] = ENGLISH, task: str = "own") -> Cell:
    """Queries of one language over their own blurred texts."""
    documents = blurred(texts)
    names = [f"{task}:{row}" for row in range(len(texts))]
    langs = ["eng_Latn"] * len(documents)
    pool = Pool(f"{task}:{lang}", documents, langs, names)
    rows = one_to_one(len(texts))
    return Cell(task, "to-english", lang, "eng_Latn", list(texts), names, pool, rows)
