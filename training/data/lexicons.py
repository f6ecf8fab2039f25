"""Lexical corpora -> a dictionary for code-switching, without what is no word.

Labels and automatic word lists hold more than words: sentences, bracketed hints, function words,
a word beside forty others that it was once aligned with. What is kept is short, in the script of
its language, and has few rivals. Lines have English on one side where the corpora have: pairs of
two other languages are joined when looked up, if at all (see ``Lexicon.lookup``), for written out
they would be some hundred times as many.
"""

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import regex

from app.errors import InvalidInputError
from app.text.dictionaries import Entry, fold
from app.text.normalize import normalize
from app.text.script import COMMON, INHERITED, parse_lang, script_of_character
from training.data.staging import staged
from training.registry import Corpus, CorpusError

MOST_WORDS = 3
MOST_POINTS = 40
LONGEST_ABBREVIATION = 5
# Where no space tells words from a sentence: characters of Chinese and Japanese, letters elsewhere.
MOST_POINTS_SYLLABIC = 8
MOST_POINTS_UNSPACED = 16

_ENGLISH = (
    "a an and are as at be been but by did do does for from had has have he her him his if in into "
    "is it its no not of off on or our she so that the their them then they this those to was we "
    "were which who will with would you your"
)
_FUNCTION_WORDS = frozenset(_ENGLISH.split())
_WORD = r"\p{L}[\p{L}\p{M}\u200c\u200d'\u2019\u05f3\u05f4\u00b7]*+"
_PHRASE = regex.compile(rf"{_WORD}(?:[ -]{_WORD})*+")
_POINTS = {
    **dict.fromkeys(("Hani", "Hira", "Kana"), MOST_POINTS_SYLLABIC),
    **dict.fromkeys(("Thai", "Laoo", "Khmr", "Mymr"), MOST_POINTS_UNSPACED),
}
_CAPITALIZES_NOUNS = frozenset({"deu", "ltz", "nds", "gsw", "pfl", "bar"})
_DOTTED_I = frozenset({"tur", "azj", "aze", "crh", "gag"})
_SMALL_DOTTED_I = str.maketrans("I\u0130", "\u0131i")


@dataclass(frozen=True, slots=True)
class Built:
    """What became of the corpora.

    Attributes:
        entries: Lines written.
        skipped: Pairs left out, by reason.
        sizes: Distinct words of each language.
    """

    entries: int
    skipped: Mapping[str, int]
    sizes: Mapping[str, int]


def read_pairs(folder: Path, corpus: Corpus) -> Iterator[Entry]:
    """Yield the pairs of a corpus as they stand in its file.

    Raises:
        CorpusError: If the file cannot be read.
    """
    path = folder / "bitext" / f"{corpus.name}.parquet"
    columns = ["lang_a", "text_a", "lang_b", "text_b"]
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    yield Entry(*(row[column] or "" for column in columns))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read the corpus {path}: {error}") from error


def read_word_pairs(path: Path, lang_a: str, lang_b: str) -> Iterator[Entry]:
    """Yield the lines of a list of two words each, between them a tab or a space.

    Raises:
        CorpusError: If the file cannot be read or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                left, _, right = line.strip().partition("\t" if "\t" in line else " ")
                yield Entry(lang_a, left, lang_b, right)
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read the word list {path}: {error}") from error


def build_lexicon(
    pairs: Iterable[Entry], out: Path, notes: Sequence[str], *, most: int = 4
) -> Built:
    """Write a dictionary of the words among some pairs of texts.

    Args:
        pairs: Where the words come from.
        out: File to write; packed if its name ends in ``.gz``.
        notes: Lines for its head, such as the licences of the sources.
        most: Neighbors of a word in one other language, at most: those that occur oftenest, then
            those with the fewest neighbors of their own, then as they come.

    Raises:
        CorpusError: If no word is left.
    """
    skipped: Counter[str] = Counter()
    counts: Counter[tuple[str, str, str, str]] = Counter()
    entries: dict[tuple[str, str, str, str], Entry] = {}
    for pair in pairs:
        entry = _clean(pair)
        if isinstance(entry, str):
            skipped[entry] += 1
            continue
        key = (entry.lang_a, fold(entry.word_a), entry.lang_b, fold(entry.word_b))
        skipped["repeated"] += key in entries
        counts[key] += 1
        entries.setdefault(key, entry)
    kept = _few(counts, most)
    skipped["too many neighbors"] = len(entries) - len(kept)
    if not kept:
        raise CorpusError(f"no words in these corpora for {out}: name some that have word pairs")
    _write(out, (entries[key] for key in kept), notes)
    words = {(key[i], key[i + 1]) for key in kept for i in (0, 2)}
    sizes = Counter(lang for lang, _ in words)
    return Built(len(kept), +skipped, dict(sorted(sizes.items())))


def _clean(pair: Entry) -> Entry | str:
    """Bring a pair into the form of a dictionary, or name the reason why it is none."""
    words = []
    for lang, text in ((pair.lang_a, pair.word_a), (pair.lang_b, pair.word_b)):
        scripts = _scripts(lang)
        if not scripts:
            return "language code malformed"
        word = normalize(text).strip("\u200c\u200d'")
        if reason := _problem(word, scripts, english=lang == "eng_Latn"):
            return reason
        words.append(_small(word, lang))
    if fold(words[0]) == fold(words[1]):
        return "same word"
    return Entry(pair.lang_a, words[0], pair.lang_b, words[1])


def _problem(word: str, scripts: frozenset[str], *, english: bool) -> str:
    parts = word.split(" ")
    most_points = min(_POINTS.get(script, MOST_POINTS) for script in scripts)
    if len(parts) > MOST_WORDS or len(word) > most_points:
        return "too long"
    if not _PHRASE.fullmatch(word):
        return "not words alone"
    found = {script_of_character(character) for character in word} - {COMMON, INHERITED}
    if not found or not found <= scripts:
        return "another script"
    if english and not _FUNCTION_WORDS.isdisjoint((parts[0].lower(), parts[-1].lower())):
        return "function word"
    return ""


def _small(word: str, lang: str) -> str:
    """Take the capitals of a title away, unless they belong to nouns or to an abbreviation."""
    if lang[:3] in _CAPITALIZES_NOUNS:
        return word
    parts = []
    for part in word.split(" "):
        title = len(part) > 1 and part[1:] == part[1:].lower()
        title |= len(part) > LONGEST_ABBREVIATION and part.isupper()
        if title and lang[:3] in _DOTTED_I:
            part = part.translate(_SMALL_DOTTED_I)
        parts.append(part.lower() if title else part)
    return " ".join(parts)


@lru_cache(maxsize=1024)
def _scripts(lang: str) -> frozenset[str]:
    try:
        return parse_lang(lang).scripts
    except InvalidInputError:
        return frozenset()


def _few(
    counts: Mapping[tuple[str, str, str, str], int], most: int
) -> list[tuple[str, str, str, str]]:
    """Keep the pairs that are among the first ``most`` of either word in the other's language."""
    around: defaultdict[tuple[str, str, str], list[tuple[str, str, str, str]]] = defaultdict(list)
    for key in counts:
        lang_a, word_a, lang_b, word_b = key
        around[lang_a, word_a, lang_b].append(key)
        around[lang_b, word_b, lang_a].append(key)

    def rivals(key: tuple[str, str, str, str]) -> int:
        lang_a, word_a, lang_b, word_b = key
        return len(around[lang_a, word_a, lang_b]) + len(around[lang_b, word_b, lang_a])

    votes: Counter[tuple[str, str, str, str]] = Counter()
    for group in around.values():
        votes.update(sorted(group, key=lambda key: (-counts[key], rivals(key)))[:most])
    return [key for key in counts if votes[key] == 2]


def _write(out: Path, entries: Iterable[Entry], notes: Sequence[str]) -> None:
    head = ("Columns: language, word, language, word. Each line holds in both directions.", *notes)
    lines = [*(f"# {note}" for note in head), *("\t".join(entry) for entry in entries)]
    content = ("\n".join(lines) + "\n").encode()
    with staged(out) as draft:
        draft.write_bytes(gzip.compress(content, mtime=0) if out.suffix == ".gz" else content)
