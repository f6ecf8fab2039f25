"""Words: in many scripts, and in time that grows with the text alone."""

import random
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.lexical import document_weights, query_weights, weights_of
from app.retrieval.words import forms_of, joined_in, simplify, single_clusters_in, words_in

LONG = 100_000
MOST_S = 5.0
"""Linear time is a tenth of a second; the square of the length would be minutes."""


def words(text: str) -> list[str]:
    return list(words_in(simplify(text)))


def joined(text: str) -> list[str]:
    return list(joined_in(simplify(text)))


def tokens(text: str) -> set[int]:
    return set(document_weights(text).indices)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Bus, at 9!", ["the", "bus", "at", "9"]),
        ("snake_case AB-12.7", ["snake", "case", "ab", "12", "7"]),
        ("Straße ﬁne Ⅷ", ["strasse", "fine", "viii"]),
        ("ΒΙΒΛΟΣ βιβλος", ["βιβλοσ", "βιβλοσ"]),
        ("İstanbul ISPARTA ısparta", ["istanbul", "isparta", "ısparta"]),
        ("٣٤٥ ๓४ 345", ["345", "34", "345"]),
        ("الـــكتاب", ["الكتاب"]),
        ("soft\u00adhyphen zero\u200bwidth", ["softhyphen", "zerowidth"]),
        ("ක්\u200dරියා", ["ක්රියා"]),
        ("ሰላም፣ዓለም። ቋንቋ፡ነው", ["ሰላም", "ዓለም", "ቋንቋ", "ነው"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("བོད་ཡིག།", ["བོད", "ཡིག"]),
        ("한국어 사전", ["한국어", "사전"]),
        ("东京都。水", ["东京", "京都", "水"]),
        ("ไทย กำ", ["ไท", "ทย", "กำ"]),
        ("မြန်မာ။", ["မြန်", "န်မ", "မာ"]),
        ("ｶﾀｶﾅ", ["カタ", "タカ", "カナ"]),
        ("北京2008年 COVID-19疫苗", ["北京", "2008", "年", "covid", "19", "疫苗"]),
        ("🙂 ... -", []),
        ("", []),
    ],
)
def test_words_in_each_script(text: str, expected: list[str]) -> None:
    assert words(text) == [unicodedata.normalize("NFKC", word) for word in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AB-12.7", ["ab-12.7"]),
        ("(AB–12.7), AB‐12.7; AB−12.7", ["ab-12.7"] * 3),
        ("2024-11-25 3.14 1,234.56 3,14", ["2024-11-25", "3.14", "1,234.56", "3,14"]),
        ("user@example.com http://a.b/c", ["user@example.com", "http://a.b/c"]),
        ("C++ C# A+ .NET node.js", ["c++", "c#", "a+", "node.js"]),
        ("l'homme l’homme lʼhomme", ["l'homme"] * 3),
        ("oʻzbek o‘zbek o'zbek", ["o'zbek"] * 3),
        ("wait...what yes,no a - b end. -x", []),
        ("COVID-19疫苗", ["covid-19"]),
        ("a-b-c-", ["a-b-c"]),
    ],
)
def test_joined_in_finds_codes_and_names_as_wholes(text: str, expected: list[str]) -> None:
    assert joined(text) == expected


def test_single_clusters_are_those_within_longer_runs() -> None:
    assert list(single_clusters_in(simplify("东京都 水 abc ไทย"))) == list("东京都ไทย")


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("ọ̀nà", "ona"),  # Yoruba tone marks
        ("ƙasa", "kasa"),  # Hausa hooks
        ("ɗan", "dan"),
        ("ısparta", "isparta"),  # Turkish dotless i
        ("việt", "viet"),
        ("ɔkyerɛw", "okyerew"),  # Twi
        ("كِتَابٌ", "كتاب"),  # Arabic vowels
        ("أحمد", "احمد"),
        ("کتاب", "كتاب"),  # Persian and Arabic kaf
        ("کتابی", "كتابي"),
        ("مدرسة", "مدرسه"),
        ("כָּתַב", "כתב"),
        ("क़लम", "कलम"),  # Hindi nukta, candrabindu
        ("चाँद", "चांद"),
        ("ሠላም", "ሰላም"),  # Amharic letters of one sound
        ("ፀሐይ", "ጸሀይ"),
        ("ёлка", "елка"),
        ("βίβλοσ", "βιβλοσ"),
        ("o'zbek", "ozbek"),
    ],
)
def test_forms_of_a_word_are_as_written_and_plain(written: str, plain: str) -> None:
    first, second = forms_of(unicodedata.normalize("NFKC", written))
    assert first == unicodedata.normalize("NFKC", written)
    assert second == unicodedata.normalize("NFKC", plain)
    assert forms_of(second) == (second,)


@pytest.mark.parametrize("word", ["हिन्दी", "में", "বাংলা", "தமிழ்", "한국어", "ไทย", "မြန်", "ގަޑި", "abc"])
def test_forms_keep_what_is_no_diacritic(word: str) -> None:
    assert forms_of(word) == (word,)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("ona", "Ṣé o mọ̀ ọ̀nà?"),
        (unicodedata.normalize("NFD", "ọ̀nà"), unicodedata.normalize("NFC", "ọ̀nà")),
        ("kasar", "Ƙasar Hausa"),
        ("istanbul", "İSTANBUL"),
        ("ISPARTA", "ısparta"),
        ("كتاب", "هذا كِتَابٌ جديد"),
        ("الكتاب", "الـكـتـاب"),
        ("می\u200cخواهم", "می خواهم"),
        ("میخواهم", "می\u200cخواهم"),
        ("ميخواهم", "میخواهم"),
        ("कलम", "यह क़लम है"),
        ("ሰላም", "ሠላም ለዓለም"),
        ("水", "饮水安全"),
        ("安全", "饮水安全"),
        ("345", "٣٤٥"),
        ("homme", "l’homme"),
        ("ozbek", "oʻzbek tili"),
    ],
)
def test_query_shares_a_token_with_a_text_spelled_otherwise(query: str, text: str) -> None:
    assert set(query_weights(query).indices) & tokens(text)


@given(st.text(max_size=40))
def test_simplify_is_idempotent_and_blind_to_composition(text: str) -> None:
    simple = simplify(text)
    assert simplify(simple) == simple
    decomposed = unicodedata.normalize("NFD", text)
    assert unicodedata.normalize("NFKC", simplify(decomposed)) == unicodedata.normalize(
        "NFKC", simple
    )


@given(st.text(max_size=40))
def test_every_token_of_a_query_stands_in_the_same_text_as_a_document(text: str) -> None:
    assert set(query_weights(text).indices) <= tokens(text)


HARD = {
    "one word": "a" * LONG,
    "one word of marked letters": "ș" * LONG,
    "joiners": "a-" * (LONG // 2),
    "joiners in a row": "a" + "-" * LONG,
    "joiners between and after": ("a" + "." * 50) * (LONG // 50),
    "commas": "1," * (LONG // 2),
    "addresses": "a://" * (LONG // 4),
    "suffixes": "a++" * (LONG // 3),
    "apostrophes": "a'" * (LONG // 2),
    "marks": "a" + "\u0301" * LONG,
    "nothing but marks": "\u0301" * LONG,
    "no spaces": "水" * LONG,
    "clusters": "ก่" * (LONG // 2),
    "non-joiners": "ی\u200c" * (LONG // 2),
    "non-joiners in a row": "\u064e" + "\u200c" * LONG,
    "characters that expand": "\ufdfa" * (LONG // 20),
    "invisible": "\u00ad" * LONG,
    "jamo": "ᄀ" * LONG,
    "flags": "🇦" * LONG,
}


@pytest.mark.parametrize("name", list(HARD))
def test_weights_of_a_hard_text_take_linear_time(name: str) -> None:
    begun = time.process_time()
    document_weights(HARD[name])
    query_weights(HARD[name])
    assert time.process_time() - begun < MOST_S
    begun = time.process_time()
    together = weights_of([HARD[name], "a", "ñ", "b"])
    assert time.process_time() - begun < MOST_S
    assert together[0] == document_weights(HARD[name])


def test_weights_of_random_repetitions_take_linear_time() -> None:
    pieces = [*"a1-_./:@+#',水กی\u200c\u0301\u064eé ", "://", "ー", "\u0640", "ß", "İ"]
    draw = random.Random(0)
    for _ in range(40):
        unit = "".join(draw.choices(pieces, k=draw.randint(1, 4)))
        text = draw.choice(pieces) + unit * (20_000 // len(unit)) + draw.choice(pieces)
        begun = time.process_time()
        document_weights(text)
        assert time.process_time() - begun < MOST_S, unit
