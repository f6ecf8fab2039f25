"""Own pairs of query and document, in five shapes, as Parquet for training."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.conversion import Columns, Outcome, Skip, convert
from training.data.rows import ConversionError, format_of, read_aligned, read_rows

GOOD = {
    "query": "Where does the bus go?",
    "document": "Basi huenda sokoni.",
    "lang_query": "eng_Latn",
    "lang_document": "swh_Latn",
}
COLUMNS = Columns()


def run(
    path: Path, columns: Columns = COLUMNS, header: tuple[str, ...] = (), **options: Any
) -> tuple[list[dict[str, Any]], Outcome, list[Skip]]:
    skips: list[Skip] = []
    out = path.with_name("out.parquet")
    rows = read_rows(path, format_of(path), columns.needed, header)
    outcome = convert(rows, out, columns, report=skips.append, **options)
    return pq.read_table(out).to_pylist(), outcome, skips


def write_jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_all(folder: Path, row: dict[str, str]) -> list[Path]:
    """The same row in every format."""
    tabs, commas = "\t".join(row), ",".join(row)
    cells = [*row.values()]
    quoted = ",".join(f'"{cell}"' for cell in cells)
    pq.write_table(pa.Table.from_pylist([row]), folder / "a.parquet")
    (folder / "a.tsv").write_text(f"\ufeff{tabs}\r\n" + "\t".join(cells) + "\r\n")
    (folder / "a.csv").write_text(f"{commas}\n{quoted}\n")
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    return [folder / name for name in ("a.parquet", "a.tsv", "a.csv", "a.jsonl.gz")]


def test_convert_reads_every_format_alike(tmp_path: Path) -> None:
    row = {**GOOD, "document": "  Basi  huenda sokoni, cafe\u0301. "}
    expected = {**GOOD, "document": "Basi huenda sokoni, caf\u00e9."}
    for path in write_all(tmp_path, row):
        pairs, outcome, skips = run(path)
        assert pairs == [expected], path
        assert (outcome.written, skips) == (1, [])
    assert [field.name for field in pq.read_schema(tmp_path / "out.parquet")] == [*GOOD]


def test_convert_names_columns_and_gives_languages(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('frage,antwort\n"Wo, bitte?","Auf dem\nMarkt"\n')
    columns = Columns(
        "frage", "antwort", constants={"lang_query": "deu_Latn", "lang_document": "deu_Latn"}
    )
    pairs, _, _ = run(path, columns)
    assert pairs == [
        {
            "query": "Wo, bitte?",
            "document": "Auf dem Markt",
            "lang_query": "deu_Latn",
            "lang_document": "deu_Latn",
        }
    ]


def test_convert_names_the_columns_of_a_file_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('say "hi"\tsema hujambo\n')
    constants = {"lang_query": "eng_Latn", "lang_document": "swh_Latn"}
    pairs, _, _ = run(path, Columns(constants=constants), ("query", "document"))
    assert [(pair["query"], pair["document"]) for pair in pairs] == [('say "hi"', "sema hujambo")]


def test_convert_skips_and_reports_rows_that_cannot_be_used(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "a.jsonl",
        GOOD,
        {**GOOD, "query": " \u0007 "},
        {key: value for key, value in GOOD.items() if key != "document"},
        {**GOOD, "query": 7},
        {**GOOD, "document": GOOD["query"] + "  "},
        {**GOOD, "lang_query": "en"},
        {**GOOD, "lang_document": "swh_Abcd"},
        {**GOOD, "query": "\ud800"},
        ["a", "list"],
        GOOD,
    )
    with path.open("ab") as file:
        file.write(b'{"query": "broken\n\n')
        file.write(json.dumps(GOOD).encode().replace(b"bus", b"b\xfcs") + b"\n")
    pairs, outcome, skips = run(path)
    assert len(pairs) == outcome.written == 2
    assert [(skip.line, skip.reason) for skip in skips] == [
        (2, "empty text"),
        (3, "no value"),
        (4, "not a text"),
        (5, "same text on both sides"),
        (6, "unknown language code"),
        (7, "unknown language code"),
        (8, "not UTF-8"),
        (9, "no JSON object"),
        (11, "not JSON"),
        (13, "not UTF-8"),
    ]
    assert outcome.skipped["unknown language code"] == 2
    assert "'en'; expected ISO 639-3 and ISO 15924, such as 'yor_Latn'" in skips[4].detail


def test_convert_reports_the_lines_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    good = "\t".join(GOOD.values())
    path.write_text("\t".join(GOOD) + f"\n{good}\nonly one\n\n{good}\tmore\n{good}\n")
    _, outcome, skips = run(path)
    assert outcome.written == 2
    assert [(skip.line, skip.detail) for skip in skips] == [
        (3, "1, expected 4"),
        (5, "5, expected 4"),
    ]


def test_convert_reads_csv_on_after_a_line_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = ",".join(GOOD.values())
    path.write_text(",".join(GOOD) + f'\n"a"b,c,d,e\n{good}\n')
    _, outcome, skips = run(path)
    assert outcome.written == 1
    assert [(skip.line, skip.reason) for skip in skips] == [(2, "not CSV")]


def test_convert_keeps_negatives_that_are_none_of_the_answer(tmp_path: Path) -> None:
    columns = Columns(negatives="wrong")
    wrong = ["Basi  huenda sokoni.", "", None, "Duka limefungwa."]
    path = write_jsonl(
        tmp_path / "a.jsonl", {**GOOD, "wrong": wrong}, GOOD, {**GOOD, "wrong": "no list"}
    )
    pairs, outcome, skips = run(path, columns)
    assert [pair["negatives"] for pair in pairs] == [["Duka limefungwa."], []]
    assert (outcome.negatives, outcome.dropped_negatives) == (1, 3)
    assert [(skip.line, skip.reason) for skip in skips] == [(3, "negatives are no list")]
    cells = "\t".join([*GOOD.values(), '["Duka limefungwa."]'])
    (tmp_path / "b.tsv").write_text("\t".join([*GOOD, "wrong"]) + f"\n{cells}\n")
    pairs, _, _ = run(tmp_path / "b.tsv", columns)
    assert pairs[0]["negatives"] == ["Duka limefungwa."]


def test_convert_strict_fails_at_the_first_row_and_writes_nothing(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", GOOD, {**GOOD, "query": ""}, GOOD)
    with pytest.raises(ConversionError, match="line 2: empty text in query"):
        run(path, strict=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_convert_without_a_usable_row_fails_and_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_bytes(b"old")
    with pytest.raises(ConversionError, match=r"no row is left .* \(1 no JSON object\)"):
        run(write_jsonl(tmp_path / "a.jsonl", 1))
    assert (tmp_path / "out.parquet").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_convert_constant_that_is_no_language_is_refused(tmp_path: Path) -> None:
    columns = Columns(constants={"lang_query": "yo"})
    with pytest.raises(ConversionError, match="language code 'yo'; expected ISO 639-3"):
        run(write_jsonl(tmp_path / "a.jsonl", GOOD), columns)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.parquet"])
def test_read_rows_without_a_column_names_it_and_those_there(tmp_path: Path, name: str) -> None:
    write_all(tmp_path, GOOD)
    with pytest.raises(ConversionError, match="lacks the columns question; it has 'query', 'doc"):
        run(tmp_path / name, Columns(query="question"))


def test_read_rows_of_no_file_or_a_damaged_one_fails_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"cannot read .*none\.tsv"):
        run(tmp_path / "none.tsv")
    for name in ("a.parquet", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8bnot really")
        with pytest.raises(ConversionError, match=f"cannot read .*{name}"):
            run(tmp_path / name)
    with pytest.raises(ConversionError, match=r"format of a\.xlsx: give it with --format"):
        format_of(Path("a.xlsx"))


def test_read_aligned_joins_lines_and_refuses_files_of_other_lengths(tmp_path: Path) -> None:
    queries, documents = tmp_path / "en.txt", tmp_path / "sw.txt"
    queries.write_text("One.\n\nThree.\n")
    documents.write_text("Moja.\nMbili.\nTatu.")
    columns = Columns(constants={"lang_query": "eng_Latn", "lang_document": "swh_Latn"})
    out = tmp_path / "out.parquet"
    outcome = convert(read_aligned(queries, documents), out, columns)
    assert pq.read_table(out).column("document").to_pylist() == ["Moja.", "Tatu."]
    assert outcome.skipped == {"empty text": 1}
    documents.write_text("Moja.\n")
    with pytest.raises(ConversionError, match=r"sw\.txt ends after line 1"):
        convert(read_aligned(queries, documents), out, columns)


def test_convert_writes_groups_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.conversion.GROUP", 3)
    rows = [{**GOOD, "query": f"question {number}"} for number in range(8)]
    pairs, outcome, _ = run(write_jsonl(tmp_path / "a.jsonl", *rows))
    assert [pair["query"] for pair in pairs] == [row["query"] for row in rows]
    assert outcome.written == 8
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 3
