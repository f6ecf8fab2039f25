import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[2] / "app" / "default" / "demo"
REQUIRED = frozenset(
    {
        "eng_Latn",
        "swh_Latn",
        "hau_Latn",
        "yor_Latn",
        "amh_Ethi",
        "hin_Deva",
        "ben_Beng",
        "tam_Taml",
        "arb_Arab",
        "pes_Arab",
        "rus_Cyrl",
        "spa_Latn",
        "grn_Latn",
        "ind_Latn",
        "zho_Hans",
    }
)
# First words of the Unicode names of each script's letters.
LETTER_NAMES = {
    "Latn": "LATIN ",
    "Ethi": "ETHIOPIC ",
    "Deva": "DEVANAGARI ",
    "Beng": "BENGALI ",
    "Taml": "TAMIL ",
    "Arab": "ARABIC ",
    "Cyrl": "CYRILLIC ",
    "Hans": "CJK UNIFIED IDEOGRAPH",
}


def read(name: str) -> list[dict[str, Any]]:
    lines = (DEMO / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return read("documents.jsonl")


@pytest.fixture(scope="module")
def queries() -> list[dict[str, Any]]:
    return read("queries.jsonl")


@pytest.fixture(scope="module")
def rows(documents: list[dict[str, Any]], queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return documents + queries


def row_id(row: dict[str, Any]) -> str:
    return row["doc_id"] if "doc_id" in row else row["query_id"]


def test_documents_fields_are_those_of_the_wire(documents: list[dict[str, Any]]) -> None:
    for row in documents:
        assert set(row) == {"doc_id", "text", "lang", "metadata"}, row
        assert set(row["metadata"]) == {"subject", "topic"}, row
        assert row["doc_id"] == f"{row['metadata']['subject']}-{row['lang'][:3]}"


def test_queries_fields_are_those_of_the_wire(queries: list[dict[str, Any]]) -> None:
    for row in queries:
        assert set(row) == {"query_id", "text", "lang", "relevant"}, row
        assert re.fullmatch(rf"q-{row['lang'][:3]}-\d\d", row["query_id"]), row["query_id"]


def test_documents_counts_reach_the_promised_size(documents: list[dict[str, Any]]) -> None:
    langs = {row["lang"] for row in documents}
    assert len(documents) >= 340
    assert len(langs) >= 15
    assert langs >= REQUIRED


def test_subjects_each_have_one_topic_and_twelve_languages(
    documents: list[dict[str, Any]],
) -> None:
    langs, topics = defaultdict(list), defaultdict(set)
    for row in documents:
        langs[row["metadata"]["subject"]].append(row["lang"])
        topics[row["metadata"]["subject"]].add(row["metadata"]["topic"])
    assert len(langs) >= 24
    for subject, found in langs.items():
        assert len(found) == len(set(found)) >= 12, subject
        assert set(found) >= REQUIRED, subject
        assert len(topics[subject]) == 1, subject


def test_queries_counts_cover_languages_and_subjects(
    documents: list[dict[str, Any]], queries: list[dict[str, Any]]
) -> None:
    per_lang = Counter(row["lang"] for row in queries)
    subject_of = {row["doc_id"]: row["metadata"]["subject"] for row in documents}
    asked = {subject_of[row["relevant"][0]] for row in queries}
    assert len(queries) >= 90
    assert all(per_lang[lang] >= 5 for lang in REQUIRED), per_lang
    assert asked == set(subject_of.values())


def test_relevant_lists_exactly_one_whole_subject(
    documents: list[dict[str, Any]], queries: list[dict[str, Any]]
) -> None:
    subject_of = {row["doc_id"]: row["metadata"]["subject"] for row in documents}
    members = defaultdict(set)
    for doc_id, subject in subject_of.items():
        members[subject].add(doc_id)
    for row in queries:
        assert set(row["relevant"]) <= set(subject_of), row["query_id"]
        assert len(row["relevant"]) == len(set(row["relevant"])), row["query_id"]
        assert set(row["relevant"]) == members[subject_of[row["relevant"][0]]], row["query_id"]


def test_ids_and_texts_are_unique(rows: list[dict[str, Any]]) -> None:
    ids = Counter(row_id(row) for row in rows)
    texts = Counter(row["text"].casefold() for row in rows)
    assert [key for key, count in ids.items() if count > 1] == []
    assert [key for key, count in texts.items() if count > 1] == []


def test_lang_codes_are_flores_style_and_one_script_a_language(rows: list[dict[str, Any]]) -> None:
    codes = {row["lang"] for row in rows}
    for code in codes:
        assert re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", code), code
        assert code[4:] in LETTER_NAMES, code
    assert len({code[:3] for code in codes}) == len(codes)


def test_text_letters_are_of_the_script_of_the_code(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        letters = [char for char in row["text"] if unicodedata.category(char).startswith("L")]
        expected = LETTER_NAMES[row["lang"][4:]]
        strays = [char for char in letters if not unicodedata.name(char).startswith(expected)]
        assert letters, row_id(row)
        assert strays == [], row_id(row)


def test_text_is_nfc_trimmed_and_free_of_control_characters(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        text = row["text"]
        assert unicodedata.is_normalized("NFC", text), row_id(row)
        assert text == " ".join(text.split()), row_id(row)
        assert "\N{REPLACEMENT CHARACTER}" not in text, row_id(row)
        assert not any(unicodedata.category(char) == "Cc" for char in text), row_id(row)


def test_text_length_is_that_of_short_documents_and_queries(
    documents: list[dict[str, Any]], queries: list[dict[str, Any]]
) -> None:
    for row in documents:
        if row["lang"] == "zho_Hans":  # written without spaces: count characters
            assert 20 <= len(row["text"]) <= 90, row["doc_id"]
        else:
            assert 12 <= len(row["text"].split()) <= 45, row["doc_id"]
    for row in queries:
        words = len(row["text"].split())
        assert (1 if row["lang"] == "zho_Hans" else 3) <= words <= 10, row["query_id"]


def test_yoruba_documents_carry_tone_marks_and_underdots(documents: list[dict[str, Any]]) -> None:
    for row in documents:
        if row["lang"] == "yor_Latn":
            marks = set(unicodedata.normalize("NFD", row["text"]))
            dots_and_tones = {"\N{COMBINING DOT BELOW}", "\N{COMBINING ACUTE ACCENT}"}
            assert marks >= dots_and_tones, row["doc_id"]


def test_readme_table_states_the_counts_of_the_files(
    documents: list[dict[str, Any]], queries: list[dict[str, Any]]
) -> None:
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\w{3}_\w{4}) \| [^|]+ \| (\d+) \| (\d+) \|$", readme, re.MULTILINE)
    asked = Counter(row["lang"] for row in queries)
    held = Counter(row["lang"] for row in documents)
    assert {lang: (int(docs), int(qs)) for lang, docs, qs in table} == {
        lang: (held[lang], asked[lang]) for lang in held
    }
