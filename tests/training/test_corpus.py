from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.corpus import (
    Corpus,
    CorpusError,
    load_bitext,
    select_corpora,
    texts_by_language,
)


def write(folder: Path, name: str, rows: list[tuple[str, str, str, str]]) -> None:
    (folder / "bitext").mkdir(exist_ok=True)
    columns = zip(*rows, strict=True)
    names = ("lang_a", "lang_b", "text_a", "text_b")
    table = pa.table({key: list(column) for key, column in zip(names, columns, strict=True)})
    pq.write_table(table, folder / "bitext" / f"{name}.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path,
        "nllb-seed",
        [
            ("eng_Latn", "fra_Latn", "One  dog.", "Un chien."),
            ("eng_Latn", "fra_Latn", "A cat", "Un chat"),
            ("eng_Latn", "swh_Latn", "One dog.", "Mbwa mmoja."),
            ("eng_Latn", "swh_Latn", "Same", "Same"),
        ],
    )
    write(tmp_path, "osm-id-schema", [("eng_Latn", "fra_Latn", "A cat", "Cafe\u0301")])
    return tmp_path


def pairs(folder: Path, names: list[str], languages: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    bitext = load_bitext(folder, select_corpora(names, shippable=True), languages)
    texts = bitext.texts.to_pylist()
    return [
        (
            bitext.corpora[bitext.corpus[row]].name,
            bitext.langs[bitext.lang_a[row]],
            bitext.langs[bitext.lang_b[row]],
            texts[bitext.text_a[row]],
            texts[bitext.text_b[row]],
        )
        for row in range(len(bitext))
    ]


def test_load_bitext_keeps_order_normalizes_and_drops_identical_pairs(folder: Path) -> None:
    assert pairs(folder, ["nllb-seed", "osm-id-schema"]) == [
        ("nllb-seed", "eng_Latn", "fra_Latn", "One dog.", "Un chien."),
        ("nllb-seed", "eng_Latn", "fra_Latn", "A cat", "Un chat"),
        ("nllb-seed", "eng_Latn", "swh_Latn", "One dog.", "Mbwa mmoja."),
        ("osm-id-schema", "eng_Latn", "fra_Latn", "A cat", "Café"),
    ]


def test_load_bitext_texts_that_normalize_alike_share_one_index(folder: Path) -> None:
    bitext = load_bitext(folder, select_corpora(["nllb-seed", "osm-id-schema"], shippable=True))
    assert bitext.text_a[0] == bitext.text_a[2]  # written with two spaces and with one
    assert bitext.text_a[1] == bitext.text_a[3]  # the same text in two files
    assert len(set(bitext.texts.to_pylist())) == len(bitext.texts)


def test_load_bitext_languages_keep_only_pairs_within(folder: Path) -> None:
    found = pairs(folder, ["nllb-seed"], ("eng_Latn", "swh_Latn"))
    assert found == [("nllb-seed", "eng_Latn", "swh_Latn", "One dog.", "Mbwa mmoja.")]


def test_load_bitext_languages_without_pairs_are_refused(folder: Path) -> None:
    with pytest.raises(CorpusError, match="no pairs of the languages yor_Latn"):
        pairs(folder, ["nllb-seed"], ("yor_Latn",))


def test_load_bitext_missing_file_names_its_path(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"ntrex128\.parquet"):
        pairs(folder, ["ntrex128"])


def test_load_bitext_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "bitext").mkdir()
    pq.write_table(pa.table({"text_a": ["x"]}), tmp_path / "bitext" / "nusax.parquet")
    with pytest.raises(CorpusError, match=r"nusax\.parquet"):
        pairs(tmp_path, ["nusax"])


def test_texts_by_language_lists_distinct_texts(folder: Path) -> None:
    bitext = load_bitext(folder, select_corpora(["nllb-seed"], shippable=True))
    texts = np.array(bitext.texts.to_pylist(), dtype=object)
    found = {lang: texts[index].tolist() for lang, index in texts_by_language(bitext).items()}
    assert found == {
        "eng_Latn": ["One dog.", "A cat"],
        "fra_Latn": ["Un chien.", "Un chat"],
        "swh_Latn": ["Mbwa mmoja."],
    }


def own(path: Path, rows: list[dict[str, object]]) -> Corpus:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Corpus(path.stem, "mine", shippable=False, path=str(path))


def row(query: str | None, document: str | None, *langs: str, **more: object) -> dict[str, object]:
    lang_query, lang_document = langs or ("fra_Latn", "eng_Latn")
    sides = {"lang_query": lang_query, "lang_document": lang_document}
    return {"query": query, "document": document, **sides, **more}


def test_load_bitext_own_file_stands_beside_the_registry(folder: Path, tmp_path: Path) -> None:
    mine = own(
        tmp_path / "faq.parquet",
        [
            row("Quel  chat ?", "A cat", negatives=["Un chien.", "A dog"]),
            row("Quel chien ?", "One dog.", negatives=[]),
        ],
    )
    bitext = load_bitext(folder, [*select_corpora(["nllb-seed"], shippable=True), mine])
    texts = bitext.texts.to_pylist()
    assert [bitext.corpora[index].name for index in bitext.corpus] == ["nllb-seed"] * 3 + [
        "faq"
    ] * 2
    # The document is what stands where a pivot does.
    assert texts[bitext.text_a[3]] == "A cat"
    assert texts[bitext.text_b[3]] == "Quel chat ?"
    assert bitext.langs[bitext.lang_a[3]] == "eng_Latn"
    assert bitext.langs[bitext.lang_b[3]] == "fra_Latn"
    assert bitext.text_a[3] == bitext.text_a[1]  # one text, one index, whatever the file
    assert bitext.negatives is not None
    given = [texts[index] for index in bitext.negatives.texts]
    assert given == ["Un chien.", "A dog"]
    assert bitext.negatives.starts.tolist() == [0, 0, 0, 0, 2, 2]


def test_load_bitext_counts_what_it_skips_by_reason(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = own(
        tmp_path / "faq.parquet",
        [
            row("q", "d", negatives=None),
            row(None, "d"),
            row("q", None),
            row(" \x07", "d"),
            row("same", " same "),
            row("q", "d2", "fra", "eng_Latn"),
            row("q", "d2", "fra_Latn", "eng_Qqqq"),
            row("q", "d2", "fra_Latn", "eng_Latn", negatives=["", "q", "d3", None]),
        ],
    )
    with caplog.at_level("WARNING"):
        bitext = load_bitext(folder, [*select_corpora(["nllb-seed"], shippable=True), mine])
    assert bitext.skipped == {
        "nllb-seed": {"identical sides": 1},
        "faq": {
            "null": 2,
            "language code": 2,
            "empty": 1,
            "identical sides": 1,
            "negative empty or of the pair itself": 3,
        },
    }
    assert len(bitext) == 3 + 2
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2
    assert logged[1].startswith("left out of faq: 2 null, 2 language code, 1 empty")


def test_load_bitext_negatives_that_are_positives_are_left_out(
    folder: Path, tmp_path: Path
) -> None:
    mine = own(
        tmp_path / "faq.parquet",
        [
            # Another document of the query, a translation of its document, and a true negative.
            row("Quel chien ?", "One dog.", negatives=["Two dogs", "Mbwa mmoja.", "A cat"]),
            row("Quel chien ?", "Two dogs", negatives=["A cat", "One dog."]),
        ],
    )
    bitext = load_bitext(folder, [*select_corpora(["nllb-seed"], shippable=True), mine])
    assert bitext.negatives is not None
    assert [bitext.texts[int(i)].as_py() for i in bitext.negatives.texts] == ["A cat", "A cat"]
    assert bitext.negatives.starts.tolist() == [0, 0, 0, 0, 1, 2]
    assert bitext.skipped["faq"] == {"negative that is a positive": 3}


def test_load_bitext_without_bad_rows_skips_and_logs_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bitext = load_bitext(folder, select_corpora(["osm-id-schema"], shippable=True))
    assert bitext.skipped == {}
    assert bitext.negatives is None
    assert not caplog.records


def test_load_bitext_registry_row_with_null_is_skipped(tmp_path: Path) -> None:
    write(
        tmp_path,
        "nusax",
        [
            ("eng_Latn", "ban_Latn", "One", None),  # type: ignore[list-item]
            ("eng_Latn", "ban_Latn", "Two", "Dua"),
        ],
    )
    bitext = load_bitext(tmp_path, select_corpora(["nusax"], shippable=True))
    assert len(bitext) == 1
    assert bitext.skipped == {"nusax": {"null": 1}}


def test_load_bitext_own_file_of_bad_rows_alone_is_refused(folder: Path, tmp_path: Path) -> None:
    mine = own(tmp_path / "faq.parquet", [row("same", "same"), row("q", "d", "fr", "en")])
    with pytest.raises(CorpusError, match=r"none of the 2 rows.*1 language code, 1 identical"):
        load_bitext(folder, [mine])
    # Also where a run takes some languages alone: bad rows are bad in each of them.
    bad = own(tmp_path / "faq.parquet", [row("q", "d", "fr", "en")])
    with pytest.raises(CorpusError, match="none of the 1 rows"):
        load_bitext(folder, [bad], ("fra_Latn", "eng_Latn"))


def test_load_bitext_own_empty_file_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    kinds = dict.fromkeys(("query", "document", "lang_query", "lang_document"), pa.string())
    pq.write_table(pa.table({name: pa.array([], kind) for name, kind in kinds.items()}), path)
    with pytest.raises(CorpusError, match="it is empty"):
        load_bitext(folder, [Corpus("none", "mine", shippable=False, path=str(path))])


def test_load_bitext_own_strings_of_any_kind_are_read(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "faq.parquet"
    table = pa.table(
        {
            "query": pa.array(["q", "r"], pa.large_string()),
            "document": pa.array(["d", "d"]).dictionary_encode(),
            "lang_query": pa.array(["fra_Latn", "fra_Latn"], pa.large_string()).dictionary_encode(),
            "lang_document": ["eng_Latn", "eng_Latn"],
            "negatives": pa.array([None, ["n"]], pa.large_list(pa.large_string())),
        }
    )
    pq.write_table(table, path)
    bitext = load_bitext(folder, [Corpus("faq", "mine", shippable=False, path=str(path))])
    assert bitext.negatives is not None
    assert bitext.negatives.starts.tolist() == [0, 0, 1]
    assert bitext.texts[int(bitext.negatives.texts[0])].as_py() == "n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": [1]}, "got int64 in the column query: expected strings"),
        ({"negatives": ["n"]}, "got string in the column negatives: expected lists of strings"),
        ({"negatives": [[1]]}, "expected lists of strings"),
    ],
)
def test_load_bitext_own_column_of_another_type_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, list[object]], message: str
) -> None:
    path = tmp_path / "faq.parquet"
    good = pa.Table.from_pylist([row("q", "d")]).to_pydict()
    pq.write_table(pa.table({**good, **change}), path)
    with pytest.raises(CorpusError, match=message):
        load_bitext(folder, [Corpus("faq", "mine", shippable=False, path=str(path))])


@pytest.mark.parametrize("content", [b"", b"query,document\n", b"PAR1 cut PAR1", None])
def test_load_bitext_own_file_that_is_no_parquet_names_its_path(
    folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "faq.parquet"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"faq\.parquet") as info:
        load_bitext(folder, [Corpus("faq", "mine", shippable=False, path=str(path))])
    assert "\n" not in str(info.value)


def test_load_bitext_own_text_that_is_no_utf8_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "faq.parquet"
    broken = pa.array([b"\xff\xfe"]).view(pa.string())
    table = pa.Table.from_pylist([row("q", "d")]).set_column(0, "query", broken)
    pq.write_table(table, path)
    with pytest.raises(CorpusError, match="cannot read the corpus"):
        load_bitext(folder, [Corpus("faq", "mine", shippable=False, path=str(path))])
