from pathlib import Path

import pytest

from training.registry import CORPORA, CorpusError, data_folder, select_corpora


@pytest.mark.parametrize("name", ["lafand-mt", "menyo20k", "multi30k", "americasnlp2021"])
def test_select_corpora_shippable_refuses_by_name_and_licence(name: str) -> None:
    assert select_corpora([name], shippable=False)[0].name == name
    with pytest.raises(CorpusError, match=f"{name} .*shippable"):
        select_corpora(["nllb-seed", name], shippable=True)


@pytest.mark.parametrize("name", ["flores200-dev", "tatoeba-v1", "../eval/flores200-dev"])
def test_select_corpora_evaluation_sets_are_unknown(name: str) -> None:
    with pytest.raises(CorpusError, match="unknown corpora"):
        select_corpora([name], shippable=False)


def test_select_corpora_own_file_is_found_by_its_name() -> None:
    found = select_corpora(["faq", "nusax"], shippable=False, files={"faq": "a/b.parquet"})
    assert [(corpus.name, corpus.own, corpus.path) for corpus in found] == [
        ("faq", True, "a/b.parquet"),
        ("nusax", False, ""),
    ]


def test_select_corpora_own_file_in_a_shippable_run_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"faq \(not known here\) in a shippable run"):
        select_corpora(["faq"], shippable=True, files={"faq": "a/b.parquet"})


def test_select_corpora_own_file_with_a_name_of_the_registry_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"named nusax.*rename"):
        select_corpora(["nusax"], shippable=False, files={"nusax": "a/b.parquet"})


def test_corpora_every_entry_states_a_licence() -> None:
    assert all(corpus.licence and name == corpus.name for name, corpus in CORPORA.items())


def test_data_folder_absent_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match="set TYNTEGRA_DATA") as info:
        data_folder()
    assert "\n" not in str(info.value)
