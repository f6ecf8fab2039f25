"""Tokenizers put together from vocabulary files alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from training.assembly import first_encoder
from training.checkpoint import CheckpointError
from training.config import TrainConfig
from training.conversion import convert_tokenizer
from training.corpus import load_bitext, select_corpora
from training.folders import open_folder, read_pieces, read_tokenizer, special_ids
from training.vocabulary import first_vocabulary

Pretrained = Callable[[str], Path]
TEXTS = (
    "Mwagilia mahindi jioni, jua linapokuwa chini.",
    "Dókítà máa ń wá sí abúlé ní gbogbo Ọjọ́bọ̀.",
    "Врач приезжает в деревню каждый четверг.",
    "医生每个星期四来村里。",
)


def describe(folder: Path, kind: str, pad_id: int) -> Path:
    folder.mkdir(exist_ok=True)
    described = {"model_type": kind, "pad_token_id": pad_id}
    (folder / "config.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "mpnet"])
def test_convert_tokenizer_of_word_pieces_gives_the_fast_ones_ids(
    kind: str, pretrained: Pretrained, tmp_path: Path
) -> None:
    source = pretrained("mpnet" if kind == "mpnet" else "bert") / "tokenizer.json"
    fast = Tokenizer.from_file(str(source))
    folder = describe(tmp_path / kind, kind, fast.token_to_id("[PAD]") or 0)
    vocabulary = [token for token, _ in sorted(fast.get_vocab().items(), key=lambda x: x[1])]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")

    converted = read_tokenizer(open_folder(folder))

    assert [converted.encode(text).ids for text in TEXTS] == [fast.encode(t).ids for t in TEXTS]
    assert [path.name for path in sorted(folder.iterdir())] == ["config.json", "vocab.txt"]


def test_convert_tokenizer_of_sentencepiece_gives_its_ids_as_xlm_r_counts_them(
    tmp_path: Path,
) -> None:
    folder = describe(tmp_path / "xlm-r", "xlm-roberta", 1)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=70,
        character_coverage=1.0,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.vocab").unlink()

    converted = convert_tokenizer(folder)

    pieces = sentencepiece.SentencePieceProcessor(str(folder / "sentencepiece.bpe.model"))
    # <s> 0, <pad> 1, </s> 2, <unk> 3, and all others one later than in the file.
    expected = [[0, *(i + 1 if i else 3 for i in pieces.encode(text)), 2] for text in TEXTS]
    assert [converted.encode(text).ids for text in TEXTS] == expected
    assert special_ids(open_folder(folder), converted)["pad"] == 1


def save_byte_pairs(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.model.save(str(folder))
    return tokenizer


def test_convert_tokenizer_of_byte_pairs_gives_their_ids(tmp_path: Path) -> None:
    folder = describe(tmp_path / "roberta", "roberta", 1)
    source = save_byte_pairs(folder)

    converted = convert_tokenizer(folder)

    expected = [[0, *source.encode(text).ids, 2] for text in TEXTS]
    assert [converted.encode(text).ids for text in TEXTS] == expected


@pytest.fixture
def old_xlm(pretrained: Pretrained, tmp_path: Path) -> Path:
    """An XLM as it is published: vocabulary files, pairs with counts, and no named tokens."""
    folder = Path(shutil.copytree(pretrained("xlm"), tmp_path / "xlm"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    tokenizer.model.save(str(folder))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    counted = [f"{line} {n}" for n, line in enumerate(lines) if not line.startswith("#")]
    (folder / "merges.txt").write_text("\n".join(counted) + "\n", encoding="utf-8")
    return folder


def test_nearby_tokenizer_of_xlm_splits_words_as_its_own(
    old_xlm: Path, pretrained: Pretrained
) -> None:
    own = Tokenizer.from_file(str(pretrained("xlm") / "tokenizer.json"))
    near = read_pieces(open_folder(old_xlm))
    for text in TEXTS[:3]:  # the fourth is Chinese, where even ours set words apart in two ways
        assert near.encode(text).ids == own.encode(text, add_special_tokens=False).ids
    assert special_ids(open_folder(old_xlm), near) == {"cls": 1, "pad": 2, "sep": 1, "unk": 3}
    (old_xlm / "tokenizer_config.json").write_text('{"do_lowercase_and_remove_accent": false}')
    assert read_pieces(open_folder(old_xlm)).encode("SOKONI").ids != near.encode("SOKONI").ids


def test_first_encoder_on_an_old_xlm_takes_a_learned_vocabulary_alone(
    old_xlm: Path, pretrained: Pretrained, config: TrainConfig, data: Path
) -> None:
    corpora = select_corpora(list(config.corpora.weights), shippable=False)
    bitext = load_bitext(data, corpora, ())
    tree = config.model_dump(exclude_unset=True)
    tables = []
    for folder in (old_xlm, pretrained("xlm")):
        shape = {"kind": "transformer", "dim": 16, "max_tokens": 32, "backbone": str(folder)}
        learning = TrainConfig.model_validate({**tree, "encoder": shape})
        encoder = first_encoder(learning, first_vocabulary(learning, bitext))
        tables.append(encoder.state_dict()["backbone.embeddings.weight"])
    same = (tables[0] == tables[1]).all(dim=1).float().mean()
    assert tables[0].shape == tables[1].shape
    assert same > 0.99

    taking = {**tree, "tokenizer": {"source": "backbone"}}
    taking["encoder"] = {
        "kind": "transformer",
        "dim": 16,
        "max_tokens": 32,
        "backbone": str(old_xlm),
    }
    with pytest.raises(CheckpointError, match=r"tokenizer\.source = 'learn'"):
        first_vocabulary(TrainConfig.model_validate(taking), bitext)


def test_convert_tokenizer_of_xlm_is_refused_because_it_is_a_program(tmp_path: Path) -> None:
    folder = describe(tmp_path / "xlm", "xlm", 2)
    save_byte_pairs(folder)
    with pytest.raises(
        CheckpointError,
        match=r"only vocab\.json, merges\.txt, which cannot be conv.*Expected token",
    ):
        convert_tokenizer(folder)


def test_read_tokenizer_with_code_of_its_own_is_refused(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    folder = describe(tmp_path / "own", "bert", 0)
    (folder / "tokenizer.json").write_bytes((pretrained("bert") / "tokenizer.json").read_bytes())
    stated = {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    (folder / "own.py").write_text("raise SystemExit('was run')")
    with pytest.raises(CheckpointError, match=r"own\.Tokenizer.*no code of a folder is run"):
        read_tokenizer(open_folder(folder))
