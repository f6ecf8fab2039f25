"""What CPU time the families take and in how many languages they act: ``python <this file>``.

Texts are the first 60 grapheme clusters of ten sentences of each language of FLORES-200 dev, with
the query's language and the dictionaries that come along. The last line tells for which share of a
language's letters a keyboard, or what stands for one, has a mistaken letter of its own.
"""

import os
import statistics
import time
from pathlib import Path

import pyarrow.parquet as pq

from app.text.lexicon import load_lexicon
from app.text.normalize import normalize
from app.text.perturbations.composing import slips
from app.text.perturbations.context import Context
from app.text.perturbations.keyboards import keyboard_of
from app.text.perturbations.passage import Passage, clusters_of
from app.text.perturbations.registry import FAMILIES, proposals
from app.text.perturbations.typo import near

DATA = Path(os.environ.get("TYNTEGRA_DATA", Path(__file__).parents[3] / "shared" / "data"))
CLUSTERS = 60
SENTENCES = range(0, 1000, 100)


def main() -> None:
    """Print a line for each family."""
    columns = pq.read_table(DATA / "eval" / "flores200-dev.parquet").to_pydict()
    texts = [
        (lang, normalize("".join(clusters_of(normalize(sentences[row] or ""))[:CLUSTERS])))
        for lang, sentences in columns.items()
        if "_" in lang
        for row in SENTENCES
        if row < len(sentences)
    ]
    contexts = {lang: Context(lang, load_lexicon()) for lang, _ in texts}
    print(f"{len(texts)} texts of {len(contexts)} languages")
    print("family            median ms   p99 ms   proposals   languages")
    for family in FAMILIES.values():
        times, counts, langs = [], [], set()
        proposals(family, Passage.of("warm up"), 0, contexts["eng_Latn"])  # reads the tables
        for lang, text in texts:
            began = time.process_time()
            found = proposals(family, Passage.of(text), 0, contexts[lang])
            times.append(1e3 * (time.process_time() - began))
            counts.append(len(found))
            langs |= {lang} if found else set()
        p99 = statistics.quantiles(times, n=100)[-1]
        print(
            f"{family.name:16} {statistics.median(times):10.2f} {p99:8.2f} "
            f"{statistics.median(counts):11.0f} {len(langs):11}"
        )
    shares = sorted((_typed_share(lang, texts), lang) for lang in contexts)
    least = ", ".join(f"{lang} {share:.0%}" for share, lang in shares[:5])
    mean = statistics.mean(share for share, _ in shares)
    print(f"letters with neighbors on a keyboard: {mean:.1%} on average; least: {least}")


def _typed_share(lang: str, texts: list[tuple[str, str]]) -> float:
    letters = [c for own, text in texts if own == lang for c in Passage.of(text).letters]
    known = 0
    for cluster in letters:
        keyboard = keyboard_of(lang, cluster.script)
        known += bool(near(cluster, keyboard) or slips(cluster.text, cluster.script, lang[-4:]))
    return known / max(1, len(letters))


if __name__ == "__main__":
    main()
