"""Labels of maps and apps -> the small bilingual dictionary that comes along.

Both corpora allow it: names of things on a map (ISC) and strings of an app (Apache 2.0). Single
English words that many languages have are kept, some hundreds for each language; what the lexical
corpora hold besides words is left out as for any dictionary (``training.data.lexicons``).
"""

import gzip
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from app.text.dictionaries import Entry, fold, read_entries
from training.data.lexicons import build_lexicon, read_pairs
from training.registry import CORPORA

SOURCES = ("osm-id-schema", "wikipedia-app")
PIVOT = "eng_Latn"
MOST_WORDS_EACH = 300
FEWEST_LANGUAGES = 10
MOST_WORDS = 2

_HEAD = (
    "# From id-tagging-schema (ISC) and the Wikipedia app for Android (Apache 2.0), see README.md.",
)


def build_words(data: Path) -> bytes:
    """Build the dictionary, packed.

    Args:
        data: Folder of the corpora.

    Raises:
        CorpusError: If a corpus cannot be read.
    """
    known: dict[tuple[str, str], Entry] = {}
    langs: dict[str, set[str]] = defaultdict(set)
    for name in SOURCES:
        for entry in _clean(data, name):
            key = (fold(entry.word_a), entry.lang_b)
            if " " not in entry.word_a and len(entry.word_b.split()) <= MOST_WORDS:
                known.setdefault(key, entry)
                langs[key[0]].add(entry.lang_b)
    kept: list[tuple[str, str]] = []
    each: Counter[str] = Counter()
    for word, lang in sorted(known, key=lambda key: (-len(langs[key[0]]), key)):
        if len(langs[word]) >= FEWEST_LANGUAGES and each[lang] < MOST_WORDS_EACH:
            each[lang] += 1
            kept.append((lang, word))
    lines = ("\t".join(known[word, lang]) for lang, word in sorted(kept))
    text = "".join(f"{line}\n" for line in (*_HEAD, *lines))
    return gzip.compress(text.encode(), mtime=0)


def _clean(data: Path, name: str) -> Iterable[Entry]:
    """Read the words of a corpus, English first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.tsv"
        build_lexicon(read_pairs(data, CORPORA[name]), path, [])
        entries = list(read_entries(path))
    for entry in entries:
        turned = Entry(entry.lang_b, entry.word_b, entry.lang_a, entry.word_a)
        for one in (entry, turned):
            if one.lang_a == PIVOT != one.lang_b:
                yield one
