"""Reading files: every row of hostile files is read or refused by its number, in any cut."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bulk.parts import Layout, Part, Row, Source
from app.bulk.sources import find_sources, identify, open_reader
from app.errors import InvalidInputError

pa = pytest.importorskip("pyarrow", reason="pyarrow (the extra bulk) is not installed")
pq = pytest.importorskip("pyarrow.parquet")

SMALL = Layout(part_rows=2, max_row_bytes=100)


def source_of(path: Path, kind: Any) -> Source:
    return Source(str(path), path.name, kind, *identify(str(path)))


def plan(path: Path, kind: Any, layout: Layout = SMALL) -> list[Part]:
    return list(open_reader(source_of(path, kind), layout).plan({}))


def read(path: Path, kind: Any, layout: Layout = SMALL) -> list[Row]:
    """All rows, part by part, as a job reads them."""
    reader = open_reader(source_of(path, kind), layout)
    return [row for part in reader.plan({}) for row in reader.rows(part)]


def told(rows: Sequence[Row]) -> list[tuple[int, Any]]:
    """Numbers with the text, or the first word of what is wrong."""
    return [(r.number, r.error.split(" ")[0] if r.error else r.values.get("text")) for r in rows]


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_jsonl_hostile_lines_are_refused_by_number(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "first, behind a mark"}\r',
        b"",
        b"{not json}",
        b'["a", "list"]',
        b'{"text": "\xff\xfe"}',
        b'{"text": "\\ud800"}',
        b'{"text": "' + b"x" * 500 + b'"}',
        b"null",
        b'{"text": NaN}',
        b'{"text": "last, without an end"}',
    ]
    path = write(tmp_path / "a.jsonl", b"\n".join(lines))
    assert told(read(path, "jsonl")) == [
        (1, "first, behind a mark"),
        (3, "is"),
        (4, "is"),
        (5, "is"),
        (6, "is"),
        (7, "has"),
        (8, "is"),
        (9, "is"),
        (10, "last, without an end"),
    ]
    assert [row.error for row in read(path, "jsonl")][5].startswith("has more than 100 bytes")


def test_parts_tile_a_file_and_those_done_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "".join(f'{{"text": "t{n}"}}\n' for n in range(7)))
    reader = open_reader(source_of(path, "jsonl"), SMALL)
    parts = list(reader.plan({}))
    assert [part.first_row for part in parts] == [1, 3, 5, 7]
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert parts[-1].end == sum(part.bytes for part in parts) == path.stat().st_size
    done = {part.start: part for part in (parts[0], parts[2])}
    assert list(reader.plan(done)) == [parts[1], parts[3]]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "text", "document"])
def test_empty_file_has_no_rows(tmp_path: Path, kind: str) -> None:
    assert read(write(tmp_path / "empty", b""), kind) == []


@pytest.mark.parametrize("kind", ["jsonl", "csv", "text", "document"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf_16_is_refused_by_name(tmp_path: Path, kind: str, encoding: str) -> None:
    path = write(tmp_path / "a", "text\nsome\n".encode(encoding))
    with pytest.raises(InvalidInputError, match=f"is {encoding.upper()}; expected UTF-8"):
        read(path, kind)


def test_text_lines_are_documents_in_the_encoding_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "señor\n\n  \nniño\r\n".encode("cp1252"))
    assert told(read(path, "text")) == [(1, "is"), (4, "is")]
    found = read(path, "text", Layout(encoding="cp1252"))
    assert told(found) == [(1, "señor"), (4, "niño")]
    with pytest.raises(InvalidInputError, match="no encoding that writes ASCII as ASCII"):
        read(path, "text", Layout(encoding="utf-16-le"))


def test_whole_file_is_one_document(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\ntwo\n")
    assert told(read(path, "document")) == [(1, "one\ntwo\n")]
    assert told(read(write(path, "x" * 101), "document")) == [(1, "has")]
    assert told(read(write(path, b"\xff"), "document")) == [(1, "is")]


def test_csv_hostile_records_are_refused_and_the_next_are_read(tmp_path: Path) -> None:
    content = (
        b"\xef\xbb\xbftext, note\r\n"  # 1
        b'"two\nlines, ""quoted""",x\r\n'  # 2, 3
        b"too,many,fields\n"  # 4
        b"few\n"  # 5
        b"\n"  # 6
        b'"closed"badly,x\n'  # 7
        b"na\xefve,x\n"  # 8
        b'"never closed,x\n'  # 9
        b"fine,x\n"  # 10
        + b"y" * 300
        + b",x\n"  # 11
        + "ñandú,x\n".encode()  # 12
        + b'"open at the end,x'  # 13
    )
    path = write(tmp_path / "a.csv", content)
    for part_rows in (1, 2, 3, 100):
        rows = read(path, "csv", Layout(part_rows=part_rows, max_row_bytes=100))
        assert told(rows) == [
            (2, 'two\nlines, "quoted"'),
            (4, "has"),
            (5, "has"),
            (7, "is"),
            (8, "is"),
            (9, "has"),
            (10, "fine"),
            (11, "has"),
            (12, "ñandú"),
            (13, "is"),
        ]
        assert rows[0].values["note"] == "x"


def test_tsv_quotes_are_letters_unless_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tn\n"half\t1\n"whole"\t2\n')
    assert told(read(path, "tsv")) == [(2, '"half'), (3, '"whole"')]
    assert told(read(path, "tsv", Layout(quoted=True, max_row_bytes=100)))[1] == (3, "whole")
    other = write(tmp_path / "b.csv", "text;n\na,b;1\n")
    assert told(read(other, "csv", Layout(delimiter=";"))) == [(2, "a,b")]


@pytest.mark.parametrize("head", ["\n", '"open', "a,a\n"])
def test_csv_without_a_sound_header_is_refused(tmp_path: Path, head: str) -> None:
    path = write(tmp_path / "a.csv", head)
    with pytest.raises(InvalidInputError, match=r"a\.csv"):
        read(path, "csv")


fields = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)


@given(st.lists(st.tuples(fields, fields), max_size=12), st.integers(1, 5), st.data())
def test_csv_any_table_comes_back_in_any_cut(
    tmp_path_factory: pytest.TempPathFactory, table: Any, part_rows: int, data: Any
) -> None:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([("text", "b"), *table])
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", out.getvalue())
    layout = Layout(part_rows=part_rows)
    assert [tuple(row.values.values()) for row in read(path, "csv", layout)] == table
    reader = open_reader(source_of(path, "csv"), layout)
    parts = list(reader.plan({}))
    done = data.draw(st.sets(st.sampled_from(parts))) if parts else set()
    left = [part for part in parts if part not in done]
    assert list(reader.plan({part.start: part for part in done})) == left


def table_of(path: Path, rows: int, **options: Any) -> Path:
    table = pa.table({"text": [f"t{n}" for n in range(rows)], "n": list(range(rows))})
    pq.write_table(table, path, **options)
    return path


def test_parquet_reads_row_groups_in_parts_and_in_any_order(tmp_path: Path) -> None:
    path = table_of(tmp_path / "a.parquet", 5000, row_group_size=3000)
    layout = Layout(part_rows=700)
    parts = plan(path, "parquet", layout)
    assert [part.rows for part in parts] == [700] * 4 + [200] + [700] * 2 + [600]
    expected = [(n + 1, f"t{n}") for n in range(5000)]
    assert told(read(path, "parquet", layout)) == expected
    reader = open_reader(source_of(path, "parquet"), layout)
    for order in (parts[::-1], parts[::2], parts[1::3]):
        for part in order:
            rows = told(list(reader.rows(part)))
            assert rows == expected[part.start : part.end]


def test_parquet_reads_only_the_columns_wanted(tmp_path: Path) -> None:
    path = table_of(tmp_path / "a.parquet", 3)
    rows = read(path, "parquet", Layout(only=("text", "absent")))
    assert rows[0].values == {"text": "t0"}


def test_parquet_values_become_plain_ones(tmp_path: Path) -> None:
    import datetime
    import decimal

    table = pa.table(
        {
            "text": pa.array(["a"]).dictionary_encode(),
            "day": [datetime.date(2026, 11, 25)],
            "time": [datetime.datetime(2026, 11, 25, 9, 30)],
            "price": [decimal.Decimal("1.50")],
            "nan": [float("nan")],
            "null": pa.array([None], pa.string()),
            "list": [[1, 2]],
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert read(path, "parquet")[0].values == {
        "text": "a",
        "day": "2026-11-25",
        "time": "2026-11-25T09:30:00",
        "price": "1.50",
        "nan": None,
        "null": None,
        "list": [1, 2],
    }


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 nothing PAR1", b"x" * 200])
def test_parquet_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.parquet", content)
    with pytest.raises(InvalidInputError, match="no sound Parquet file"):
        read(path, "parquet")


def test_parquet_damaged_inside_refuses_the_rows_of_the_part(tmp_path: Path) -> None:
    path = table_of(tmp_path / "a.parquet", 2000, row_group_size=1000, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    begin = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    for offset in range(begin + 40, begin + 80):
        content[offset] ^= 0xFF
    write(path, bytes(content))
    rows = read(path, "parquet", Layout(part_rows=500))
    assert [row.number for row in rows] == list(range(1, 2001))
    assert [bool(row.error) for row in rows] == [False] * 1000 + [True] * 1000
    assert "cannot be decoded" in rows[-1].error


@pytest.mark.parametrize("kind", ["jsonl", "csv", "text"])
def test_file_cut_while_it_is_read_is_noticed(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a", 'text\n{"text": "a"}\n{"text": "b"}\n')
    reader = open_reader(source_of(path, kind), Layout(part_rows=2))
    part = list(reader.plan({}))[-1]
    write(path, path.read_bytes()[: part.start + 3])
    with pytest.raises(InvalidInputError, match="changed while it was read"):
        list(reader.rows(part))


def test_find_sources_takes_files_folders_and_patterns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.jsonl", "a.csv", "sub/c.txt", "sub/d.md", ".hidden.csv", "sub/.e/f.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        write(tmp_path / name, "text\n")
    monkeypatch.chdir(tmp_path)
    found, others = find_sources(["."])
    assert [(one.label, one.kind) for one in found] == [
        ("a.csv", "csv"),
        ("b.jsonl", "jsonl"),
        ("sub/c.txt", "text"),
    ]
    assert [Path(path).name for path in others] == ["d.md"]
    # The same labels from wherever it is called, and by a pattern.
    assert find_sources([str(tmp_path)])[0] == found
    assert [one.label for one in find_sources([f"{tmp_path}/**/*.txt"])[0]] == ["sub/c.txt"]
    assert len(find_sources(["a.csv", str(tmp_path / "a.csv"), "*.csv"])[0]) == 1
    assert find_sources(["sub/d.md"], "text", whole_files=True)[0][0].kind == "document"


def test_jsonl_row_is_what_json_says(tmp_path: Path) -> None:
    values = {"text": "á", "n": [1, {"x": None}], "f": 1.5}
    path = write(tmp_path / "a.jsonl", json.dumps(values))
    assert read(path, "jsonl")[0].values == values
