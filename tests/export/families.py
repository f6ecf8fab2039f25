"""Small models of many architectures, as their own library saves and runs them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

_WIDTH = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_PLACES = {"max_position_embeddings": 40}
_OFFSET = {"max_position_embeddings": 42, "type_vocab_size": 1}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
_DECODER = {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 40}
# Class of the configuration, whose tokenizer it has, and the layout beside the width.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "electra": ("Electra", "bert", {"embedding_size": 8, **_PLACES}),
    "albert": ("Albert", "bert", {"embedding_size": 8, **_PLACES}),
    "deberta-v2": (
        "DebertaV2",
        "bert",
        {"position_buckets": 8, "position_biased_input": False, **_RELATIVE, **_PLACES},
    ),
    "modernbert": (
        "ModernBert",
        "bert",
        {"local_attention": 8, "global_attn_every_n_layers": 2, **_PLACES},
    ),
    "roberta": ("Roberta", "xlm-roberta", _OFFSET),
    "camembert": ("Camembert", "xlm-roberta", _OFFSET),
    "xlm-roberta-xl": ("XLMRobertaXL", "xlm-roberta", _OFFSET),
    "gte": ("Gte", "bert", _PLACES),
    "nomic_bert": ("NomicBert", "bert", _PLACES),
    "qwen3": ("Qwen3", "bert", _DECODER),
    "llama": ("Llama", "bert", _DECODER),
}


def write_family(folder: Path, name: str, pretrained: Callable[[str], Path]) -> Path:
    """Save a small model with random weights, and the tokenizer that its kind has."""
    prefix, kind, layout = FAMILIES[name]
    tokenizer = Tokenizer.from_file(str(pretrained(kind) / "tokenizer.json"))
    special = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep")}
    if kind == "xlm-roberta":
        names = ("<pad>", "<unk>", "<s>", "</s>")
        special = dict(zip(special, names, strict=True))
    # None: several of these name special tokens beyond so small a vocabulary.
    rest = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
    options: dict[str, Any] = {**_WIDTH, **rest, **layout}
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=tokenizer.get_vocab_size(),
        pad_token_id=tokenizer.token_to_id(special["pad_token"]),
        **options,
    )
    torch.manual_seed(1)
    model = AutoModel.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # so that every weight matters to a vector
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


def library_vectors(
    folder: Path,
    texts: Sequence[str],
    pooling: str,
    max_tokens: int,
    after: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> NDArray[np.float32]:
    """Encode as the library itself does: ids, padding, segments and positions are all its own."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(
        list(texts), return_tensors="pt", padding=True, truncation=True, max_length=max_tokens
    )
    model = AutoModel.from_pretrained(folder).eval()
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state  # (texts, seq, hidden)
    mask = inputs["attention_mask"][..., None].float()
    vectors = (states * mask).sum(1) / mask.sum(1)
    if pooling == "cls":
        vectors = states[:, 0]
    elif pooling == "last":
        vectors = states[torch.arange(len(states)), inputs["attention_mask"].sum(1) - 1]
    vectors = after(vectors) if after else vectors
    return normalize(vectors, dim=-1).numpy()
