"""The tasks of the data folder, on small made files and, where it is at hand, on the real ones."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.corpus import CorpusError
from training.xtyntegra import xquad
from training.xtyntegra.flores import POOL_LANGUAGES, between_pairs
from training.xtyntegra.task import Cell
from training.xtyntegra.tasks import CORE, TASKS, load_tasks
from training.xtyntegra.tatoeba import FLORES
from training.xtyntegra.tracks import LOW_RESOURCE_TRACK, track_of

ROWS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "eval" / "xquad-r").mkdir(parents=True)
    (folder / "bitext").mkdir()
    langs = [*POOL_LANGUAGES, "deu_Latn"]
    columns = {lang: [f"{lang} {row}" for row in range(ROWS)] for lang in langs}
    pq.write_table(pa.table(columns), folder / "eval" / "flores200-dev.parquet")
    tatoeba = {"lang": ["swh", "cmn", "swh"], "text": list("abc"), "english": list("ABC")}
    pq.write_table(pa.table(tatoeba), folder / "eval" / "tatoeba-v1.parquet")
    pairs = [("deu", 0), ("deu", 1), ("fra", 1), ("fra", 0), ("fra", 0), ("yor", 1)]
    write_pairs(folder / "bitext" / "ntrex128.parquet", pairs)
    for code in xquad.FLORES:
        write_xquad(folder / "eval" / "xquad-r" / f"{code}.json.gz", paragraph(code))
    return folder


def write_pairs(path: Path, pairs: list[tuple[str, int]]) -> None:
    columns = {
        "lang_a": ["eng_Latn"] * len(pairs),
        "lang_b": [f"{lang}_Latn" for lang, _ in pairs],
        "text_a": [f"English {row}" for _, row in pairs],
        "text_b": [f"{lang} {row} {number}" for number, (lang, row) in enumerate(pairs)],
    }
    table = pa.table({name: pa.array(v).dictionary_encode() for name, v in columns.items()})
    pq.write_table(table, path)


def paragraph(code: str) -> dict[str, Any]:
    """Two sentences; the first question is answered in the second, the second in the first."""
    first, second = f"{code} one. ", f"{code} two."
    context = first + second
    return {
        "context": context,
        "sentence_breaks": [[0, len(first) - 1], [len(first), len(context)]],
        "qas": [
            {"id": "a", "question": f"{code}?", "answers": [{"answer_start": len(first)}]},
            {"id": "b", "question": f"{code}!", "answers": [{"answer_start": 0}]},
        ],
    }


def write_xquad(path: Path, *paragraphs: dict[str, Any]) -> None:
    text = json.dumps({"data": [{"paragraphs": list(paragraphs)}]})
    path.write_bytes(gzip.compress(text.encode()))


def by_key(cells: list[Cell]) -> dict[str, Cell]:
    return {cell.key: cell for cell in cells}


def answers(cell: Cell) -> list[list[str]]:
    return [[str(cell.pool.texts[int(row)]) for row in rows] for rows in cell.relevant]


def test_load_tasks_flores_translations_answer_each_other(made: Path) -> None:
    cells = by_key(load_tasks(["flores200"], made))
    to = cells["flores200/to-english/deu_Latn>eng_Latn"]
    assert answers(to) == [[f"eng_Latn {row}"] for row in range(ROWS)]
    back = cells["flores200/from-english/eng_Latn>deu_Latn"]
    assert answers(back) == [[f"deu_Latn {row}"] for row in range(ROWS)]
    assert to.query_ids == back.query_ids
    settings = Counter(cell.setting for cell in cells.values())
    n = len(POOL_LANGUAGES)
    assert settings == {"to-english": n, "from-english": n, "between": n - 1, "pooled": n}


def test_load_tasks_flores_pool_has_all_languages_but_the_query_itself(made: Path) -> None:
    cell = by_key(load_tasks(["flores200/pooled"], made))["flores200/pooled/swh_Latn>*"]
    assert len(cell.pool) == ROWS * len(POOL_LANGUAGES)
    others = [f"{lang} 1" for lang in POOL_LANGUAGES if lang != "swh_Latn"]
    assert answers(cell)[1] == others
    assert cell.excluded is not None
    assert [cell.pool.texts[row] for row in cell.excluded[1]] == ["swh_Latn 1"]
    assert cell.queries[1] == "swh_Latn 1"


def test_load_tasks_languages_keep_the_pool_whole(made: Path) -> None:
    cells = by_key(load_tasks(["flores200"], made, languages=["swh_Latn"]))
    assert list(cells) == [
        "flores200/to-english/swh_Latn>eng_Latn",
        "flores200/from-english/eng_Latn>swh_Latn",
        "flores200/pooled/swh_Latn>*",
    ]
    assert len(cells["flores200/pooled/swh_Latn>*"].pool) == ROWS * len(POOL_LANGUAGES)


def test_load_tasks_tatoeba_searches_within_the_language(made: Path) -> None:
    cells = by_key(load_tasks(["tatoeba"], made))
    assert list(cells) == [
        "tatoeba/to-english/zho_Hans>eng_Latn",
        "tatoeba/to-english/swh_Latn>eng_Latn",
    ]
    swahili = cells["tatoeba/to-english/swh_Latn>eng_Latn"]
    assert (list(swahili.queries), answers(swahili)) == (["a", "c"], [["A"], ["C"]])
    assert len(swahili.pool) == 2


def test_load_tasks_ntrex_second_translations_are_queries_and_answers(made: Path) -> None:
    cells = by_key(load_tasks(["ntrex128"], made))
    to = cells["ntrex128/to-english/fra_Latn>eng_Latn"]
    assert list(to.queries) == ["fra 1 2", "fra 0 3", "fra 0 4"]
    assert answers(to) == [["English 1"], ["English 0"], ["English 0"]]
    assert len(set(to.query_ids)) == 2
    back = cells["ntrex128/from-english/eng_Latn>fra_Latn"]
    asked = dict(zip(back.queries, answers(back), strict=True))
    assert asked == {"English 0": ["fra 0 3", "fra 0 4"], "English 1": ["fra 1 2"]}
    few = cells["ntrex128/from-english/eng_Latn>yor_Latn"]
    assert (list(few.queries), answers(few)) == (["English 1"], [["yor 1 5"]])
    assert len(cells["ntrex128/to-english/yor_Latn>eng_Latn"].pool) == 2


def test_load_tasks_xquad_sentence_with_the_answer_is_right(made: Path) -> None:
    cells = by_key(load_tasks(["xquad-r"], made))
    assert len(cells) == 11 + 110 + 11
    cross = cells["xquad-r/cross/deu_Latn>eng_Latn"]
    assert list(cross.queries) == ["de?", "de!"]
    assert answers(cross) == [["en two."], ["en one."]]
    pooled = cells["xquad-r/pooled/deu_Latn>*"]
    assert answers(pooled)[0] == [f"{code} two." for code in sorted(xquad.FLORES)]
    assert Counter(pooled.pool.langs) == dict.fromkeys(xquad.FLORES.values(), 2)


def test_load_tasks_xquad_answer_outside_all_sentences_is_refused(tmp_path: Path) -> None:
    wrong = paragraph("ar")
    wrong["qas"][0]["answers"][0]["answer_start"] = 99
    (tmp_path / "eval" / "xquad-r").mkdir(parents=True)
    write_xquad(tmp_path / "eval" / "xquad-r" / "ar.json.gz", wrong)
    with pytest.raises(CorpusError, match=r"ar\.json\.gz.*question a: the answer starts at 99"):
        load_tasks(["xquad-r"], tmp_path)


@pytest.mark.parametrize(
    ("names", "languages", "message"),
    [
        (["laser"], [], "unknown task 'laser'; expected one of flores200"),
        (["tatoeba/pooled"], [], "tatoeba has no setting 'pooled'; it has to-english"),
        (["tatoeba"], ["swahili"], "no cell of tatoeba has the languages swahili"),
    ],
)
def test_load_tasks_unknown_name_is_refused(
    made: Path, names: list[str], languages: list[str], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        load_tasks(names, made, languages=languages)


def test_load_tasks_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in CORE:
        with pytest.raises(CorpusError, match="cannot read"):
            load_tasks([name], tmp_path)


def test_load_tasks_empty_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    columns = {"lang": ["swh", "swh"], "text": ["a", " "], "english": ["A", "B"]}
    pq.write_table(pa.table(columns), tmp_path / "eval" / "tatoeba-v1.parquet")
    with pytest.raises(CorpusError, match="column text, row 1: got an empty text"):
        load_tasks(["tatoeba"], tmp_path)


def test_core_tasks_are_tasks() -> None:
    assert set(CORE) <= set(TASKS)


def test_between_pairs_each_language_asks_and_answers_once() -> None:
    pairs = between_pairs([*LOW_RESOURCE_TRACK, "eng_Latn", "deu_Latn"])
    assert sorted(one for one, _ in pairs) == sorted(other for _, other in pairs)
    assert [one for one, _ in pairs] == sorted(LOW_RESOURCE_TRACK)
    assert all(one != other for one, other in pairs)


def test_pool_languages_are_english_and_each_part_of_the_track() -> None:
    parts = Counter(track_of(lang) for lang in POOL_LANGUAGES)
    assert parts == {"other": 1, "seen": 14, "related": 6, "unseen": 5}


def test_tatoeba_codes_are_all_of_lasers_and_distinct() -> None:
    assert len(FLORES) == len(set(FLORES.values())) == 112


@pytest.mark.data
def test_load_tasks_real_xquad_has_the_published_pool(real: Path) -> None:
    cells = by_key(load_tasks(["xquad-r"], real))
    sizes = {cell.document_lang: len(cell.pool) for cell in cells.values()}
    assert sizes == {
        "arb_Arab": 1222,
        "deu_Latn": 1276,
        "ell_Grek": 1234,
        "eng_Latn": 1180,
        "spa_Latn": 1215,
        "hin_Deva": 1244,
        "rus_Cyrl": 1219,
        "tha_Thai": 852,
        "tur_Latn": 1167,
        "vie_Latn": 1209,
        "zho_Hans": 1196,
        "*": 13014,
    }
    assert {len(cell.queries) for cell in cells.values()} == {1190}
    pooled = cells["xquad-r/pooled/zho_Hans>*"]
    assert {len(rows) for rows in pooled.relevant} == {11}
    english = cells["xquad-r/mono/eng_Latn>eng_Latn"]
    assert answers(english)[0] == [
        "The Panthers defense gave up just 308 points, ranking sixth in the league, while also "
        "leading the NFL in interceptions with 24 and boasting four Pro Bowl selections."
    ]


@pytest.mark.data
def test_load_tasks_real_tatoeba_has_lasers_pairs(real: Path) -> None:
    cells = load_tasks(["tatoeba"], real)
    assert (len(cells), sum(len(cell.queries) for cell in cells)) == (112, 88_877)


@pytest.mark.data
def test_load_tasks_real_flores_and_ntrex_have_all_languages(real: Path) -> None:
    cells = load_tasks(["flores200", "ntrex128"], real)
    assert len({cell.key for cell in cells}) == len(cells)
    settings = Counter((cell.task, cell.setting) for cell in cells)
    assert settings["flores200", "to-english"] == settings["flores200", "from-english"] == 204
    assert settings["ntrex128", "to-english"] == settings["ntrex128", "from-english"] == 121
    assert settings["flores200", "between"] == 147
    assert settings["flores200", "pooled"] == len(POOL_LANGUAGES)
