import json
import shutil
from base64 import b64encode
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from app.encoder.encoder import TextEncoder
from app.errors import ArtifactError, InvalidInputError, NotReadyError
from training.checkpoint import EncoderConfig, Snapshot, save_checkpoint
from training.model import StaticEncoder
from training.xtyntegra.encoders import Opening, open_encoder
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.remote import open_remote

DEFAULT = Path(__file__).parents[3] / "app" / "default" / "encoder"
TEXTS = ["habari ya dunia", "news of the world"]


def save_tiny(folder: Path, prompts: dict[str, str]) -> StaticEncoder:
    words = ["[PAD]", "[UNK]", "habari", "ya", "dunia", "news", "of", "the", "world", "query"]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    config = EncoderConfig(
        kind="static", dim=8, vocab_size=len(words), max_tokens=16, pad_id=0, prompts=prompts
    )
    encoder = StaticEncoder(config)
    weights = encoder.state_dict()
    save_checkpoint(folder, Snapshot(tokenizer.to_str(), config, weights, {}, {}, {}))
    return encoder


def test_open_encoder_of_an_artifact_gives_its_vectors_and_names_its_folder() -> None:
    with open_encoder(str(DEFAULT)) as found:
        ours = found.encode_query(TEXTS), found.encode_document(TEXTS)
        assert (found.kind, found.artifact) == ("artifact", DEFAULT)
        assert found.runtime["precision"] in found.identity
    encoder = TextEncoder.open(DEFAULT)
    try:
        assert found.name == encoder.model_id
        np.testing.assert_array_equal(ours[0], encoder.encode_query(TEXTS))
        np.testing.assert_array_equal(ours[1], encoder.encode_document(TEXTS))
    finally:
        encoder.close()


def test_open_encoder_of_a_checkpoint_puts_its_prompts_before_texts(tmp_path: Path) -> None:
    save_tiny(tmp_path / "run", {"query": "query ", "document": ""})
    with open_encoder(str(tmp_path / "run")) as found:
        assert (found.kind, found.name, found.artifact) == ("checkpoint", "run", None)
        query = found.encode_query(TEXTS)
        as_document = found.encode_document(["query " + text for text in TEXTS])
        np.testing.assert_allclose(query, as_document, atol=1e-6)
        assert np.abs(query - found.encode_document(TEXTS)).max() > 0.01


def test_open_encoder_identity_changes_with_the_weights_alone(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save_tiny(tmp_path / name, {"query": "", "document": ""})
    (tmp_path / "second" / "README.md").write_text("a note")
    identities = []
    for name in ("first", "second"):
        with open_encoder(str(tmp_path / name)) as found:
            identities.append(found.identity)
    save_tiny(tmp_path / "second", {"query": "q", "document": ""})
    with open_encoder(str(tmp_path / "second")) as found:
        identities.append(found.identity)
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize("content", [None, "file", "folder"])
def test_open_encoder_of_something_else_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "thing"
    if content == "file":
        path.write_text("x")
    elif content == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("x")
    with (
        pytest.raises(BenchmarkError, match=r"expected an artifact .* or the URL"),
        open_encoder(str(path)),
    ):
        pass


def test_open_encoder_of_a_damaged_artifact_says_which_file(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(DEFAULT, folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"), open_encoder(str(folder)):
        pass


def test_open_encoder_of_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, {})
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(BenchmarkError, match=r"model\.safetensors"), open_encoder(str(tmp_path)):
        pass


def test_open_encoder_refuses_choices_without_effect(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchmarkError, match="--pooling"),
        open_encoder(str(DEFAULT), Opening(pooling="cls")),
    ):
        pass
    save_tiny(tmp_path, {})
    with (
        pytest.raises(BenchmarkError, match="--model"),
        open_encoder(str(tmp_path), Opening(model="name")),
    ):
        pass
    with (
        pytest.raises(BenchmarkError, match="prompts"),
        open_encoder("http://127.0.0.1:9", Opening(prompts={"query": "q: "})),
    ):
        pass


class FakeTyntegra:
    """Answers /info and /embed as Tyntegra does; a vector holds the length and the role."""

    def __init__(self, max_texts: int, max_body_bytes: int) -> None:
        self.limits = {"max_texts": max_texts, "max_body_bytes": max_body_bytes}
        self.requests: list[int] = []
        self.keys: set[str | None] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.keys.add(request.headers.get("authorization"))
        if request.url.path == "/info":
            manifest = {"prompts": {"query": "q: ", "document": ""}}
            info = {"model": "fake@1", "precision": "int8", "limits": self.limits}
            return httpx.Response(200, json=info | {"manifest": manifest})
        assert len(request.content) <= self.limits["max_body_bytes"]
        body = json.loads(request.content)
        assert len(body["inputs"]) <= self.limits["max_texts"]
        self.requests.append(len(body["inputs"]))
        rows = [[len(text), float(body["input_type"] == "query")] for text in body["inputs"]]
        packed = [b64encode(np.array(row, dtype="<f4").tobytes()).decode() for row in rows]
        return httpx.Response(200, json={"embeddings": packed})


def test_open_remote_asks_tyntegra_within_its_limits_and_by_role() -> None:
    fake = FakeTyntegra(max_texts=3, max_body_bytes=1 << 20)
    transport = httpx.MockTransport(fake)
    texts = ["a" * n for n in range(1, 9)]
    with open_remote("http://x", None, {}, "secret", transport) as found:
        queries, documents = found.encode_query(texts), found.encode_document(texts)
    np.testing.assert_array_equal(queries, [[n, 1] for n in range(1, 9)])
    np.testing.assert_array_equal(documents, [[n, 0] for n in range(1, 9)])
    assert fake.requests == [3, 3, 2] * 2
    assert fake.keys == {"Bearer secret"}
    assert (found.name, found.identity) == ("fake@1", "fake@1/int8")


def test_open_remote_cuts_requests_by_their_bytes_too() -> None:
    fake = FakeTyntegra(max_texts=256, max_body_bytes=100_000)
    texts = ["\U0001f600" * 2000] * 10  # 24,000 bytes each, written as escapes
    with open_remote("http://x", None, {}, None, httpx.MockTransport(fake)) as found:
        assert found.encode_query(texts).shape == (10, 2)
    assert len(fake.requests) == 5


def test_open_remote_of_another_service_says_how_to_ask_it() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404, text="not here"))
    with (
        pytest.raises(BenchmarkError, match="--model NAME"),
        open_remote("http://x", None, {}, None, transport),
    ):
        pass


def test_open_remote_without_a_service_says_so() -> None:
    with (
        pytest.raises(NotReadyError, match="No answer from"),
        open_encoder("http://127.0.0.1:9"),
    ):
        pass


def test_open_remote_of_v1_embeddings_sends_model_key_and_prompts() -> None:
    seen: list[tuple[str, str, list[str]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        seen.append((request.headers["authorization"], body["model"], body["input"]))
        data = [{"index": row, "embedding": [3.0, 4.0]} for row in range(len(body["input"]))]
        return httpx.Response(200, json={"data": data})

    prompts = {"query": "query: ", "document": "passage: "}
    transport = httpx.MockTransport(answer)
    with open_remote("http://x/", "e5", prompts, "secret", transport) as found:
        np.testing.assert_allclose(found.encode_query(["a"]), [[0.6, 0.8]])
        found.encode_document(["b"])
    assert seen == [("Bearer secret", "e5", ["query: a"]), ("Bearer secret", "e5", ["passage: b"])]


def test_open_remote_of_v1_embeddings_that_refuses_says_what_to_check() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(401))
    with (
        open_remote("http://x", "e5", {}, None, transport) as found,
        pytest.raises(InvalidInputError, match="401"),
    ):
        found.encode_query(["a"])
