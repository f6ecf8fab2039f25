import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import ArtifactError
from app.text.script import COMMON, INHERITED, script_of, script_of_character
from export.texts import Texts, file_texts, flores_texts, spread_languages
from training.registry import DEFAULT_DATA

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


def test_texts_count_their_scripts_and_join_long_ones() -> None:
    texts = Texts({"a": ["one", "two"], "b": ["три", "123"]}, None, "made up")

    assert texts.scripts == {"Cyrl": 1, "Latn": 2, "Zyyy": 1}
    assert texts.all == ["one", "two", "три", "123", "one two one two", "три 123 три 123"]


def test_flores_texts_take_scripts_that_only_other_corpora_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "bitext").mkdir()
    flores = {"eng_Latn": ["one"] * 3, "rus_Cyrl": ["раз"] * 3}
    pq.write_table(pa.table(flores), tmp_path / "eval" / "flores200-dev.parquet")
    pairs = [
        ("eng_Latn", "div_Thaa", "first", "ހެން"),
        ("eng_Latn", "aaa_Thaa", "second", "ދިވެހި"),
        ("eng_Latn", "rus_Cyrl", "third", "два"),
        ("cop_Copt", "eng_Latn", "ⲠϪⲰⲘ", "fourth"),
    ]
    columns = ("lang_a", "lang_b", "text_a", "text_b")
    table = pa.table(dict(zip(columns, map(list, zip(*pairs, strict=True)), strict=True)))
    pq.write_table(table, tmp_path / "bitext" / "made-up.parquet")
    unlabeled = {"lang": ["jav", "jav", "rus"], "text": ["ꦣꦺꦏꦺ", "ducks", "три"]}
    pq.write_table(pa.table(unlabeled), tmp_path / "eval" / "tatoeba-v1.parquet")
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path))

    texts = flores_texts()

    rare = {lang: some for lang, some in texts.sample.items() if lang not in flores}
    assert rare == {"aaa_Thaa": ["ދިވެހި"], "cop_Copt": ["ⲠϪⲰⲘ"], "jav_Java": ["ꦣꦺꦏꦺ"]}
    assert set(texts.scripts) == {"Copt", "Cyrl", "Java", "Latn", "Thaa"}
    assert "aaa_Thaa, cop_Copt, jav_Java of the other corpora" in texts.origin


@pytest.mark.data
def test_flores_texts_of_the_corpora_hold_every_script_in_them() -> None:
    data = Path(os.environ.get("TYNTEGRA_DATA") or DEFAULT_DATA)
    if not (data / "eval" / "flores200-dev.parquet").is_file():
        pytest.skip("the corpora are not there: set TYNTEGRA_DATA")
    known = {COMMON, INHERITED, "Zzzz", *flores_texts().scripts}
    others: set[str] = set()
    for path in [*data.glob("eval/*.parquet"), *data.glob("bitext/*.parquet")]:
        table = pq.read_table(path)
        names = [name for name in table.column_names if not name.startswith("lang")]
        texts = [text for name in names for text in table[name].to_pylist()]
        odd = {one for one in set().union(*texts) if script_of_character(one) not in known}
        if odd:
            found = re.compile(f"[{re.escape(''.join(odd))}]")
            others |= {script_of(text) for text in texts if found.search(text)} - known

    assert others == set()
