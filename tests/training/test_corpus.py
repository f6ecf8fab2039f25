from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.corpus import (
    CORPORA,
    CorpusError,
    data_folder,
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


@pytest.mark.parametrize("name", ["lafand-mt", "menyo20k", "multi30k", "americasnlp2021"])
def test_select_corpora_shippable_refuses_by_name_and_licence(name: str) -> None:
    assert select_corpora([name], shippable=False)[0].name == name
    with pytest.raises(CorpusError, match=f"{name} .*shippable"):
        select_corpora(["nllb-seed", name], shippable=True)


@pytest.mark.parametrize("name", ["flores200-dev", "tatoeba-v1", "../eval/flores200-dev"])
def test_select_corpora_evaluation_sets_are_unknown(name: str) -> None:
    with pytest.raises(CorpusError, match="unknown corpora"):
        select_corpora([name], shippable=False)


def test_corpora_every_entry_states_a_licence() -> None:
    assert all(corpus.licence and name == corpus.name for name, corpus in CORPORA.items())


def test_data_folder_absent_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match="set TYNTEGRA_DATA") as info:
        data_folder()
    assert "\n" not in str(info.value)
