"""A short question in each script, and strategies for texts made of their letters."""

from functools import cache

from hypothesis import strategies as st

from app.text.lexicon import Lexicon, load_lexicon
from app.text.perturbations.context import Context

TEXTS = {
    "Latn": "How do I make river water safe to drink?",
    "Cyrl": "Как сделать речную воду безопасной?",
    "Grek": "Πώς μπορώ να πιω το νερό του ποταμού;",
    "Armn": "Ինչպես մաքրել գետի ջուրը",
    "Geor": "როგორ გავწმინდოთ მდინარის წყალი",
    "Hebr": "איך לטהר מים מהנהר",
    "Arab": "كيف أجعل ماء النهر صالحا للشرب؟",
    "Syrc": "ܡܝܐ ܕܢܗܪܐ ܕܟܝܐ",
    "Thaa": "ކޯރުގެ ފެން ސާފުކުރާނީ ކިހިނެއް",
    "Nkoo": "ߒ ߘߌ߫ ߖߌ ߛߊߣߌ߲ߧߊ߫ ߘߌ߬",
    "Deva": "नदी के पानी को पीने योग्य कैसे बनाएँ",
    "Beng": "নদীর পানি কীভাবে নিরাপদ করা যায়",
    "Guru": "ਨਦੀ ਦਾ ਪਾਣੀ ਪੀਣ ਯੋਗ ਕਿਵੇਂ ਬਣਾਈਏ",
    "Gujr": "નદીનું પાણી પીવા લાયક કેવી રીતે બનાવવું",
    "Orya": "ନଦୀ ପାଣିକୁ କିପରି ସଫା କରିବା",
    "Taml": "ஆற்று நீரை எப்படிச் சுத்தம் செய்வது",
    "Telu": "నది నీటిని ఎలా శుద్ధి చేయాలి",
    "Knda": "ನದಿ ನೀರನ್ನು ಹೇಗೆ ಶುದ್ಧೀಕರಿಸುವುದು",
    "Mlym": "പുഴയിലെ വെള്ളം എങ്ങനെ ശുദ്ധമാക്കാം",
    "Sinh": "ගඟේ ජලය පිරිසිදු කරන්නේ කෙසේද",
    "Thai": "ทำให้น้ำในแม่น้ำดื่มได้อย่างไร",
    "Laoo": "ເຮັດແນວໃດໃຫ້ນ້ຳດື່ມໄດ້",
    "Tibt": "ཆུ་གཙང་མ་བཟོ་སྟངས་ག་རེ་རེད",
    "Mymr": "မြစ်ရေကို သောက်ရန် ဘယ်လိုသန့်စင်မလဲ",
    "Khmr": "តើធ្វើដូចម្តេចឱ្យទឹកស្អាត",
    "Ethi": "የወንዝ ውሃን እንዴት ማጽዳት ይቻላል",
    "Tfng": "ⴰⵎⴰⵏ ⵏ ⵡⴰⵙⵉⴼ",
    "Olck": "ᱜᱟᱰᱟ ᱫᱟᱜ ᱥᱟᱯᱷᱟ",
    "Cher": "ᎠᎹ ᎤᏍᏗ ᎦᏓᎭ",
    "Cans": "ᐃᒥᖅ ᓴᓗᒪᔪᖅ",
    "Mong": "ᠮᠣᠩᠭᠣᠯ ᠤᠰᠤ",
    "Adlm": "𞤲𞤣𞤭𞤴𞤢𞤥 𞤥𞤢𞤴𞤮",
    "Mtei": "ꯇꯨꯔꯦꯜꯒꯤ ꯏꯁꯤꯡ",
    "Hani": "怎样把河水变成安全的饮用水",
    "Hira": "かわのみずをのめるようにする",
    "Kana": "コーヒーとパンをカウ",
    "Hang": "강물을 어떻게 마실 수 있게 하나요",
    "Java": "ꦧꦚꦸ ꦏꦭꦶ",
}
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
MIXED = st.text(st.sampled_from("".join(TEXTS.values()) + "\u0301\u200d👩🏽 \t1!"), max_size=60)
LANGS = {
    "Latn": "swh_Latn",
    "Cyrl": "rus_Cyrl",
    "Arab": "arb_Arab",
    "Deva": "hin_Deva",
    "Ethi": "amh_Ethi",
    "Hani": "zho_Hans",
    "Thai": "tha_Thai",
}
"""A language for some of the scripts."""


@cache
def small_lexicon() -> Lexicon:
    """The dictionaries that come along."""
    return load_lexicon()


def full_context(lang: str | None) -> Context:
    """A context that has all that a family may need."""
    return Context(lang=lang, lexicon=small_lexicon(), token_neighbors=neighbors_of)


def neighbors_of(word: str) -> tuple[str, ...]:
    """Words that stand for an encoder's neighbors: the word turned round, and one in Latin."""
    return (word[::-1], "neighbor") if len(word) > 2 else ()
