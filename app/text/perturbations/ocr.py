"""Letters that reading machines take for one another: by shape, in the same script.

The groups were written down for this project by the shapes of printed letters: letters that differ
in a dot, a stroke or a gap that a poor scan loses. They are not counted from the output of any
reading machine. Each member of a group can stand for each other one.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage, keeps_clusters

GROUPS: Mapping[str, str] = {
    "Latn": (
        "rn m|cl d|vv w|li h|ri n|ii u|fi h|lc k|nn m|l I 1|O 0|o 0|S 5|s 5|B 8|Z 2|z 2|g 9 q|"
        "G 6|e c o|t f|u v|n h|b h|i l j|a o|D O|E F|C G|Q O|U V|y v|x z|"
        "ş s|ç c|ğ g|ı i|ñ n|ö o|ü u|ọ o|ẹ e|ṣ s|ɓ b|ɗ d|ƙ k|ŋ n"
    ),
    "Cyrl": "ш щ|и н п|ь ы|ъ ь|л п|ц п|о с е|в з э|г т|й и|ё е|д л|ж х|к х|ф о|Ш Щ|И Н П|В З|О С",
    "Grek": "ν υ|ο σ|α ο|η π|ι ί|ε έ|ω ώ|λ χ|κ χ|τ ι|Ο Θ|Λ Α|Ε Σ",
    "Armn": "ղ դ|ո ռ|գ զ|ն մ|ս ո|կ ն|ե է|վ փ|ա տ|ր ը|ք բ",
    "Geor": "პ ჰ|ვ კ|გ ც|ბ ნ|ღ ლ|შ წ|ჩ რ|ძ მ|ს ხ|უ ყ|დ ლ",
    "Hebr": "ד ר|ה ח ת|ו ז ן|ב כ|ג נ|ם ס|ט מ|י ו|ע צ|ך ר",
    "Arab": (
        "ب ت ث ن ي پ|ج ح خ چ|د ذ|ر ز ژ|س ش|ص ض|ط ظ|ع غ|ف ق|ك ل|ه ة|ا أ إ آ|ى ي|و ؤ|ک گ|ی ئ|د ر|ه م"
    ),
    "Syrc": "ܕ ܪ|ܒ ܟ|ܢ ܝ|ܥ ܠ|ܗ ܘ",
    "Thaa": "ނ ރ|ހ ށ|ބ ޅ|ކ ވ|ދ ގ",
    "Nkoo": "ߊ ߏ|ߋ ߌ|ߓ ߔ|ߕ ߖ|ߛ ߝ|ߞ ߟ|ߡ ߣ",
    "Deva": "ब व|घ ध|भ म|ड ङ ड़|प ष|थ य|ख र|ट ठ ढ|न त|ज ञ|अ आ|ऋ ॠ|इ ई|उ ऊ|ए ऐ|स म|द ट|च ज|क फ",
    "Beng": "ব র|ড ড়|য য়|ঢ ঢ়|ন ণ|ঘ য|ষ য|খ থ|প ফ|ত ও|ই ঈ|উ ঊ|এ ঐ|ম য|ল ন|চ ঢ|ক ফ",
    "Guru": "ਸ ਮ|ਪ ਧ|ਖ ਬ|ਹ ਰ|ਟ ਠ|ਡ ਙ|ਵ ਚ|ਜ ਲ|ਸ਼ ਸ|ਨ ਠ",
    "Gujr": "ઘ ધ|દ ઢ|બ ખ|પ ષ|ય થ|ટ ઠ|ડ ઙ|મ ભ|ર સ|ન ત|ચ ય|વ બ",
    "Orya": "ଡ ଡ଼|ଢ ଢ଼|ଯ ୟ|ପ ଷ|ଘ ସ|ମ ନ|ର ଚ|ଗ ଶ|ତ ଡ|ଥ ଧ|ଇ ଈ|ଉ ଊ",
    "Taml": "ன ண|எ ஏ|ஒ ஓ|ர ற|ல வ|ள ன|ப ய|க த|ஐ ஜ|ந த|உ ஊ|இ ஈ|ம ழ",
    "Telu": "వ ప|ష స|మ య|బ భ|ద ధ|ట ఠ|ఎ ఏ|ఒ ఓ|న స|ర గ|చ ఛ|క శ|ల ళ|త ళ",
    "Knda": "ಬ ಭ|ವ ಪ|ದ ಧ|ಎ ಏ|ಒ ಓ|ಥ ಧ|ಮ ಯ|ಚ ಛ|ಸ ನ|ತ ಶ|ಲ ಅ|ರ ಠ|ಗ ನ",
    "Mlym": "ന ത|സ ഡ|ഗ ശ|വ ബ|പ വ|ദ ഭ|ധ ഡ|ല ഖ|എ ഏ|ഒ ഓ|റ ഠ|ഴ ഷ|യ ത|ണ ന|മ ഥ",
    "Sinh": "ම ව|ච ව|බ ඩ|ප ජ|ත න|ට ර|ද ඳ|ක ත|ස ය|හ භ|ග ශ|ණ න|ඔ ම|එ ඵ",
    "Thai": (
        "ก ถ ภ|ค ด ต|ช ซ|บ ป|ผ ฝ|พ ฟ|ม น|ล ส|ข ช|ฎ ฏ|ฐ ร|ท ห|ฑ ท|ว า|ง จ|ร ธ|ศ ค|เ แ|โ ไ ใ|อ ฮ"
    ),
    "Laoo": "ດ ຕ|ບ ປ|ຜ ຝ|ພ ຟ|ຍ ຢ|ຄ ດ|ລ ຣ|ສ ລ|ມ ນ|ຫ ຕ|ອ ຮ|ເ ແ|ໂ ໃ ໄ|ກ ຖ",
    "Khmr": "ប ផ|យ ឃ|គ ត|ដ ជ|ន ឧ|ថ ច|ឆ ធ|ព ក|រ ន|ល ស|ម ឋ|វ រ|ង ឯ|ញ ណ",
    "Mymr": "ပ ဎ|ဝ ဂ|စ ရ|င ပ|ထ သ|ဒ အ|ဃ ယ|ဖ ဗ|ည ဉ|န မ|ခ ဓ|တ ဏ|လ သ|ဝ ၀",
    "Tibt": "ང ད|ཏ ཧ|པ ཕ|བ པ|ཙ ཅ|ཚ ཆ|ཛ ཇ|ཤ ག|ཞ བ|ར ས",
    "Ethi": "ሀ ሁ|ሰ ለ|ቀ ፈ|በ ሰ|ተ ቸ|ነ ኘ|ከ ኸ|ዘ ዠ|የ ፐ|ደ ጀ|ጠ ጨ|መ ጠ|ረ ፈ|ወ ው|አ እ|ና ፍ|ት ች|ን ኝ",
    "Tfng": "ⴰ ⵔ|ⴱ ⵙ|ⵍ ⵏ|ⵎ ⵡ|ⵉ ⵢ|ⵓ ⵯ|ⵜ ⵟ|ⴷ ⴹ|ⵣ ⵥ|ⴳ ⵅ",
    "Olck": "ᱟ ᱤ|ᱛ ᱠ|ᱱ ᱢ|ᱞ ᱨ|ᱵ ᱯ",
    "Cher": "Ꭺ Ꮜ|Ꮃ Ꮗ|Ꮎ Ꮝ|Ꭰ Ꭱ|Ꮩ Ꮡ",
    "Cans": "ᐃ ᐅ ᐊ|ᐱ ᐳ ᐸ|ᑎ ᑐ ᑕ|ᑭ ᑯ ᑲ|ᒥ ᒧ ᒪ|ᓂ ᓄ ᓇ|ᓯ ᓱ ᓴ|ᓕ ᓗ ᓚ|ᔨ ᔪ ᔭ",
    "Hani": (
        "己 已 巳|未 末 朱|土 士|日 曰 目|人 入 八|大 太 犬|干 千 于|天 夫 无|白 自 百|田 由 甲 申|"
        "王 玉 主|木 本 术|刀 力|水 永 冰|牛 午|今 令|住 往|处 外|清 情 请|晴 睛|拔 拨|侯 候|的 约|"
        "河 何|地 他 她|用 甩|子 了|口 囗|万 方|上 土|小 少|不 下|车 东|学 字|问 间|"
        "門 問 間|見 貝"
    ),
    "Hira": "は ほ|め ぬ|る ろ|わ ね れ|い り|き さ|ち ら|こ に|あ お|た な|け は|う ら|く へ",
    "Kana": "ソ ン リ|シ ツ ミ|ク ケ タ|ワ ウ フ ク|ア マ ヤ|チ テ|コ ユ ロ|ヌ ス メ|ナ メ|セ ヒ",
    "Hang": (
        "를 틀|이 어|가 기|은 온|는 눈|서 시|지 저|하 히|도 노|로 르|을 올|다 디|수 주|마 미|리 러|"
        "요 오|물 둘|게 계|개 깨|에 예|한 헌|할 힐|있 잇|사 시|나 너"
    ),
    "Mong": "ᠠ ᠨ|ᠣ ᠤ|ᠲ ᠳ|ᠬ ᠭ|ᠪ ᠫ",
    "Adlm": "𞤢 𞤭|𞤣 𞤥|𞤤 𞤲|𞤦 𞤨",
    "Mtei": "ꯀ ꯈ|ꯃ ꯝ|ꯇ ꯊ|ꯂ ꯁ",
}
"""For each script groups of letters, or pairs of letters, between bars; their members by spaces."""

SCRIPTS = tuple(GROUPS)
MOST = 3
"""Readings proposed of a place, at most."""


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose for each letter, and each two of them, some of what it may be read as."""
    del context
    letters = passage.letters
    numbers = draw.numbers("readings", len(letters)).tolist()
    following_ones = (*letters[1:], None)
    for cluster, following, number in zip(letters, following_ones, numbers, strict=False):
        whole = _readings().get(cluster.text, ())
        others = whole or _readings().get(cluster.text[0], ())
        rest = "" if whole else cluster.text[1:]
        for turn in range(min(MOST, len(others))):
            after = others[(number + turn) % len(others)] + rest
            yield from _kept(passage, Edit(cluster.start, cluster.end, cluster.text, after))
        if following and following.start == cluster.end:
            pair = cluster.text + following.text
            for other in _readings().get(pair, ()):
                yield from _kept(passage, Edit(cluster.start, following.end, pair, other))


def _kept(passage: Passage, edit: Edit) -> Iterator[Edit]:
    if keeps_clusters(passage.text, edit):
        yield edit


@cache
def _readings() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for groups in GROUPS.values():
        for group in groups.split("|"):
            members = group.split(" ")
            for member in members:
                others = tuple(other for other in members if other != member)
                found[member] = tuple(dict.fromkeys((*found.get(member, ()), *others)))
    return found
