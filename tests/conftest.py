"""Fixtures that several packages' tests share."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from export.bundle import Contents, staged, write_artifact
from export.golden import GOLDEN_TEXTS
from export.graph import static_graph, static_int8_graph
from export.parts import GraphSet
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


BODY_DIM = 16
BODY_TOKENS = 40  # that a body has positions for
BODIES = ("bert", "minilm", "distilbert", "mpnet", "xlm-roberta", "xlm")


def train_library_tokenizer(kind: str) -> Tokenizer:
    """A tokenizer of the kind that an architecture comes with, special tokens and all."""
    special = {
        "xlm-roberta": ("<s>", "<pad>", "</s>", "<unk>"),
        "mpnet": ("<s>", "<pad>", "</s>", "[UNK]"),
        "xlm": ("<s>", "</s>", "<pad>", "<unk>"),
    }.get(kind, ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    options = {"vocab_size": 700, "special_tokens": list(special), "show_progress": False}
    if kind == "xlm-roberta":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581")
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **options)
    elif kind == "xlm":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        trainer = trainers.BpeTrainer(end_of_word_suffix="</w>", **options)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(**options)
    if kind != "xlm-roberta":
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(SENTENCES, trainer)
    first, last = {"xlm": ("</s>", "</s>"), "mpnet": ("<s>", "</s>")}.get(
        kind, ("<s>", "</s>") if kind == "xlm-roberta" else ("[CLS]", "[SEP]")
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in {first, last}],
    )
    return tokenizer


def write_body(folder: Path, kind: str) -> None:
    """Save a small body with random weights and its tokenizer as transformers does."""
    import torch
    import transformers as library

    tokenizer = train_library_tokenizer(kind)
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    if kind == "mpnet":
        special["unk_token"] = "[UNK]"
    elif kind == "xlm":
        special["cls_token"] = "</s>"
    elif kind != "xlm-roberta":
        special = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep")}
    size = {
        "vocab_size": tokenizer.get_vocab_size(),
        "pad_token_id": tokenizer.token_to_id(special["pad_token"]),
    }
    wide = {"hidden_size": BODY_DIM, "num_hidden_layers": 2, "num_attention_heads": 2}
    wide["intermediate_size"] = 32
    narrow = {"dim": BODY_DIM, "n_layers": 2, "n_heads": 2}
    torch.manual_seed(1)
    if kind == "xlm-roberta":
        layout = library.XLMRobertaConfig(
            max_position_embeddings=BODY_TOKENS + 2, type_vocab_size=1, **wide, **size
        )
    elif kind == "mpnet":
        layout = library.MPNetConfig(max_position_embeddings=BODY_TOKENS + 2, **wide, **size)
    elif kind == "xlm":
        layout = library.XLMConfig(
            emb_dim=BODY_DIM,
            n_layers=2,
            n_heads=2,
            n_langs=3,
            max_position_embeddings=BODY_TOKENS,
            **size,
        )
    elif kind == "distilbert":
        layout = library.DistilBertConfig(
            hidden_dim=32, max_position_embeddings=BODY_TOKENS, **narrow, **size
        )
    else:
        layout = library.BertConfig(max_position_embeddings=BODY_TOKENS, **wide, **size)
    model = library.AutoModel.from_config(layout)
    with torch.no_grad():
        for parameter in model.parameters():  # so that every weight matters to a vector
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    fast = library.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.save_pretrained(folder)


def write_sentence_transformer(folder: Path, pooling: str, prompts: dict[str, str]) -> None:
    """Put the files of sentence-transformers around a minilm body."""
    write_body(folder, "minilm")
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir()
    stated = {
        "modules.json": modules,
        "1_Pooling/config.json": {
            "word_embedding_dimension": BODY_DIM,
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_lasttoken": pooling == "last",
        },
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": prompts, "default_prompt_name": None},
    }
    for name, content in stated.items():
        (folder / name).write_text(json.dumps(content))


# Sizes and activation of the layers of "dense"; the second has no bias.
DENSE = ((BODY_DIM, 24, "ReLU"), (24, 12, "Tanh"))


def add_dense(folder: Path) -> None:
    """Put dense layers between pooling and unit length of a sentence-transformers folder."""
    import torch
    from safetensors.torch import save_file

    modules = json.loads((folder / "modules.json").read_text())
    last = modules.pop()
    dice = torch.Generator().manual_seed(2)
    for place, (inputs, outputs, activation) in enumerate(DENSE, 2):
        layer = folder / f"{place}_Dense"
        layer.mkdir()
        bias = place == 2
        stated = {
            "in_features": inputs,
            "out_features": outputs,
            "bias": bias,
            "activation_function": f"torch.nn.modules.activation.{activation}",
        }
        (layer / "config.json").write_text(json.dumps(stated))
        weights = {"linear.weight": torch.randn(outputs, inputs, generator=dice) / 4}
        if bias:
            weights["linear.bias"] = torch.randn(outputs, generator=dice) / 4
        save_file(weights, layer / "model.safetensors")
        kind = "sentence_transformers.models.Dense"
        modules.append({"idx": place, "name": str(place), "path": layer.name, "type": kind})
    place = len(modules)
    modules.append({**last, "idx": place, "name": str(place), "path": f"{place}_Normalize"})
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a small pretrained body by its kind; not to be changed.

    ``BODIES`` are saved as transformers does; "mean", "cls" and "last" are a minilm with prompts
    and that pooling, as sentence-transformers saves it; "dense" is "mean" with ``DENSE`` layers.
    """
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("pretrained") / kind
            made[kind].mkdir()
            if kind in BODIES:
                write_body(made[kind], kind)
            else:
                prompts = {"query": "the query: ", "passage": "the text: "}
                pooling = "mean" if kind == "dense" else kind
                write_sentence_transformer(made[kind], pooling, prompts)
            if kind == "dense":
                add_dense(made[kind])
        return made[kind]

    return folder


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
            "int8": GraphSet(static_int8_graph(*quantize_rows(tiny_table))),
            "fp32": GraphSet(static_graph(tiny_table)),
        },
        licence="CC0-1.0",
        languages=("eng_Latn", "swh_Latn"),
        card="# tiny\n\nRandom vectors for tests.\n",
    )
    out = tmp_path_factory.mktemp("artifact") / "tiny"
    with staged(out) as folder:
        write_artifact(folder, contents)
    return out
