from pathlib import Path

import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from app.artifact import Manifest, Prompts, load_manifest
from app.encoder.spelling import Spelling
from app.encoder.tokenizer import Tokenizer

TEXTS = [
    "The doctor comes to the village every Thursday.",
    "Dókítà máa ń wá sí abúlé ní gbogbo Ọjọ́bọ̀.",
    "Врач приезжает в деревню каждый четверг.",
    "डॉक्टर हर गुरुवार को गाँव आता है।",
    "医生每个星期四来村里。",
    "  two   spaces ",
]


@pytest.fixture(scope="module")
def manifest(tiny_artifact: Path) -> Manifest:
    return load_manifest(tiny_artifact)


def word_pieces() -> Engine:
    engine = Engine(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    engine.train_from_iterator([*TEXTS, "the query: "], trainer)
    engine.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return engine


def byte_pairs() -> Engine:
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["[PAD]"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    engine.train_from_iterator(TEXTS, trainer)
    return engine


def word_ends() -> Engine:
    engine = Engine(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        end_of_word_suffix="</w>",
        special_tokens=["<pad>", "<unk>"],
        show_progress=False,
    )
    engine.train_from_iterator(TEXTS, trainer)
    return engine


def opened(engine: Engine, manifest: Manifest, prompt: str = "") -> Spelling:
    stated = {"vocab_size": engine.get_vocab_size(), "prompts": Prompts(query=prompt)}
    fitting = manifest.model_copy(update=stated)
    return Spelling(Tokenizer(engine.to_str().encode(), fitting), fitting, "query")


@pytest.mark.parametrize("kind", ["unigram-like", "word pieces", "byte pairs", "word ends"])
def test_read_covers_the_text_token_by_token(
    kind: str, tiny_tokenizer: Engine, manifest: Manifest
) -> None:
    made = {"word pieces": word_pieces, "byte pairs": byte_pairs, "word ends": word_ends}
    engine = made[kind]() if kind in made else tiny_tokenizer
    for read in opened(engine, manifest).read(TEXTS):
        covered = {place for left, right in read.spans for place in range(left, right)}
        seen = {place for place, character in enumerate(read.text) if character != " "}
        assert seen == covered
        assert read.end - read.begin == len(read.spans)
        assert all(left <= right for left, right in read.spans)


def test_read_leaves_special_tokens_and_the_prompt_out(manifest: Manifest) -> None:
    engine = word_pieces()
    spelling, plain = opened(engine, manifest, "the query: "), opened(engine, manifest)

    (read,), (bare,) = (one.read(["The  doctor "]) for one in (spelling, plain))

    assert read.text == "The doctor"
    assert read.ids[read.begin : read.end] == bare.ids[1:-1]
    assert [read.text[left:right] for left, right in read.spans] == ["The", "doctor"]
    assert read.ids[0] == 2
    assert read.begin > bare.begin == 1


def test_read_of_a_text_that_was_cut_holds_what_is_served(
    tiny_tokenizer: Engine, manifest: Manifest
) -> None:
    spelling = opened(tiny_tokenizer, manifest)
    (read,) = spelling.read(["The doctor comes. " * 60])
    assert len(read.ids) == 64
    assert (read.begin, read.end) == (0, 64)
    assert read.spans[-1][1] < len(read.text)


@pytest.mark.parametrize("kind", ["unigram-like", "word pieces", "byte pairs", "word ends"])
def test_surface_put_in_a_tokens_place_is_mostly_read_as_meant(
    kind: str, tiny_tokenizer: Engine, manifest: Manifest
) -> None:
    made = {"word pieces": word_pieces, "byte pairs": byte_pairs, "word ends": word_ends}
    spelling = opened(made[kind]() if kind in made else tiny_tokenizer, manifest)
    (read,) = spelling.read(["the doctor comes"])
    meant = asked = 0
    for number, place in enumerate(range(read.begin, read.end)):
        left, right = read.spans[number]
        for token in spelling.vocabulary:
            if spelling.sort(token) != spelling.sort(read.ids[place]):
                continue
            text = read.text[:left] + spelling.surface(token) + read.text[right:]
            asked += 1
            wanted = (*read.ids[:place], token, *read.ids[place + 1 :])
            meant += spelling.read([text])[0].ids == wanted
    assert asked > 20
    assert meant / asked > 0.25


def test_vocabulary_has_no_special_tokens_and_nothing_invisible(manifest: Manifest) -> None:
    for engine in (word_pieces(), byte_pairs()):
        spelling = opened(engine, manifest)
        special = {token for token, added in engine.get_added_tokens_decoder().items()}
        assert special
        assert not special & set(spelling.vocabulary)
        assert not any(spelling.surface(token) for token in special)
        assert all(spelling.surface(token).strip() for token in spelling.vocabulary)


def romanizing() -> Engine:
    engine = Engine(models.WordLevel({"[UNK]": 0, "dom": 1, "moja": 2}, unk_token="[UNK]"))
    engine.normalizer = normalizers.Sequence(
        [normalizers.Replace(one, two) for one, two in zip("дом", "dom", strict=True)]
    )
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return engine


def test_learn_tells_how_tokens_are_written_in_other_scripts(manifest: Manifest) -> None:
    spelling = opened(romanizing(), manifest)
    assert spelling.surface(1, "Latn") == "dom"
    assert spelling.surface(1, "Cyrl") == ""

    spelling.learn(["moja дом", "дом dom ничего"])

    assert spelling.surface(1, "Cyrl") == "дом"
    assert spelling.surface(1) == spelling.surface(1, "Latn") == "dom"
    assert spelling.surface(1, "Grek") == spelling.surface(2, "Cyrl") == ""


def test_learn_told_to_end_between_texts_learns_nothing(manifest: Manifest) -> None:
    spelling = opened(romanizing(), manifest)
    calls: list[int] = []

    def go_on() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        spelling.learn(["moja дом"] * 500, go_on)
    assert len(calls) == 3
    assert spelling.surface(1, "Cyrl") == ""
