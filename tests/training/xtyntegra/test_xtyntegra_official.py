"""Readers of XTREME's and XGLUE's retrieval tasks, on small files made in their formats."""

import json
from pathlib import Path

import pytest

from training.corpus import CorpusError
from training.xtyntegra.task import Cell
from training.xtyntegra.tasks import REFUSED, load_tasks
from training.xtyntegra.xquad import FLORES


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def answers(cell: Cell) -> dict[str, list[str]]:
    return {
        query: [str(cell.pool.texts[int(row)]) for row in rows]
        for query, rows in zip(cell.queries, cell.relevant, strict=True)
    }


@pytest.fixture
def tatoeba(tmp_path: Path) -> Path:
    folder = tmp_path / "xtreme"
    write(folder / "tatoeba" / "af-en.af", "kat", "hond", "voël")
    write(folder / "tatoeba" / "af-en.en", "bird", "cat", "dog")
    write(folder / "labels" / "tatoeba" / "test-af.tsv", "1", "2", "0")
    return folder


def test_xtreme_tatoeba_answers_follow_the_labels(tatoeba: Path) -> None:
    (cell,) = load_tasks(["xtreme-tatoeba"], tatoeba.parent)
    assert cell.key == "xtreme-tatoeba/to-english/afr_Latn>eng_Latn"
    assert answers(cell) == {"kat": ["cat"], "hond": ["dog"], "voël": ["bird"]}


def test_xtreme_tatoeba_without_labels_says_where_they_belong(tatoeba: Path) -> None:
    (tatoeba / "labels" / "tatoeba" / "test-af.tsv").unlink()
    with pytest.raises(CorpusError, match=r"af-en\.af: XTREME sorts.*test-af\.tsv, or LASER's"):
        load_tasks(["xtreme-tatoeba"], tatoeba.parent)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "3", "0"], r"test-af\.tsv, line 2: got '3'; expected a line of af-en\.en, from 0"),
        (["1", "two", "0"], r"line 2: got 'two'"),
        (["1", "2\t0", "0"], r"line 2: got 2 fields between tabs; expected 1"),
        (["1", "2"], r"test-af\.tsv: got 2 lines; expected 3"),
    ],
)
def test_xtreme_tatoeba_wrong_labels_are_refused(
    tatoeba: Path, labels: list[str], message: str
) -> None:
    write(tatoeba / "labels" / "tatoeba" / "test-af.tsv", *labels)
    with pytest.raises(CorpusError, match=message):
        load_tasks(["xtreme-tatoeba"], tatoeba.parent)


def test_xtreme_tatoeba_files_of_laser_are_read_line_by_line(tmp_path: Path) -> None:
    folder = tmp_path / "xtreme" / "tatoeba"
    write(folder / "tatoeba.swh-eng.swh", "paka", "mbwa")
    english = write(folder / "tatoeba.swh-eng.eng", "cat", "dog")
    (cell,) = load_tasks(["xtreme-tatoeba"], tmp_path, languages=["swh_Latn"])
    assert answers(cell) == {"paka": ["cat"], "mbwa": ["dog"]}
    write(english, "cat")
    with pytest.raises(CorpusError, match="got 2 lines and 1 in English"):
        load_tasks(["xtreme-tatoeba"], tmp_path)


def test_xtreme_tatoeba_empty_line_and_wrong_bytes_are_named(tatoeba: Path) -> None:
    path = write(tatoeba / "tatoeba" / "af-en.af", "kat", "", "voël")
    with pytest.raises(CorpusError, match=r"af-en\.af, line 2: got an empty line"):
        load_tasks(["xtreme-tatoeba"], tatoeba.parent)
    path.write_bytes(b"kat\nhond\nvo\xebl\n")
    with pytest.raises(CorpusError, match=r"af-en\.af, line 3: got bytes that are not UTF-8"):
        load_tasks(["xtreme-tatoeba"], tatoeba.parent)


@pytest.fixture
def bucc(tmp_path: Path) -> Path:
    folder = tmp_path / "xtreme" / "bucc2018"
    write(folder / "de-en.dev.de", "de-1\tHund", "de-2\tohne", "de-3\tKatze")
    write(folder / "de-en.dev.en", "en-1\tcat", "en-2\tdog", "en-3\talone")
    write(folder / "de-en.dev.gold", "de-3\ten-1", "de-1\ten-2")
    return folder


def test_xtreme_bucc_sentences_with_a_translation_search_all_english(bucc: Path) -> None:
    (cell,) = load_tasks(["xtreme-bucc"], bucc.parents[1])
    assert cell.key == "xtreme-bucc/to-english/deu_Latn>eng_Latn"
    assert answers(cell) == {"Katze": ["cat"], "Hund": ["dog"]}
    assert list(cell.query_ids) == ["xtreme-bucc:de-3", "xtreme-bucc:de-1"]
    assert len(cell.pool) == 3


def test_xtreme_bucc_repeated_english_sentences_are_one_document_and_tabs_are_text(
    bucc: Path,
) -> None:
    english = ["en-1\tcat", "en-2\tdog", "en-3\tcat", "en-4\ta\ttab"]
    write(bucc / "de-en.dev.en", *english)
    write(bucc / "de-en.dev.gold", "de-3\ten-3", "de-1\ten-2", "de-3\ten-1")
    (cell,) = load_tasks(["xtreme-bucc"], bucc.parents[1])
    assert list(cell.pool.texts) == ["cat", "dog", "a\ttab"]
    assert list(cell.pool.doc_ids) == ["en-1", "en-2", "en-4"]
    assert answers(cell) == {"Katze": ["cat"], "Hund": ["dog"]}


def test_xtreme_tatoeba_languages_of_both_releases_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "xtreme"
    for code in ("af", "az", "lt", "pl", "ro", "uk"):
        write(folder / "tatoeba" / f"{code}-en.{code}", code)
        write(folder / "tatoeba" / f"{code}-en.en", "one")
        write(folder / "labels" / "tatoeba" / f"test-{code}.tsv", "0")
    found = {cell.query_lang for cell in load_tasks(["xtreme-tatoeba"], tmp_path)}
    assert found == {"afr_Latn", "azj_Latn", "lit_Latn", "pol_Latn", "ron_Latn", "ukr_Cyrl"}


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (
            "gold",
            ["de-1\ten-9"],
            r"gold, line 1: got the id 'en-9'; expected one of de-en\.dev\.en",
        ),
        ("gold", ["de-1"], r"gold, line 1: got 1 fields between tabs; expected 2: id of de, id of"),
        ("en", ["en-1\tcat", "en-1\tdog"], r"dev\.en, line 2: got id 'en-1'.*no line before has"),
        ("de", ["de-1\t"], r"dev\.de, line 1: got id 'de-1' and a text of 0 characters"),
    ],
)
def test_xtreme_bucc_wrong_lines_are_named(
    bucc: Path, name: str, lines: list[str], message: str
) -> None:
    write(bucc / f"de-en.dev.{name}", *lines)
    with pytest.raises(CorpusError, match=message):
        load_tasks(["xtreme-bucc"], bucc.parents[1])


def test_xtreme_lareqa_files_are_read_as_xquad(tmp_path: Path) -> None:
    for code in FLORES:
        paragraph = {
            "context": f"{code} one. {code} two.",
            "sentence_breaks": [[0, 7], [8, 15]],
            "qas": [{"id": "a", "question": f"{code}?", "answers": [{"answer_start": 11}]}],
        }
        text = json.dumps({"data": [{"paragraphs": [paragraph]}]})
        write(tmp_path / "xtreme" / "lareqa" / "xquad-r" / f"{code}.json", text)
    cells = {cell.key: cell for cell in load_tasks(["xtreme-lareqa"], tmp_path)}
    assert len(cells) == 132
    assert answers(cells["xtreme-lareqa/cross/deu_Latn>eng_Latn"]) == {"de?": ["en two."]}


def test_xglue_wpr_good_pages_are_right_and_shared_pages_are_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        tmp_path / "xglue" / "WPR" / "xglue.wpr.de.dev",
        "wetter\tWetter heute\tSonne\tPerfect",
        "wetter\tKatzen\tmiau\t0",
        "katze\tKatzen\tmiau\t2",
        "katze\tWetter heute\tSonne\tfair",
        "nichts\tKatzen\tmiau\tBad",
    )
    (cell,) = load_tasks(["xglue-wpr"], tmp_path)
    assert cell.key == "xglue-wpr/mono/deu_Latn>deu_Latn"
    assert answers(cell) == {"wetter": ["Wetter heute Sonne"], "katze": ["Katzen miau"]}
    assert len(cell.pool) == 2
    assert "1 of 3 queries have no right document" in caplog.text


def test_xglue_qadsm_and_qam_are_read_by_their_labels(tmp_path: Path) -> None:
    write(
        tmp_path / "xglue" / "QADSM" / "xglue.qadsm.fr.dev",
        "vélo\tVélos\t\tGood",
        "vélo\tAutos\tpas cher\tBad",
    )
    write(tmp_path / "xglue" / "QAM" / "xglue.qam.en.dev", "who?\tshe did\t1", "who?\tno\t0")
    ads, passages = load_tasks(["xglue-qadsm", "xglue-qam"], tmp_path)
    assert (ads.query_lang, answers(ads)) == ("fra_Latn", {"vélo": ["Vélos"]})
    assert (passages.query_lang, answers(passages)) == ("eng_Latn", {"who?": ["she did"]})
    assert (len(ads.pool), len(passages.pool)) == (2, 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q\ttitle\tsnippet", r"wpr\.en\.dev, line 2: got 3 fields.*query, title, snippet, label"),
        ("q\ttitle\tsnippet\t5", r"line 2: .*the label '5'; expected texts and one of bad, fair"),
        ("\ttitle\tsnippet\t1", r"line 2: got a query of 0 characters"),
        ("q\t\t\t1", r"line 2: got a query of 1 characters, a document of 0"),
    ],
)
def test_xglue_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path / "xglue" / "WPR" / "xglue.wpr.en.dev", "q\tt\ts\t4", line)
    with pytest.raises(CorpusError, match=message):
        load_tasks(["xglue-wpr"], tmp_path)


def test_xglue_file_without_right_documents_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "xglue" / "QAM" / "xglue.qam.en.dev", "who?\tno\t0")
    with pytest.raises(CorpusError, match="got no query with a right document"):
        load_tasks(["xglue-qam"], tmp_path)


@pytest.mark.parametrize("languages", [[], ["deu_Latn"]])
@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("xtreme-tatoeba", "af-en.af"),
        ("xtreme-bucc", "de-en.dev.de"),
        ("xtreme-lareqa", "ar.json"),
        ("xglue-wpr", "xglue.wpr.en.dev"),
    ],
)
def test_load_tasks_official_files_not_there_are_named(
    tmp_path: Path, name: str, example: str, languages: list[str]
) -> None:
    with pytest.raises(CorpusError, match=example.replace(".", r"\.")):
        load_tasks([name], tmp_path, languages=languages)


def test_load_tasks_formats_not_known_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name, reason in REFUSED.items():
        with pytest.raises(CorpusError, match=f"{name} cannot be read: {reason}"):
            load_tasks([name], tmp_path)
