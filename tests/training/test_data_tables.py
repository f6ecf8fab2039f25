import gzip
import json
import unicodedata
from importlib.metadata import version

import pytest

from app.text.dictionaries import read_entries
from app.text.perturbations.keyboards import KEYS
from app.text.tables import read_table
from training.data.tables.__main__ import KEYSYMS, TABLES, XKB, main
from training.data.tables.keyboards import Symbols, build_keyboards, read_keysyms
from training.data.tables.romanization import build_romanization

HEADER = """
#define XK_a                             0x0061  /* U+0061 LATIN SMALL LETTER A */
#define XK_adiaeresis                    0x00e4  /* U+00E4 LATIN SMALL LETTER A WITH DIAERESIS */
#define XK_Cyrillic_a                    0x06c1  /* U+0430 CYRILLIC SMALL LETTER A */
#define XK_Cyrillic_A                    0x06e1  /* U+0410 CYRILLIC CAPITAL LETTER A */
#define XK_at                            0x0040  /* U+0040 COMMERCIAL AT */
#define XK_Old_a                         0x06c1  /* deprecated */
#define XK_dead_acute                    0xfe51
#define XK_Shift_L                       0xffe1  /* Left shift */
"""
SYMBOLS = """
// A layout; include "nothing" in a comment.
default partial alphanumeric_keys
xkb_symbols "basic" {
    include "other(letters)+missing(x)"
    include "other(euro)"
    name[Group1]="Test";
    key <AD01> { [ Cyrillic_a, Cyrillic_A, at, at ] };
    key <AD02> { type[Group1]="ALPHABETIC", symbols[Group1]= [ U0431, U0411 ] };
    key <AD03> { [ NoSymbol, adiaeresis ] };
    key <AD04> { [ dead_acute, 0x01000432, 0x1000257, 0xfe51 ] };
    key.type[Group1]="FOUR_LEVEL";
};
partial xkb_symbols "variant" {
    include "test(basic)"
    key <AD01> { [ a ] };
};
"""
OTHER = """
xkb_symbols "letters" { key <AD03> { [ a, a ] }; key <AD05> { [ a ] }; };
xkb_symbols "euro" { key <AD05> { [ NoSymbol, NoSymbol, at, NoSymbol ] }; };
"""


@pytest.fixture
def symbols(tmp_path):
    (tmp_path / "test").write_text(SYMBOLS, encoding="utf-8")
    (tmp_path / "other").write_text(OTHER, encoding="utf-8")
    (tmp_path / "keysymdef.h").write_text(HEADER, encoding="utf-8")
    return Symbols(tmp_path, read_keysyms(tmp_path / "keysymdef.h"))


def test_read_keysyms_keeps_those_that_type_a_character(symbols):
    typed = {"a": "a", "adiaeresis": "ä", "Cyrillic_a": "а", "Cyrillic_A": "А", "at": "@"}
    typed["Old_a"] = "а"
    assert symbols.keysyms == typed


def test_layout_later_statements_win_and_no_symbol_keeps_the_included(symbols):
    assert symbols.layout("test") == {
        "AD01": ("а", "А", "@", "@"),
        "AD02": ("б", "Б"),
        "AD03": ("a", "ä"),
        "AD04": ("", "в", "ɗ", ""),
        "AD05": ("a", None, "@", None),
    }


def test_layout_of_a_section_changes_what_it_includes(symbols):
    assert symbols.layout("test", "variant")["AD01"] == ("a", "А", "@", "@")


def test_build_keyboards_names_equal_layouts_once_and_takes_the_first_for_a_language(tmp_path):
    letters = [chr(code) for code in range(0x430, 0x450)]
    places = [key for key in KEYS if key.startswith(("AD", "AC", "AB"))]
    keys = "\n".join(
        f"key <{place}> {{ [ U{ord(letter):04x}, U{ord(letter.upper()):04x} ] }};"
        for place, letter in zip(places, letters, strict=False)
    )
    section = f'xkb_symbols "basic" {{ {keys} }};'
    few = 'xkb_symbols "few" { key <AD01> { [ U0430, U0410 ] }; };'
    (tmp_path / "one").write_text(section + few, encoding="utf-8")
    (tmp_path / "two").write_text(section, encoding="utf-8")
    (tmp_path / "keysymdef.h").write_text(HEADER, encoding="utf-8")
    layout = "<layout><configItem><name>{}</name><languageList><iso639Id>{}</iso639Id>"
    layout += "</languageList></configItem>{}</layout>"
    variant = "<variantList><variant><configItem><name>few</name></configItem></variant>"
    variant += "</variantList>"
    rules = "<x>" + layout.format("one", "bul", variant) + layout.format("two", "mkd", "") + "</x>"
    (tmp_path / "rules.xml").write_text(rules, encoding="utf-8")
    built = build_keyboards(tmp_path, [tmp_path / "rules.xml"], tmp_path / "keysymdef.h")
    assert list(built["layouts"]) == ["one"]
    assert built["languages"] == {"bul_Cyrl": "one", "mkd_Cyrl": "one"}
    assert built["scripts"] == {"Cyrl": "one"}
    assert built["layouts"]["one"]["plain"].replace(" ", "") == "".join(letters)[:33]


@pytest.mark.skipif(
    (unicodedata.unidata_version, version("anyascii")) != ("14.0.0", "0.3.3"),
    reason="another version of Unicode or of anyascii",
)
def test_romanization_table_is_what_the_command_builds():
    assert build_romanization() == read_table("romanization")


@pytest.mark.skipif(
    not (XKB / "rules" / "evdev.xml").exists() or not KEYSYMS.exists(),
    reason="no xkb-data or x11proto-dev",
)
def test_keyboards_table_is_what_the_command_builds(tmp_path):
    about = XKB.parents[1] / "pkgconfig" / "xkeyboard-config.pc"
    if not about.exists() or "Version: 2.35.1" not in about.read_text(encoding="utf-8"):
        pytest.skip("another version of xkeyboard-config")
    assert main(["keyboards", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "keyboards.json").read_text(encoding="utf-8")) == read_table(
        "keyboards"
    )


def test_tables_are_small():
    assert (TABLES / "keyboards.json").stat().st_size < 300_000
    assert (TABLES / "languages.npz").stat().st_size < 900_000
    assert sum(path.stat().st_size for path in TABLES.iterdir() if path.is_file()) < 1_500_000


def test_main_without_its_sources_says_so(tmp_path, capsys):
    arguments = ["keyboards", "--out", str(tmp_path), "--xkb", str(tmp_path)]
    assert main(arguments) == 2
    assert "evdev.xml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_words_that_come_along_are_well_formed_and_joined_by_english():
    entries = list(read_entries(TABLES / "words.tsv.gz"))
    assert len(entries) > 20_000
    assert {entry.lang_a for entry in entries} == {"eng_Latn"}
    assert all(" " not in entry.word_a for entry in entries)
    assert len({entry.lang_b for entry in entries}) > 100
    with gzip.open(TABLES / "words.tsv.gz") as file:
        assert b"ISC" in file.readline()
