import numpy as np
import pytest

from app.text.languages import LONGEST, hash_letters, identifier

BUCKETS = 65_536
CLEAR = {
    "Mtoto anakunywa maji safi ya kisima kijijini": "swh_Latn",
    "Ọmọ náà ń mu omi mímọ́ láti inú kànga": "yor_Latn",
    "ዛሬ ወደ ትምህርት ቤት እየሄድኩ ነው ምክንያቱም ፈተና አለብኝ": "amh_Ethi",
    "बच्चा गाँव के कुएँ का साफ़ पानी पीता है": "hin_Deva",
    "The child drinks clean water from the well": "eng_Latn",
    "子供は村の井戸のきれいな水を飲んでいます": "jpn_Jpan",
    "Дитина п'є чисту воду з криниці в селі": "ukr_Cyrl",
}


def test_identifier_tells_sentences_of_seven_scripts():
    found = identifier()
    likely = found.probabilities(list(CLEAR))
    assert [found.languages[place] for place in likely.argmax(axis=1)] == list(CLEAR.values())
    np.testing.assert_allclose(likely.sum(axis=1), 1.0, atol=1e-3)


def test_probabilities_are_the_same_bits_alone_and_in_company():
    texts = [*CLEAR, "maji", "x", "", "!!", "12 34"] * 60  # over one batch
    together = identifier().probabilities(texts)
    for place in (0, 5, 8, 9, 600, len(texts) - 1):
        np.testing.assert_array_equal(
            identifier().probabilities([texts[place]])[0], together[place]
        )


def test_probabilities_without_a_letter_are_of_no_language_in_particular():
    likely = identifier().probabilities(["", "   ", "123 !?", "\u200b"])
    np.testing.assert_allclose(likely, 1.0 / len(identifier().languages), atol=1e-6)
    assert identifier().probabilities([]).shape == (0, len(identifier().languages))


@pytest.mark.parametrize("changed", ["Maji SAFI, ya 12 kisima!", "ma\u200bji safi ya\u00ad kisima"])
def test_probabilities_ignore_case_signs_and_what_nobody_sees(changed):
    plain, other = identifier().probabilities(["maji safi ya kisima", changed])
    np.testing.assert_array_equal(plain, other)


def test_hash_letters_counts_the_ngrams_inside_each_text_alone():
    found = hash_letters(["ab", "", "b"], BUCKETS)
    # " ab ": 4 letters and gaps, 3 pairs, 2 of three, 1 of four; "  ": 2, 1; " b ": 3, 2, 1
    assert found.counts.tolist() == [10, 3, 6]
    assert found.rows.shape[0] == LONGEST
    assert int((found.rows < BUCKETS).sum()) == 19
    for text, start, place in (("ab", 0, 0), ("b", int(found.starts[2]), 2)):
        alone = hash_letters([text], BUCKETS)
        end = start + alone.rows.shape[1]
        np.testing.assert_array_equal(found.rows[:, start:end], alone.rows)
        assert found.counts[place] == alone.counts[0]
