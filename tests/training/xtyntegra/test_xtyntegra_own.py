"""The task of one's own texts: what is read, and what is refused with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.registry import CorpusError
from training.xtyntegra import command, own
from training.xtyntegra.result import read_run
from training.xtyntegra.task import Cell
from training.xtyntegra.tasks import load_tasks

from .small_runs import WORDS, save_encoder

DOCUMENTS = [
    {"_id": "d1", "title": "Cats", "text": "They purr.", "lang": "eng_Latn", "metadata": {}},
    {"_id": "d2", "text": "They bark.", "lang": "eng_Latn"},
    {"_id": "d3", "title": "", "text": "Others.", "lang": "eng_Latn"},
]
ASKED = [
    {"_id": "1", "text": "paka", "lang": "swh_Latn"},
    {"_id": "2", "text": "dogs", "lang": "eng_Latn"},
    {"_id": "3", "text": "nobody knows", "lang": "eng_Latn"},
    {"_id": "4", "text": "paka na mbwa", "lang": "swh_Latn"},
]
QRELS = ["query-id\tcorpus-id\tscore", "1\td1\t1", "2\td2\t2", "4\td2\t1", "4\td1\t1", "4\td3\t0"]


def write(folder: Path, name: str, lines: list[Any]) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "corpus.jsonl", DOCUMENTS)
    write(tmp_path, "queries.jsonl", ASKED)
    write(tmp_path, "qrels.tsv", QRELS)
    return tmp_path


def answers(cell: Cell) -> dict[str, list[str]]:
    return {
        query: [cell.pool.doc_ids[int(row)] for row in rows]
        for query, rows in zip(cell.queries, cell.relevant, strict=True)
    }


def without_lang(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key != "lang"} for one in records]


def test_own_each_query_language_is_a_cell_over_all_documents(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    english, swahili = own.load(folder)
    assert (english.key, swahili.key) == (
        "own/mono/eng_Latn>eng_Latn",
        "own/cross/swh_Latn>eng_Latn",
    )
    assert answers(english) == {"dogs": ["d2"]}
    assert answers(swahili) == {"paka": ["d1"], "paka na mbwa": ["d1", "d2"]}
    assert list(swahili.query_ids) == ["own:1", "own:4"]
    assert list(english.pool.texts) == ["Cats They purr.", "They bark.", "Others."]
    assert english.pool is swahili.pool
    assert "1 of 4 queries have no right document" in caplog.text


def test_own_documents_of_two_languages_are_one_pool(folder: Path) -> None:
    write(folder, "corpus.jsonl", [*DOCUMENTS[:2], DOCUMENTS[2] | {"lang": "yor_Latn"}])
    assert [cell.key for cell in own.load(folder)] == [
        "own/pooled/eng_Latn>*",
        "own/pooled/swh_Latn>*",
    ]
    (swahili,) = load_tasks(["own"], folder, languages=["swh_Latn"], own_folder=folder)
    assert swahili.query_lang == "swh_Latn"
    assert list(swahili.pool.langs) == ["eng_Latn", "eng_Latn", "yor_Latn"]


def test_own_files_without_languages_go_by_their_script(folder: Path) -> None:
    write(folder, "corpus.jsonl", without_lang(DOCUMENTS))
    cyrillic = [{"_id": "1", "text": "кошки и dogs"}, {"_id": "2", "text": "собаки"}]
    write(folder, "queries.jsonl", cyrillic)
    write(folder, "qrels.tsv", ["1\td1\t1", "2\td2\t1"])
    (cell,) = own.load(folder)
    assert cell.key == "own/cross/und_Cyrl>und_Latn"


def test_own_qrels_of_beir_are_read_and_two_of_them_are_refused(folder: Path) -> None:
    write(folder, "qrels/test.tsv", QRELS)
    with pytest.raises(CorpusError, match=r"got both of qrels\.tsv or qrels/test\.tsv"):
        own.load(folder)
    (folder / "qrels.tsv").unlink()
    assert len(own.load(folder)) == 2
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(CorpusError, match="got neither of"):
        own.load(folder)


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("qrels.tsv", ["1\td9\t1"], r"qrels\.tsv, line 1: got the id 'd9'; expected one of corpus"),
        ("qrels.tsv", ["9\td1\t1"], r"line 1: got the id '9'; expected one of queries\.jsonl"),
        ("qrels.tsv", ["1\td1\t0.5"], "line 1: got the score '0.5'; expected a whole number"),
        ("qrels.tsv", ["1 0 d1 1"], "line 1: got 1 fields between tabs; expected 3: query-id"),
        ("qrels.tsv", ["1\td1\t0"], "no query has a right document; expected scores from 1"),
        ("corpus.jsonl", ["{"], r"corpus\.jsonl, line 1: no JSON .*; expected \{\"_id\""),
        ("corpus.jsonl", ["[1]"], r"line 1: got '\[1\]'; expected"),
        ("corpus.jsonl", [{"_id": 1, "text": "a"}], "line 1: got .*; expected"),
        ("corpus.jsonl", [{"_id": "d1"}], "line 1: got .*; expected"),
        ("corpus.jsonl", [DOCUMENTS[0], DOCUMENTS[0]], "got the id 'd1' 2 times"),
        ("corpus.jsonl", [{"_id": "d1", "text": " "}], "line 1: got no text of 'd1'"),
        ("corpus.jsonl", [DOCUMENTS[0] | {"lang": "en"}], "line 1: lang 'en' is malformed"),
        ("corpus.jsonl", [DOCUMENTS[0], {"_id": "d2", "text": "b"}], "1 of 2 lines, such as .d2."),
        ("corpus.jsonl", [], r"corpus\.jsonl is empty"),
    ],
)
def test_own_wrong_file_is_refused_with_its_line(
    folder: Path, name: str, lines: list[Any], message: str
) -> None:
    write(folder, name, lines)
    with pytest.raises(CorpusError, match=message):
        own.load(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_own_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CorpusError, match=f"cannot read .*{name}: No such file"):
        own.load(folder)
    with pytest.raises(CorpusError, match="nowhere is no folder"):
        own.load(folder / "nowhere")


def test_load_tasks_own_without_folder_says_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="name their folder with --own"):
        load_tasks(["own"], tmp_path)


def test_bench_own_alone_is_measured_and_attacked_without_the_corpora(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path / "nowhere"))
    texts = [
        " ".join(WORDS[(7 * row + word) % len(WORDS)] for word in range(6)) for row in range(9)
    ]
    mine = tmp_path / "mine"
    write(mine, "corpus.jsonl", [{"_id": str(row), "text": text} for row, text in enumerate(texts)])
    write(
        mine, "queries.jsonl", [{"_id": str(row), "text": text} for row, text in enumerate(texts)]
    )
    write(mine, "qrels.tsv", [f"{row}\t{row}\t1" for row in range(9)])
    encoder, out = save_encoder(tmp_path / "encoder"), tmp_path / "run"
    arguments = ["xtyntegra", str(encoder), "--own", str(mine), "--out", str(out)]
    chosen = ["--attacks", "word_deletion", "--draws", "1", "--resamples", "200"]
    assert command.main([*arguments, *chosen]) == 0
    assert "own/mono" in capsys.readouterr().out
    with read_run(out) as run:
        cells = {cell["condition"]: cell for cell in run.result["cells"]}
        assert run.result["protocol"]["tasks"]["own"]["queries"] == 9
    assert cells["clean"]["metrics"]["accuracy@1"]["value"] == 1.0
    assert cells["word_deletion/edits=1"]["queries"] == 9
    assert "Your own texts" in (out / "report.html").read_text(encoding="utf-8")
