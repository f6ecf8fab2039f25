import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training import teacher
from training.batches import HybridBatches
from training.checkpoint import CheckpointError
from training.config import BatchesSection, ConfigError, CorporaSection, TrainConfig
from training.corpus import CorpusError, load_bitext, select_corpora
from training.teacher import encode_teacher, open_teacher, teach, teacher_of
from training.tokens import TokenTable

TEXTS = ["A dog runs.", "The bank raised its rates again this year.", "Dog"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "dog", "bank", "runs", "."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain transformers folder of a tiny BERT with 16 dimensions."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    path = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    layout = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        pad_token_id=0,
    )
    BertModel(layout, add_pooling_layer=False).save_pretrained(path)
    tokenizer = Tokenizer(models.WordLevel(dict(zip(WORDS, range(9), strict=True)), "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def test_encode_teacher_knows_what_is_alike_and_ignores_order() -> None:
    texts = ["A dog runs.", "The bank raised its rates again this year.", "A puppy is running."]
    vectors = encode_teacher(texts, batch_size=2)
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.3
    assert encode_teacher(texts[::-1])[::-1] == pytest.approx(vectors, abs=1e-5)


def test_teach_encodes_the_english_pivots_drawn_most(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        teacher, "encode_teacher", lambda texts: np.full((len(texts), 384), 1, np.float32)
    )
    bitext = load_bitext(data, select_corpora(["nllb-seed", "wikipedia-app"], shippable=True))
    offsets = np.arange(len(bitext.texts) + 1) * 8
    batches = HybridBatches(
        bitext,
        TokenTable(np.arange(offsets[-1], dtype=np.int32), offsets, pad_id=0),
        CorporaSection(weights={"nllb-seed": 1.0, "wikipedia-app": 9.0}),
        BatchesSection(pairs=4),
        max_tokens=8,
        seed=0,
    )
    found = teach(bitext, batches, 40)
    encoded = np.flatnonzero(found.row_of >= 0)
    of_app = set(bitext.text_a[bitext.corpus == 1].tolist())
    assert len(encoded) == len(found.vectors) == 40
    assert of_app < set(encoded.tolist())  # 30 texts, of the corpus with nine times the weight
    assert set(encoded.tolist()) <= set(bitext.text_a.tolist())
    assert torch.equal(found.vectors, torch.ones(40, 384))
    foreign = replace(bitext, langs=tuple(lang.replace("eng", "deu") for lang in bitext.langs))
    with pytest.raises(CorpusError, match="no pair that can be drawn has a pivot in eng_Latn"):
        teach(foreign, batches, 40)


def test_teacher_states_pool_to_its_vectors_with_special_tokens_apart() -> None:
    teacher = open_teacher()
    states, real = teacher.states(TEXTS, batch_size=2)
    assert real.sum(dim=1).tolist() == [4, 9, 1]  # without [CLS], [SEP] and padding
    assert not states.requires_grad
    assert not states.is_inference()
    # With the two special tokens back, the mean of a text's states is its vector.
    places = torch.arange(states.shape[1])
    whole = (places < real.sum(dim=1)[:, None] + 2)[:, :, None]
    pooled = torch.nn.functional.normalize((states * whole).sum(dim=1))
    assert pooled.numpy() == pytest.approx(teacher.vectors(TEXTS), abs=1e-5)


def test_teacher_states_of_no_texts_are_empty(folder: Path) -> None:
    states, real = open_teacher(str(folder)).states([])
    assert states.shape == (0, 1, 16)
    assert real.shape == (0, 1)


def test_open_teacher_reads_both_layouts_and_cuts_at_what_the_model_bears(
    folder: Path, tmp_path: Path
) -> None:
    plain = open_teacher(str(folder))
    shutil.copytree(folder, tmp_path / "0_Transformer")
    write_modules(tmp_path, "mean")
    nested = open_teacher(str(tmp_path))
    texts = ["the dog runs.", "bank " * 40]
    assert np.array_equal(plain.vectors(texts), nested.vectors(texts))
    states, real = plain.states(texts)
    assert states.shape == (2, 12, 16)
    assert real.sum(dim=1).tolist() == [4, 10]


def write_modules(path: Path, mode: str, prompts: dict[str, str] | None = None) -> None:
    (path / "1_Pooling").mkdir()
    modules = [
        {
            "idx": 0,
            "name": "0",
            "path": "0_Transformer",
            "type": "sentence_transformers.Transformer",
        },
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.Pooling"},
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
    if prompts:
        stated = path / "config_sentence_transformers.json"
        stated.write_text(json.dumps({"prompts": prompts}))


@pytest.mark.parametrize(
    ("mode", "prompts", "message"),
    [("cls", None, "cls pooling"), ("mean", {"query": "query: "}, "prompts")],
)
def test_open_teacher_refuses_what_it_would_not_follow(
    folder: Path, tmp_path: Path, mode: str, prompts: dict[str, str] | None, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "0_Transformer")
    write_modules(tmp_path, mode, prompts)
    with pytest.raises(CheckpointError, match=f"distillation.teacher: .* has {message}"):
        open_teacher(str(tmp_path))


def test_open_teacher_refuses_pickles_and_missing_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"distillation.teacher: no .* at .*/nothing"):
        open_teacher(str(tmp_path / "nothing"))
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a pickle, which can run code"):
        open_teacher(str(pickled))


def test_teacher_of_needs_the_students_dimensions(folder: Path, config: TrainConfig) -> None:
    distillation = config.distillation.model_copy(update={"teacher": str(folder)})
    fitting = config.model_copy(update={"distillation": distillation})
    assert teacher_of(fitting).dim == config.encoder.dim == 16
    encoder = config.encoder.model_copy(update={"dim": 32})
    with pytest.raises(ConfigError, match=r"16 dimensions: expected .* encoder.dim 32"):
        teacher_of(fitting.model_copy(update={"encoder": encoder}))
