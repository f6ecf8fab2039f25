from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from training.assembly import encoder_of, load_encoder
from training.checkpoint import CheckpointError, EncoderConfig, Snapshot, save_checkpoint
from training.composed import ComposedEncoder, folded, grams_of
from training.config import ConfigError, load_config
from training.model import StaticEncoder
from training.vocabulary import require_start

TINY = Path(__file__).parents[2] / "training" / "configs" / "tiny.toml"
TOKENS = ("[PAD]", "[UNK]", "▁cat", "▁cats", "at", "dog", "中国", "中文")


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(TOKENS)}, unk_token="[UNK]"))
    made.add_special_tokens(["[PAD]", "[UNK]"])
    return made


def composed(dim: int = 4) -> ComposedEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(
        kind="static", dim=dim, vocab_size=len(TOKENS), max_tokens=9, pad_id=0, grams=True
    )
    encoder = ComposedEncoder(config, grams_of(tokenizer()))
    torch.nn.init.normal_(encoder.grams.weight)
    return encoder.eval()


def test_grams_are_those_that_two_tokens_share() -> None:
    grams = grams_of(tokenizer())
    sizes = (grams.starts[1:] - grams.starts[:-1]).tolist()
    # Of "▁cat": ▁ca, cat. "▁cats" has these and "▁cat" too, which one other token is, but no other
    # holds; "at" and "dog" share nothing of three characters; 中 stands in two tokens.
    assert dict(zip(TOKENS, sizes, strict=True)) == {
        **dict.fromkeys(TOKENS, 0),
        "▁cat": 2,
        "▁cats": 2,
        "中国": 1,
        "中文": 1,
    }
    assert grams.count == 3


def test_composed_row_is_its_own_plus_the_mean_of_its_grams() -> None:
    encoder = composed()
    cat = encoder.embeddings.weight[2] + (encoder.grams.weight[0] + encoder.grams.weight[1]) / 2
    assert torch.allclose(encoder.rows(torch.tensor([2]))[0], cat, atol=1e-6)
    assert torch.equal(encoder.rows(torch.tensor([5]))[0], encoder.embeddings.weight[5])


def test_composed_encoder_moves_with_its_grams_as_autograd_says() -> None:
    encoder = composed()
    ids, mask = torch.tensor([[2, 3, 3], [6, 5, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    target = torch.randn(2, 4)
    (encoder(ids, mask) * target).sum().backward()
    got = [encoder.get_parameter(f"{name}.weight").grad for name in ("embeddings", "grams")]
    assert all(grad is not None and grad.is_sparse for grad in got)

    own = encoder.embeddings.weight.detach().clone().requires_grad_()
    grams = encoder.grams.weight.detach().clone().requires_grad_()
    shares = torch.zeros(len(TOKENS), len(grams))
    index = grams_of(tokenizer())
    for token in range(len(TOKENS)):
        places = index.ids[index.starts[token] : index.starts[token + 1]]
        shares[token, places] = 1 / max(1, len(places))
    table = own + shares @ grams
    sums = (table[ids] * mask[:, :, None]).sum(dim=1)
    (torch.nn.functional.normalize(sums, dim=1) * target).sum().backward()
    for found, wanted in zip(got, (own.grad, grams.grad), strict=True):
        assert found is not None
        assert wanted is not None
        assert torch.allclose(found.to_dense(), wanted, atol=1e-6)


def test_folded_encoder_has_the_same_vectors_and_one_table() -> None:
    encoder = composed()
    plain = folded(encoder)
    ids, mask = torch.tensor([[2, 3, 6], [7, 5, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert type(plain) is StaticEncoder
    assert not plain.config.grams
    assert list(plain.state_dict()) == ["embeddings.weight"]
    assert torch.allclose(plain(ids, mask), encoder(ids, mask), atol=1e-6)
    pooled = encoder.pool_from_embeddings(encoder.token_embeddings(ids), mask)
    assert torch.allclose(pooled, encoder(ids, mask), atol=1e-6)
    assert folded(plain) is plain


def test_checkpoint_of_a_composed_encoder_comes_back_as_one(tmp_path: Path) -> None:
    encoder = composed()
    made = Snapshot(tokenizer().to_str(), encoder.config, encoder.state_dict(), {}, {}, {})
    save_checkpoint(tmp_path, made)
    found = load_encoder(tmp_path)
    assert isinstance(found, ComposedEncoder)
    every = torch.arange(len(TOKENS))
    assert torch.equal(found.rows(every), encoder.rows(every))
    assert isinstance(encoder_of(made), ComposedEncoder)


def test_start_from_a_composed_encoder_needs_grams() -> None:
    section = load_config(TINY).encoder.model_copy(update={"dim": 4})
    with pytest.raises(CheckpointError, match=r"set encoder\.grams = true"):
        require_start(section, composed().config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder.kind=transformer"], r"encoder\.grams needs encoder\.kind = 'static'"),
        (
            ["distillation.transport=1", "encoder.dim=384"],
            r"encoder\.grams excludes distillation\.transport",
        ),
    ],
)
def test_config_refuses_grams_where_they_cannot_be(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(TINY, ["encoder.grams=true", *overrides])
