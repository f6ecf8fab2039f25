"""The low-resource track: its rule, its file, and that both agree."""

from dataclasses import replace
from pathlib import Path

import pytest

from training.corpus import CorpusError
from training.xtyntegra import tracks
from training.xtyntegra.tracks import (
    LOW_RESOURCE_TRACK,
    Row,
    as_text,
    computed,
    languages,
    main,
    plain,
    relatives_of,
    track_of,
)

PLAIN = Row("swh_Latn", "Swahili", "A > B", "", "171000000", "228559", "")


def test_low_resource_each_point_of_the_rule_decides() -> None:
    assert PLAIN.low_resource
    assert replace(PLAIN, speakers="", lines="").low_resource
    assert replace(PLAIN, speakers="10000", lines="999999").low_resource
    for changed in (
        replace(PLAIN, status="extinct"),
        replace(PLAIN, speakers="9999"),
        replace(PLAIN, joshi="3"),
        replace(PLAIN, lines="1000000"),
    ):
        assert not changed.low_resource


@pytest.mark.parametrize(
    ("lang", "track"),
    [
        ("swh_Latn", "seen"),
        ("lug_Latn", "related"),
        ("min_Arab", "related"),
        ("twi_Latn", "unseen"),
        ("eng_Latn", "other"),
        ("epo_Latn", "other"),
        ("xxx_Latn", "other"),
    ],
)
def test_track_of_shippable_corpora_is_the_default(lang: str, track: str) -> None:
    assert track_of(lang) == track


def test_track_of_what_a_model_was_trained_on_decides() -> None:
    assert track_of("swh_Latn", ["eng_Latn"]) == "unseen"
    assert track_of("swh_Latn", ["zul_Latn"]) == "related"
    assert track_of("twi_Latn", ["eng_Latn", "twi_Latn"]) == "seen"
    assert track_of("hat_Latn", ["ht_Latn"]) == "seen"
    assert track_of("eng_Latn", ["eng_Latn"]) == "other"


def test_track_of_relative_in_another_script_counts_only_for_the_same_language() -> None:
    assert track_of("awa_Deva", ["urd_Arab"]) == "unseen"
    assert track_of("kas_Deva", ["kas_Arab"]) == "related"
    assert track_of("yue_Hant", ["zho_Hans"]) == "related"  # Both are written in Han characters


def test_relatives_of_language_without_branch_here_are_none() -> None:
    assert relatives_of("sat_Olck", ["eng_Latn", "xxx_Latn"]) == []


def test_plain_two_letter_code_becomes_three() -> None:
    assert (plain("sa_Deva"), plain("swh_Latn")) == ("san_Deva", "swh_Latn")


def test_languages_file_agrees_with_the_rule_line_by_line() -> None:
    rows = languages()
    assert list(rows) == sorted(rows)
    for lang, row in rows.items():
        assert track_of(lang) == row.track
        assert bool(row.relative) == (row.track == "related")
        assert row.branch or row.status or not row.tasks
    assert as_text(rows.values()) == tracks.FILE.read_text(encoding="utf-8")


def test_low_resource_track_holds_all_three_parts() -> None:
    assert {track_of(lang) for lang in LOW_RESOURCE_TRACK} == {"seen", "related", "unseen"}


@pytest.mark.data
def test_computed_from_the_corpora_is_the_file(real: Path) -> None:
    assert as_text(computed(real)) == tracks.FILE.read_text(encoding="utf-8")


@pytest.mark.data
def test_main_file_out_of_date_is_refused_then_written(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = tracks.FILE.read_text(encoding="utf-8")
    file = tmp_path / "languages.tsv"
    file.write_text(right.replace("\tseen\t", "\tother\t", 1), encoding="utf-8")
    monkeypatch.setattr(tracks, "FILE", file)
    assert main([]) == 1
    assert "run with --write" in capsys.readouterr().err
    assert main(["--write"]) == 0
    assert file.read_text(encoding="utf-8") == right
    assert main([]) == 0


@pytest.mark.data
def test_computed_language_without_a_line_is_named(
    real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {code: row for code, row in languages().items() if code != "swh_Latn"}
    monkeypatch.setattr(tracks, "languages", lambda: rows)
    with pytest.raises(CorpusError, match="has no line for swh_Latn: add one"):
        computed(real)
