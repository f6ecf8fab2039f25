"""How often the identifier of languages is right, on FLORES-200 dev, by length of text.

    python tests/benchmarks/languages.py

None of its texts was learned from. Texts are first words of sentences, or first letters where no
spaces part words; printed is the mean over the languages that the identifier knows.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from app.text.languages import identifier
from training.registry import data_folder

LENGTHS = ((3, 12), (6, 25), (12, 50), (1000, 10_000))
LEAST = 0.5


def cut(text: str, words: int, letters: int) -> str:
    """The beginning of a text."""
    parts = text.split()
    return " ".join(parts[:words]) if len(parts) > 3 else text[:letters]


def main() -> None:
    """Measure, and print a line of JSON for each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=200, help="of each language")
    parser.add_argument("--each", type=Path, help="write each language's figures to this file")
    options = parser.parse_args()
    flores = pq.read_table(data_folder() / "eval" / "flores200-dev.parquet").to_pydict()
    known = identifier()
    measured = [lang for lang in known.languages if lang in flores]
    each: dict[str, dict[str, float]] = {lang: {} for lang in measured}
    for words, letters in LENGTHS:
        right, sure = [], []
        began, texts = time.process_time(), 0
        for lang in measured:
            cuts = [cut(text, words, letters) for text in flores[lang][: options.texts]]
            found = known.probabilities(cuts)
            place = known.languages.index(lang)
            texts += len(cuts)
            right.append(float(np.mean(found.argmax(axis=1) == place)))
            sure.append(float(np.mean(found[:, place] >= LEAST)))
            each[lang] |= {f"right_{words}": right[-1], f"sure_{words}": sure[-1]}
        order = np.argsort(right)[:8]
        told = {
            "words": words,
            "languages": [len(known.languages), len(measured), len(flores)],
            "right": round(float(np.mean(right)), 3),
            "median_right": round(float(np.median(right)), 3),
            f"at_least_{LEAST}": round(float(np.mean(sure)), 3),
            "worst": {measured[n]: round(right[n], 2) for n in order},
            "us_a_text": round(1e6 * (time.process_time() - began) / texts, 1),
        }
        print(json.dumps(told), flush=True)
    if options.each:
        options.each.write_text(json.dumps(each, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
