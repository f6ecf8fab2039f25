"""Small checkpoints, as training writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, BertConfig, XLMRobertaConfig

from training.checkpoint import EncoderConfig, Snapshot, save_checkpoint
from training.model import Encoder, StaticEncoder, TransformerEncoder

DIM = 32
MAX_TOKENS = 48
LAYOUTS = {"bert": BertConfig, "xlm-r": XLMRobertaConfig}

RUN = {
    "steps": 7,
    "seconds": 1.5,
    "machine": {"architecture": "x86_64", "threads": 1},
    "languages": ["swh_Latn", "eng_Latn"],
    "corpora": [{"name": "made-up", "licence": "CC0-1.0", "shippable": True}],
    "metrics": {"loss": 1.25},
}

TEXTS = (
    "The doctor comes to the village every Thursday.",
    "Daktari huja kijijini kila Alhamisi.",
    "Врач приезжает в деревню каждый четверг.",
    "医生每个星期四来村里。",
    "डॉक्टर हर गुरुवार को गाँव आता है।",
    "My sister sells fish and vegetables at the market.",
    "Maize, " * 40,
    "?",
)


def make_encoder(kind: str, vocab_size: int, **options: Any) -> Encoder:
    """A seeded encoder; ``kind`` is "static", "bert" or "xlm-r"."""
    torch.manual_seed(0)
    shared = {
        "dim": DIM,
        "vocab_size": vocab_size,
        "max_tokens": MAX_TOKENS,
        "pad_id": 0,
        **options,
    }
    if kind == "static":
        return StaticEncoder(EncoderConfig(kind="static", **shared)).eval()
    layout = LAYOUTS[kind](
        vocab_size=vocab_size,
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_TOKENS + 4,
        pad_token_id=0,
    )
    backbone = AutoModel.from_config(layout, add_pooling_layer=False)
    config = EncoderConfig(kind="transformer", backbone={**layout.to_diff_dict()}, **shared)
    return TransformerEncoder(config, backbone).eval()


def save(
    folder: Path, encoder: Encoder, tokenizer: Tokenizer, run: dict[str, Any] | None = None
) -> Path:
    """Write an encoder as a checkpoint."""
    weights = encoder.state_dict()
    save_checkpoint(
        folder,
        Snapshot(tokenizer.to_str(), encoder.config, weights, run or RUN, {}, {"step": 7}),
    )
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Encoders this small lose more to waiting threads than they gain."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoints(
    tiny_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Gives the folder of a checkpoint of a kind; not to be changed."""
    made: dict[str, Path] = {}

    def checkpoint(kind: str) -> Path:
        if kind not in made:
            encoder = make_encoder(kind, tiny_tokenizer.get_vocab_size())
            made[kind] = save(tmp_path_factory.mktemp("checkpoint") / kind, encoder, tiny_tokenizer)
        return made[kind]

    return checkpoint


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path
