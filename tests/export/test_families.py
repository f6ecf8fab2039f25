"""Folders of other libraries as served artifacts: the vectors are those of the libraries."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from app.artifact import load_manifest
from app.encoder.encoder import TextEncoder
from app.errors import ArtifactError
from export.__main__ import main
from export.sources import load_source
from training.checkpoint import CheckpointError

from .conftest import TEXTS
from .families import FAMILIES, library_vectors, write_family

Pretrained = Callable[[str], Path]
STRIPPED = [text.strip() for text in TEXTS]
BODIES = ("bert", "minilm", "distilbert", "mpnet", "xlm-roberta", "xlm")
BODY_TOKENS = 40  # that they have positions for
DECODERS = ("qwen3", "llama")


def export(folder: Path, out: Path, texts: Path, *options: str) -> int:
    shared = ["--precisions", "fp32", "--texts", str(texts)]
    return main([str(folder), str(out), *shared, *options])


def serve(out: Path, role: str = "document") -> np.ndarray:
    served = TextEncoder.open(out, device="cpu", precision="fp32")
    try:
        return (served.encode_query if role == "query" else served.encode_document)(STRIPPED)
    finally:
        served.close()


@pytest.fixture(scope="module")
def family(pretrained: Pretrained, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            out = tmp_path_factory.mktemp("family") / name
            made[name] = write_family(out, name, pretrained)
        return made[name]

    return folder


@pytest.mark.parametrize("kind", BODIES)
def test_export_of_a_plain_transformer_serves_the_librarys_vectors(
    kind: str, pretrained: Pretrained, texts_file: Path, tmp_path: Path
) -> None:
    folder, out = pretrained(kind), tmp_path / "artifact"

    assert export(folder, out, texts_file, "--pooling", "mean") == 0

    expected = library_vectors(folder, STRIPPED, "mean", BODY_TOKENS)
    np.testing.assert_allclose(serve(out), expected, atol=1e-5)
    assert load_manifest(out).max_tokens == BODY_TOKENS  # XLM-R and MPNet have two rows more


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_load_source_of_another_architecture_gives_the_librarys_vectors(
    name: str, family: Pretrained
) -> None:
    pooling = "last" if name in DECODERS else "mean"
    checkpoint = load_source(family(name), pooling, 32)

    expected = library_vectors(family(name), STRIPPED, pooling, 32)
    np.testing.assert_allclose(checkpoint.as_encode()(STRIPPED), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "pooling"), [("modernbert", "cls"), ("deberta-v2", "mean"), ("qwen3", "last")]
)
def test_export_of_another_architecture_serves_the_librarys_vectors(
    name: str, pooling: str, family: Pretrained, texts_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "artifact"

    options = ("--pooling", pooling, "--max-tokens", "24")
    assert export(family(name), out, texts_file, *options) == 0

    expected = library_vectors(family(name), STRIPPED, pooling, 24)
    np.testing.assert_allclose(serve(out), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "cls", "last", "dense"])
def test_export_of_a_sentence_transformer_serves_its_vectors(
    kind: str, pretrained: Pretrained, texts_file: Path, tmp_path: Path
) -> None:
    folder, out = pretrained(kind), tmp_path / "artifact"

    assert export(folder, out, texts_file) == 0

    after = dense_by_hand(folder) if kind == "dense" else None
    pooling = "mean" if kind == "dense" else kind
    for role, prompt in (("query", "the query: "), ("document", "the text: ")):
        prompted = [prompt + text for text in STRIPPED]
        expected = library_vectors(folder, prompted, pooling, 24, after)
        np.testing.assert_allclose(serve(out, role), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["mean", "cls", "last", "dense"])
def test_load_source_gives_what_sentence_transformers_gives(
    kind: str, pretrained: Pretrained
) -> None:
    library = pytest.importorskip("sentence_transformers", reason="is not installed")
    model = library.SentenceTransformer(str(pretrained(kind)), device="cpu")

    ours = load_source(pretrained(kind)).as_encode()(STRIPPED)

    theirs = model.encode(STRIPPED, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def dense_by_hand(folder: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    first = load_file(folder / "2_Dense" / "model.safetensors")
    second = load_file(folder / "3_Dense" / "model.safetensors")

    def apply(pooled: torch.Tensor) -> torch.Tensor:
        pooled = torch.relu(pooled @ first["linear.weight"].T + first["linear.bias"])
        return torch.tanh(pooled @ second["linear.weight"].T)

    return apply


def write_static(folder: Path, tokenizer: Tokenizer, **tensors: torch.Tensor) -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    kinds = (("", "StaticEmbedding"), ("1_Normalize", "Normalize"))
    modules: list[dict[str, Any]] = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("form", ["sentence-transformers", "model2vec"])
def test_export_of_a_static_model_serves_its_vectors(
    form: str, tiny_tokenizer: Tokenizer, texts_file: Path, tmp_path: Path
) -> None:
    size = tiny_tokenizer.get_vocab_size()
    table = torch.randn(size, 8, generator=torch.Generator().manual_seed(3))
    if form == "model2vec":  # rows are shared among tokens, and weighed
        mapping, weights = torch.arange(size) // 2, torch.linspace(0.5, 2, size)
        tensors = {"embeddings": table[: size // 2 + 1], "mapping": mapping, "weights": weights}
        table = table[mapping] * weights[:, None]
    else:
        tensors = {"embedding.weight": table}
    folder, out = write_static(tmp_path / "static", tiny_tokenizer, **tensors), tmp_path / "out"

    assert export(folder, out, texts_file, "--max-tokens", "64") == 0

    ids = [tiny_tokenizer.encode(text, add_special_tokens=False).ids[:64] for text in STRIPPED]
    means = torch.stack([table[row].mean(0) for row in ids])
    expected = torch.nn.functional.normalize(means, dim=-1).numpy()
    np.testing.assert_allclose(serve(out), expected, atol=1e-5)
    with pytest.raises(ArtifactError, match=r"any length.*--max-tokens"):
        load_source(folder)
    with pytest.raises(ArtifactError, match="--pooling cls for a static model"):
        load_source(folder, "cls", 64)


def test_load_source_of_a_static_model_with_more_parts_is_refused(
    tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    table = torch.zeros(tiny_tokenizer.get_vocab_size() - 1, 8)
    folder = write_static(tmp_path / "static", tiny_tokenizer, **{"embedding.weight": table})
    with pytest.raises(ArtifactError, match="a row for each id"):
        load_source(folder, max_tokens=64)
    text = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(text.replace("Normalize", "Dense"))
    with pytest.raises(CheckpointError, match="made of StaticEmbedding, Dense: expected"):
        load_source(folder, max_tokens=64)
