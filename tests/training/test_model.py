from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers import Tokenizer, models, pre_tokenizers

from training.assembly import encoder_of, load_encoder, new_encoder
from training.checkpoint import CheckpointError, EncoderConfig, Snapshot, save_checkpoint
from training.config import EncoderSection
from training.model import Encoder, StaticEncoder, as_encode

KINDS = ("static", "transformer")


def make(kind: str) -> Encoder:
    torch.manual_seed(0)
    section = EncoderSection(kind=kind, dim=16, max_tokens=24, layers=2, heads=2)  # type: ignore[arg-type]
    return new_encoder(section, vocab_size=30, pad_id=0).eval()


def words() -> Tokenizer:
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {chr(97 + i): 2 + i for i in range(26)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def snapshot(encoder: Encoder) -> Snapshot:
    return Snapshot(words().to_str(), encoder.config, encoder.state_dict(), {}, {}, {})


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_rows_have_unit_norm(kind: str) -> None:
    vectors = make(kind)(torch.randint(1, 30, (5, 7)), torch.ones(5, 7, dtype=torch.int64))
    assert vectors.shape == (5, 16)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(5), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_padding_never_changes_a_vector(kind: str) -> None:
    encoder = make(kind)
    alone = encoder(torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.int64))
    padded = encoder(
        torch.tensor([[5, 6, 7, 0, 9], [1, 2, 3, 4, 5]]),
        torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    )
    assert torch.allclose(alone[0], padded[0], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_forward_is_pooling_of_token_embeddings(kind: str) -> None:
    encoder = make(kind)
    ids, mask = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    pooled = encoder.pool_from_embeddings(encoder.token_embeddings(ids), mask)
    assert torch.allclose(pooled, encoder(ids, mask), atol=1e-6)


def test_static_encoder_is_the_normalized_mean_hand_computed() -> None:
    encoder = StaticEncoder(
        EncoderConfig(kind="static", dim=2, vocab_size=3, max_tokens=4, pad_id=0)
    )
    with torch.no_grad():
        encoder.embeddings.weight.copy_(torch.tensor([[9.0, 9.0], [6.0, 0.0], [0.0, 8.0]]))
    vector = encoder(torch.tensor([[1, 2, 0]]), torch.tensor([[1, 1, 0]]))
    assert torch.allclose(vector, torch.tensor([[0.6, 0.8]]))


def test_static_encoder_sparse_gradient_equals_torchs_dense_one() -> None:
    encoder = make("static")
    ids = torch.tensor([[5, 6, 5, 0], [7, 5, 9, 11]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    target = torch.randn(2, 16)
    (encoder(ids, mask) * target).sum().backward()
    table = encoder.get_parameter("embeddings.weight")
    assert table.grad is not None
    assert table.grad.is_sparse
    assert sorted(table.grad.coalesce().indices()[0].tolist()) == [5, 6, 7, 9, 11]
    found = table.grad.to_dense()
    reference = table.detach().clone().requires_grad_()
    means = torch.stack([reference[[5, 6, 5]].mean(0), reference[[7, 5, 9, 11]].mean(0)])
    (F.normalize(means, dim=-1) * target).sum().backward()
    assert reference.grad is not None
    assert torch.allclose(found, reference.grad, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_load_encoder_gives_back_the_same_vectors(kind: str, tmp_path: Path) -> None:
    encoder = make(kind)
    save_checkpoint(tmp_path, snapshot(encoder))
    again = load_encoder(tmp_path)
    ids, mask = torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.int64)
    assert again.config == encoder.config
    assert not again.training
    assert torch.equal(again(ids, mask), encoder(ids, mask))


def test_encoder_of_weights_that_do_not_fit_are_refused() -> None:
    kept = snapshot(make("static"))
    other = Snapshot(kept.tokenizer, kept.config, make("transformer").state_dict(), {}, {}, {})
    with pytest.raises(CheckpointError, match="do not fit"):
        encoder_of(other)


@pytest.mark.parametrize("kind", KINDS)
def test_as_encode_text_encodes_the_same_alone_and_in_a_batch(kind: str) -> None:
    encode = as_encode(make(kind), words(), batch_size=2)
    texts = ["a b c d e f", "z", "c\u0000  b ", "q r s t", "", "a " * 100]
    together = encode(texts)
    assert together.dtype == np.float32
    assert together.shape == (6, 16)
    for row, text in enumerate(texts):
        assert encode([text])[0] == pytest.approx(together[row], abs=1e-6)


def test_as_encode_texts_are_normalized_and_cut() -> None:
    encode = as_encode(make("static"), words())
    same = encode(["c b", " c\u0001\n b", "a " * 24, "a " * 24 + "z"])
    assert same[0] == pytest.approx(same[1])
    assert same[2] == pytest.approx(same[3])


def test_as_encode_no_texts_gives_no_rows() -> None:
    assert as_encode(make("static"), words())([]).shape == (0, 16)


def test_as_encode_encoder_under_training_is_measured_without_dropout() -> None:
    encoder = make("transformer").train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    encode = as_encode(encoder, words())
    first, second = encode(["a b c"]), encode(["a b c"])
    assert np.array_equal(first, second)
    assert encoder.training


@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("last", -1)])
def test_transformer_pools_the_texts_own_first_and_last_token(pooling: str, place: int) -> None:
    encoder = make("transformer")
    encoder.config = encoder.config.model_copy(update={"pooling": pooling})
    states = torch.randn(3, 4, 16)
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    for row, vector in enumerate(encoder.pool(states, mask)):
        own = states[row][mask[row].bool()]
        assert torch.allclose(vector, F.normalize(own[place], dim=0), atol=1e-6)


def test_noise_counts_are_of_a_point() -> None:
    movable = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    moving, total = make("static").noise_counts(movable, mask)
    assert moving.tolist() == [[2.0], [2.0]]
    assert total.tolist() == [[3.0], [4.0]]
    moving, total = make("transformer").noise_counts(movable, mask)
    assert moving.tolist() == [[0, 1, 1, 0], [0, 1, 1, 0]]
    assert total.tolist() == [[1] * 4] * 2
