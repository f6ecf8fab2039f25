import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from training.classification.pairs import PairsError, read_pairs
from training.classification.tasks import PAWSX, TASKS, XNLI

LANGS = ("eng_Latn", "deu_Latn")
HEADER = "id\tsentence1\tsentence2\tlabel\n"


def write(folder: Path, text: str, name: str = "en/test_2k.tsv") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode())


def test_tasks_have_the_languages_of_their_papers() -> None:
    assert {name: len(task.languages) for name, task in TASKS.items()} == {"pawsx": 7, "xnli": 15}
    assert {len(task.labels) for task in TASKS.values()} == {2, 3}


def test_read_pairs_pawsx_keeps_ids_texts_and_labels(tmp_path: Path) -> None:
    write(tmp_path, HEADER + "7\ta  b\tc \t1\n9\td\te\t0\n")
    pairs = read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])["eng_Latn"]
    assert (pairs.ids, pairs.first, pairs.second) == (("7", "9"), ("a b", "d"), ("c", "e"))
    assert pairs.labels.tolist() == [1, 0]
    assert (pairs.rows, pairs.numbered, pairs.skipped) == (2, False, {})


def test_read_pairs_quotation_marks_are_text(tmp_path: Path) -> None:
    write(tmp_path, HEADER + '1\t"open\tis "it"\t1\n2\t"\tb"\t0\n')
    pairs = read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])["eng_Latn"]
    assert pairs.first == ('"open', '"')
    assert pairs.second == ('is "it"', 'b"')


def test_read_pairs_carriage_returns_and_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    write(tmp_path, "\ufeff" + HEADER.replace("\n", "\r\n") + "1\ta\rb\tc\t1\r\n\r\n2\td\te\t0")
    pairs = read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])["eng_Latn"]
    assert pairs.first == ("a b", "d")


def test_read_pairs_bad_rows_are_counted_by_reason_with_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        "1\ta\tb\t1",
        "2\t\tb\t1",
        "3\ta\tNS\t0",
        "4\ta\tb",
        "5\ta\tb\t2",
        "1\tx\ty\t0",
        "\ta\tb\t0",
        "8\ta\t \t0",
    ]
    write(tmp_path, HEADER + "\n".join(rows) + "\n")
    with caplog.at_level(logging.WARNING):
        pairs = read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])["eng_Latn"]
    assert (pairs.ids, pairs.rows) == (("1",), 8)
    assert pairs.skipped == {
        "a sentence is empty": (3, 9),
        "a sentence is the placeholder NS": (4,),
        "3 columns in place of 4": (5,),
        "label '2' not of 0, 1": (6,),
        "an id that was there before": (7,),
        "no id": (8,),
    }
    assert "2 rows skipped, a sentence is empty: lines 3, 9" in caplog.text


def test_read_pairs_missing_column_is_named(tmp_path: Path) -> None:
    write(tmp_path, "id\tsentence1\tlabel\n1\ta\t1\n")
    with pytest.raises(PairsError, match=r"test_2k\.tsv has no column sentence2: got id, sent"):
        read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column"),
        (HEADER, "no usable pair in eng_Latn, of 0 rows"),
        (HEADER + "1\ta\tb\tyes\n", r"of 1 rows \(1 label 'yes'"),
    ],
)
def test_read_pairs_nothing_usable_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text)
    with pytest.raises(PairsError, match=message):
        read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])


def test_read_pairs_other_encoding_is_refused(tmp_path: Path) -> None:
    write(tmp_path, HEADER)
    (tmp_path / "en" / "test_2k.tsv").write_bytes(HEADER.encode() + b"1\t\xe9\tb\t1\n")
    with pytest.raises(PairsError, match="cannot read"):
        read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])


def test_read_pairs_absent_files_are_listed(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match=r"expected de/test_2k\.tsv, test-de\.tsv"):
        read_pairs(PAWSX, tmp_path, "test", ["deu_Latn"])


def test_read_pairs_language_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="pawsx has no swh_Latn"):
        read_pairs(PAWSX, tmp_path, "test", ["swh_Latn"])


def test_read_pairs_xnli_splits_languages_of_one_file(xnli: Path) -> None:
    sets = read_pairs(XNLI, xnli, "test", LANGS)
    assert list(sets) == list(LANGS)
    assert sets["deu_Latn"].first == ("a b de",) * 3
    assert sets["eng_Latn"].ids == ("0", "1", "2")
    assert sets["eng_Latn"].labels.tolist() == [0, 1, 2]
    assert sets["eng_Latn"].rows == 3


def test_read_pairs_xnli_training_set_has_its_own_label_and_columns(xnli: Path) -> None:
    pairs = read_pairs(XNLI, xnli, "train", ["eng_Latn"])["eng_Latn"]
    assert pairs.labels.tolist() == [0, 2]
    assert pairs.numbered


def test_read_pairs_xnli_language_not_of_the_task_is_reported(
    xnli: Path, xnli_row: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    path = xnli / "XNLI-1.0" / "xnli.dev.tsv"
    with path.open("a") as file:
        file.write("\t".join(xnli_row("xx", "neutral", "a", "b", "9")) + "\n")
    with caplog.at_level(logging.WARNING):
        assert len(read_pairs(XNLI, xnli, "dev", ["eng_Latn"])["eng_Latn"]) == 3
    assert "1 rows skipped, language 'xx' not of xnli: lines 8" in caplog.text


def test_read_pairs_xnli_language_without_rows_is_refused(xnli: Path) -> None:
    with pytest.raises(PairsError, match="no usable pair in swh_Latn"):
        read_pairs(XNLI, xnli, "dev", ["swh_Latn"])


def test_read_pairs_xtreme_is_unquoted_and_numbered(tmp_path: Path) -> None:
    write(tmp_path, '"say ""x"""\tb\t1\r\nc\td\t0\r\n', "dev-en.tsv")
    pairs = read_pairs(PAWSX, tmp_path, "dev", ["eng_Latn"])["eng_Latn"]
    assert pairs.first == ('say "x"', "c")
    assert (pairs.ids, pairs.numbered) == (("1", "2"), True)


def test_read_pairs_xtreme_test_set_without_labels_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a\tb\nc\td\n", "test-en.tsv")
    with pytest.raises(PairsError, match="2 columns in place of 3"):
        read_pairs(PAWSX, tmp_path, "test", ["eng_Latn"])
