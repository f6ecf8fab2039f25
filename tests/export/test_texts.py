from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import ArtifactError
from export.texts import file_texts, flores_texts, spread_languages

CODES = ["aaa_Latn", "bbb_Latn", "ccc_Latn", "ddd_Cyrl", "eee_Latn", "fff_Arab", "ggg_Cyrl"]


def test_spread_languages_takes_each_script_first() -> None:
    assert spread_languages(CODES, 3) == ["aaa_Latn", "ddd_Cyrl", "fff_Arab"]


def test_spread_languages_fills_up_evenly() -> None:
    assert spread_languages(CODES, 5) == [
        "aaa_Latn",
        "bbb_Latn",
        "ddd_Cyrl",
        "eee_Latn",
        "fff_Arab",
    ]


def test_spread_languages_more_than_there_are_takes_all() -> None:
    assert spread_languages(CODES[::-1], 100) == CODES


def test_flores_texts_hold_every_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eval").mkdir()
    columns = {code: [f"{code} {n}" for n in range(20)] for code in [*CODES, "eng_Latn"]}
    pq.write_table(pa.table(columns), tmp_path / "eval" / "flores200-dev.parquet")
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path))

    texts = flores_texts()

    assert {code.rpartition("_")[2] for code in texts.sample} == {"Latn", "Cyrl", "Arab"}
    assert texts.corpus is not None
    assert texts.sample["aaa_Latn"][0] == "aaa_Latn 0"


def test_flores_texts_absent_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path))

    with pytest.raises(ArtifactError, match=r"TYNTEGRA_DATA.*--texts FILE"):
        flores_texts()


def test_file_texts_skips_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_text("a\n\n  \nb\n")

    assert file_texts(path).sample == {"": ["a", "b"]}


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\xff"])
def test_file_texts_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "texts"
    path.write_bytes(content)

    with pytest.raises(ArtifactError, match="a line"):
        file_texts(path)
