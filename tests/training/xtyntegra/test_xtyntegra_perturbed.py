"""Perturbed queries: a function of text, language, family, edits, draw and seed alone."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import InvalidInputError
from app.text.normalize import normalize
from app.text.perturbations.registry import FAMILIES, family_of, perturb
from training.corpus import data_folder
from training.xtyntegra import attacked, perturbed_files
from training.xtyntegra import perturb as perturb_command
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.known import committed, read_table, write_table
from training.xtyntegra.perturbed import (
    SHARED_FAMILIES,
    Perturbed,
    Recipe,
    context_of,
    perturb_texts,
)
from training.xtyntegra.perturbed_files import (
    Request,
    make_files,
    perturbed_for,
    read_perturbed,
    write_perturbed,
)
from training.xtyntegra.plan import QUICK_FAMILIES, quick_plan, sample
from training.xtyntegra.tasks import load_tasks

from .attacked_cells import cell

TEXTS = (
    "The doctor comes to the village every Thursday.",
    "Daktari huja kijijini kila Alhamisi, saa 8.",
    "Врач приезжает в деревню каждый четверг.",
    "डॉक्टर हर गुरुवार को गाँव आता है।",
    "医生每个星期四来村里。",
    "ዶክተሩ በየሳምንቱ ሐሙስ ወደ መንደሩ ይመጣል።",
)


def made(family: str = "typo", lang: str = "eng_Latn", **choices: object) -> Perturbed:
    recipe = replace(Recipe(family), **choices)
    return perturb_texts("own", lang, TEXTS, recipe)


@pytest.mark.parametrize("family", ["typo", "spacing", "word_deletion", "code_switch"])
@pytest.mark.parametrize("seed", [0, 3])
def test_perturb_texts_is_what_perturb_gives_with_the_seed_of_the_draw(
    family: str, seed: int
) -> None:
    found = made(family, seed=seed)
    context = context_of("eng_Latn", family)
    for (edits, draw), column in found.variants.items():
        for text, variant in zip(found.texts, column, strict=True):
            plain, _ = perturb(text, family_of(family), edits, 1000 * seed + draw, context)
            assert variant == (None if plain == text else plain)


def test_perturb_texts_does_not_depend_on_order_company_task_or_repetition() -> None:
    whole = made()
    alone = perturb_texts("another", "eng_Latn", [TEXTS[0], TEXTS[0]], whole.recipe)
    backwards = perturb_texts("own", "eng_Latn", TEXTS[::-1], whole.recipe)
    assert backwards == whole
    assert alone.texts == (TEXTS[0],)
    place = whole.places[TEXTS[0]]
    assert {one: column[0] for one, column in alone.variants.items()} == {
        one: column[place] for one, column in whole.variants.items()
    }


def test_perturb_texts_with_fewer_draws_and_edits_begins_alike() -> None:
    small, large = made(edits=(1,), draws=1), made(edits=(1, 2, 4), draws=3)
    assert small.variants[1, 0] == large.variants[1, 0]
    assert small.digest((1, 0)) == large.digest((1, 0))
    assert large.variants[1, 0] != large.variants[1, 1]
    assert large.variants[1, 0] != large.variants[4, 0]


@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_perturb_texts_gives_another_text_or_none_and_never_the_same(family: str) -> None:
    for lang in ("eng_Latn", "hin_Deva"):
        found = made(family, lang, edits=(1, 2, 3), draws=2)
        for column in found.variants.values():
            for text, variant in zip(found.texts, column, strict=True):
                assert variant is None or normalize(variant) != normalize(text)


def test_perturb_texts_where_a_family_cannot_act_is_none_with_a_reason() -> None:
    found = perturb_texts("own", "swh_Latn", [TEXTS[0]], Recipe("romanization"))
    assert set(found.variants.values()) == {(None,)}
    assert found.applies() == (False,)
    assert "romanization finds nothing to change" in (found.why_not() or "")
    acted = perturb_texts("own", "hin_Deva", [TEXTS[0], TEXTS[3]], Recipe("romanization"))
    assert acted.applies() == tuple(text == TEXTS[3] for text in acted.texts)
    assert acted.why_not() is None


def test_perturb_texts_skips_changes_that_normalization_undoes() -> None:
    text = "Dókítà"
    found = perturb_texts("own", "yor_Latn", [text], Recipe("form", (1,), 30))
    undone = 0
    for (edits, draw), (variant,) in found.variants.items():
        plain, _ = perturb(text, family_of("form"), edits, draw, context_of("yor_Latn", "form"))
        undone += normalize(plain) == normalize(text)
        assert variant is not None
        assert normalize(variant) != normalize(text)
    assert undone, "none of the draws tried a change that is undone: choose another text"


def test_perturbed_digest_is_the_same_on_every_machine() -> None:
    found = made(draws=2)
    assert found.sha256 == GOLDEN


GOLDEN = "af8b860c399309e428a1067750bc43e5be5fbea98415f4dde8e20aaf874d21da"


@pytest.mark.parametrize(
    "choices",
    [
        {"family": "token_neighbor"},
        {"family": "nothing"},
        {"edits": ()},
        {"edits": (2, 1)},
        {"edits": (0, 1)},
        {"draws": 0},
        {"draws": 1001},
        {"seed": -1},
    ],
)
def test_recipe_that_cannot_be_followed_is_refused(choices: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        replace(Recipe("typo"), **choices)
    assert "token_neighbor" in FAMILIES


def test_perturb_texts_of_a_malformed_language_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="malformed"):
        perturb_texts("own", "english", TEXTS, Recipe("typo"))


def test_perturbed_file_read_back_is_what_was_written(tmp_path: Path) -> None:
    odd = (*TEXTS, "line\u2028end and \x85 next", 'quote "x" \\ back')
    found = perturb_texts("own", "eng_Latn", odd, Recipe("spacing"))
    write_perturbed(tmp_path / "a" / "x.jsonl.gz", found)
    assert read_perturbed(tmp_path / "a" / "x.jsonl.gz") == found
    assert not [path for path in (tmp_path / "a").iterdir() if path.name.startswith(".")]


def test_perturbed_file_without_texts_or_variants_reads_back(tmp_path: Path) -> None:
    for place, texts in enumerate(([], [TEXTS[0]])):
        found = perturb_texts("own", "eng_Latn", texts, Recipe("romanization"))
        write_perturbed(tmp_path / str(place), found)
        assert read_perturbed(tmp_path / str(place)) == found


def test_perturbed_for_reads_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = perturbed_for("own", "eng_Latn", TEXTS, Recipe("typo"), tmp_path)
    monkeypatch.setattr(perturbed_files, "perturb_texts", _refuse)
    assert perturbed_for("own", "eng_Latn", TEXTS[::-1], Recipe("typo"), tmp_path) == first
    with pytest.raises(AssertionError):  # another seed is another file
        perturbed_for("own", "eng_Latn", TEXTS, Recipe("typo", seed=1), tmp_path)


def _refuse(*_: object) -> None:
    raise AssertionError("made anew")


@pytest.mark.parametrize("damage", ["cut", "changed", "not gzip", "no end", "format"])
def test_perturbed_file_that_is_damaged_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.jsonl.gz"
    write_perturbed(path, made())
    packed = path.read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")
    if damage == "cut":
        path.write_bytes(packed[:-40])
    elif damage == "not gzip":
        path.write_bytes(b"nothing")
    else:
        if damage == "changed":
            lines[1] = lines[1].replace(lines[1][3], "q")
        elif damage == "no end":
            lines = lines[:3]
        else:
            lines[0] = json.dumps(json.loads(lines[0]) | {"format": 99})
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(BenchmarkError, match="remove") as caught:
        read_perturbed(path)
    assert str(path) in str(caught.value)


def test_make_files_by_two_processes_writes_what_one_writes(tmp_path: Path) -> None:
    requests = [
        Request("own", lang, TEXTS, Recipe(family))
        for lang in ("eng_Latn", "swh_Latn")
        for family in ("spacing", "word_deletion")
    ]
    one = list(make_files(requests, tmp_path / "one"))
    two = list(make_files(requests, tmp_path / "two", workers=2))
    assert len(one) == len(two) == 4
    for request in requests:
        assert (tmp_path / "one" / request.file).read_bytes() == (
            tmp_path / "two" / request.file
        ).read_bytes()
    assert list(make_files(requests, tmp_path / "one")) == []


def test_known_texts_say_what_differs() -> None:
    found = made(draws=3)
    known = read_table(write_table([found]))
    assert known.differences(found) == []
    assert known.differences(made(draws=1)) == []  # what they share
    assert known.differences(made(edits=(3,))) is None  # nothing shared
    assert known.differences(made(seed=1)) is None
    assert known.differences(made("spacing")) is None
    other = perturb_texts("own", "eng_Latn", [*TEXTS[1:], "other"], found.recipe)
    assert known.differences(other) == ["own eng_Latn, typo: the 6 texts themselves are others"]
    changed = dict(found.variants)
    changed[2, 1] = tuple("x" if text else None for text in changed[2, 1])
    (said,) = known.differences(replace(found, variants=changed)) or [""]
    assert said.startswith(
        "own eng_Latn, typo: the same texts are perturbed otherwise in edits=2/draw=1; "
    )
    assert "Unicode" in said


def test_known_table_holds_several_families_with_their_own_draws() -> None:
    table = write_table([made("spacing", draws=1), made("typo", edits=(1, 2, 3))])
    assert read_table(table).differences(made("typo", edits=(1, 2, 3))) == []
    assert read_table(table).differences(made("spacing")) == []
    assert table == write_table([made("typo", edits=(1, 2, 3)), made("spacing", draws=1)])


def test_committed_table_names_the_default_plan() -> None:
    rows = committed().rows
    assert {key[0] for key in rows} == {"flores200", "xquad-r"}
    assert all(len(known.digests) == 6 for known in rows.values())


@pytest.mark.data
def test_committed_table_is_what_this_machine_makes_of_the_public_sets() -> None:
    folder = data_folder()
    if not (folder / "eval" / "flores200-dev.parquet").is_file():
        pytest.skip(f"no corpora at {folder}: set TYNTEGRA_DATA")
    plan = quick_plan(["sat_Olck", "luo_Latn"])
    cells = [each for each in load_tasks(["flores200/to-english"], folder) if plan.covers(each)]
    assert len(cells) == 2
    for each in cells:
        asked = sample(each, plan.queries).cell
        for recipe in plan.recipes():
            found = perturb_texts(each.task, each.query_lang, asked.queries, recipe)
            assert committed().differences(found) == []


def test_perturb_command_makes_the_files_and_says_whether_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.tsv"
    monkeypatch.setattr(perturb_command, "_cells", lambda _: [replace(cell(), task="flores200")])
    monkeypatch.setattr(perturb_command, "TABLE", table)
    asked = [str(tmp_path / "out"), "--languages", "eng_Latn"]
    assert perturb_command.main(asked) == 0
    assert "typo/edits=1 (unknown)" in capsys.readouterr().out
    assert perturb_command.main([*asked, "--write-table"]) == 0
    assert len(read_table(table.read_text()).rows) == len(QUICK_FAMILIES)
    monkeypatch.setattr(attacked, "committed", lambda: read_table(table.read_text()))
    assert perturb_command.main(asked) == 0
    assert "typo/edits=1 (same)" in capsys.readouterr().out
    lines = table.read_text().split("\n")
    table.write_text("\n".join(line[:-3] + "0x0" if "typo" in line else line for line in lines))
    assert perturb_command.main(asked) == 1
    assert "perturbed otherwise in edits=2/draw=2" in capsys.readouterr().out


def test_perturb_command_without_data_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path))
    assert perturb_command.main([str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
