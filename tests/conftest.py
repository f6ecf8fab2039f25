"""Fixtures that several packages' tests share."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from export.bundle import Contents, staged, write_artifact
from export.golden import GOLDEN_TEXTS
from export.graph import static_graph, static_int8_graph
from export.precision import quantize_rows

SENTENCES = (
    *GOLDEN_TEXTS,
    "The doctor comes to the village every Thursday.",
    "Daktari huja kijijini kila Alhamisi.",
    "Dókítà máa ń wá sí abúlé ní gbogbo Ọjọ́bọ̀.",
    "Likita yana zuwa ƙauye kowace Alhamis.",
    "Le médecin vient au village chaque jeudi.",
    "El médico viene al pueblo todos los jueves.",
    "Der Arzt kommt jeden Donnerstag ins Dorf.",
    "Врач приезжает в деревню каждый четверг.",
    "医生每个星期四来村里。",
    "डॉक्टर हर गुरुवार को गाँव आता है।",
    "Water the maize in the evening, when the sun is low.",
    "Mwagilia mahindi jioni, jua linapokuwa chini.",
    "Riega el maíz por la tarde, cuando el sol está bajo.",
    "My sister sells fish and vegetables at the market.",
    "Dada yangu anauza samaki na mboga sokoni.",
    "Ma sœur vend du poisson et des légumes au marché.",
    "Моя сестра продаёт рыбу и овощи на рынке.",
    "أختي تبيع السمك والخضار في السوق.",
    "我妹妹在市场卖鱼和蔬菜。",
)

TINY_DIM = 64
TINY_MAX_TOKENS = 64


def train_tokenizer(vocab_size: int = 2000) -> Tokenizer:
    """A real subword tokenizer: [PAD] is 0, [UNK] is 1, nothing added to texts."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    return train_tokenizer()


@pytest.fixture(scope="session")
def tiny_table(tiny_tokenizer: Tokenizer) -> np.ndarray:
    """Token vectors, shape (vocab, dim): seeded noise, rarer tokens (higher ids) the longer."""
    rng = np.random.default_rng(0)
    vocab_size = tiny_tokenizer.get_vocab_size()
    table = rng.standard_normal((vocab_size, TINY_DIM)).astype(np.float32)
    weights = np.linspace(0.1, 1.0, vocab_size, dtype=np.float32)
    return table * weights[:, None]


@pytest.fixture(scope="session")
def tiny_artifact(
    tiny_tokenizer: Tokenizer, tiny_table: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small static artifact, int8 and fp32, by the real export code; not to be changed.

    Its vectors are sums of random token vectors: texts that share words lie near each other.
    """
    contents = Contents(
        name="tiny",
        dim=TINY_DIM,
        vocab_size=len(tiny_table),
        max_tokens=TINY_MAX_TOKENS,
        pad_id=0,
        pooling="mean",
        tokenizer=tiny_tokenizer.to_str().encode(),
        graphs={
            "int8": static_int8_graph(*quantize_rows(tiny_table)),
            "fp32": static_graph(tiny_table),
        },
        licence="CC0-1.0",
        languages=("eng_Latn", "swh_Latn"),
        card="# tiny\n\nRandom vectors for tests.\n",
    )
    out = tmp_path_factory.mktemp("artifact") / "tiny"
    with staged(out) as folder:
        write_artifact(folder, contents)
    return out
