"""What a folder says of its encoder, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.checkpoint import CheckpointError
from training.folders import open_folder, read_tokenizer, special_ids

Pretrained = Callable[[str], Path]


def change(path: Path, **values: Any) -> None:
    """Change some keys of a JSON file; None takes a key away."""
    content = json.loads(path.read_text()) | values
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept))


@pytest.fixture
def sentence_transformer(pretrained: Pretrained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained("mean"), tmp_path / "model"))


def test_open_folder_of_a_plain_transformer_says_nothing_of_pooling(
    pretrained: Pretrained,
) -> None:
    folder = open_folder(pretrained("bert"))
    assert (folder.pooling, dict(folder.prompts), folder.max_tokens) == (None, {}, None)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_open_folder_of_a_sentence_transformer_reads_all_its_files(
    pooling: str, pretrained: Pretrained
) -> None:
    folder = open_folder(pretrained(pooling))
    assert folder.pooling == pooling
    assert folder.prompts == {"query": "the query: ", "document": "the text: "}
    assert folder.max_tokens == 24
    assert folder.path == pretrained(pooling)


@pytest.mark.parametrize(
    ("mode", "expected"), [("lasttoken", "last"), (["cls"], "cls"), ("mean", "mean")]
)
def test_open_folder_reads_the_newer_form_of_pooling(
    mode: object, expected: str, sentence_transformer: Path
) -> None:
    stated = {"embedding_dimension": 16, "pooling_mode": mode, "include_prompt": True}
    (sentence_transformer / "1_Pooling" / "config.json").write_text(json.dumps(stated))
    assert open_folder(sentence_transformer).pooling == expected


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({"query": "q: ", "document": "d: ", "passage": "p: "}, None, ("q: ", "d: ")),
        ({"query": "", "any": "a: "}, "any", ("", "a: ")),
        ({"clustering": "c: "}, None, ("", "")),
    ],
)
def test_open_folder_chooses_prompts_as_the_library_does(
    prompts: dict[str, str],
    default: str | None,
    expected: tuple[str, str],
    sentence_transformer: Path,
) -> None:
    stated = sentence_transformer / "config_sentence_transformers.json"
    stated.write_text(json.dumps({"prompts": prompts, "default_prompt_name": default}))
    found = open_folder(sentence_transformer).prompts
    assert (found["query"], found["document"]) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling_mode_cls_token": True}, "pooling_mode_mean_tokens, pooling_mode_cls_token"),
        ({"pooling_mode_mean_tokens": False}, "no pooling"),
        (
            {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True},
            "pooling_mode_max_tokens",
        ),
        ({"include_prompt": False}, "include_prompt"),
    ],
)
def test_open_folder_with_another_pooling_is_refused(
    changes: dict[str, Any], message: str, sentence_transformer: Path
) -> None:
    change(sentence_transformer / "1_Pooling" / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        open_folder(sentence_transformer)


def test_open_folder_with_a_part_that_is_not_supported_names_it(sentence_transformer: Path) -> None:
    path = sentence_transformer / "modules.json"
    modules = json.loads(path.read_text())
    dense = {"idx": 3, "name": "3", "path": "3", "type": "sentence_transformers.models.Dense"}
    path.write_text(json.dumps([*modules, dense]))
    with pytest.raises(CheckpointError, match="Transformer, Pooling, Normalize, Dense"):
        open_folder(sentence_transformer)
    path.write_text(json.dumps([{"idx": 0}]))
    with pytest.raises(CheckpointError, match="malformed"):
        open_folder(sentence_transformer)


@pytest.mark.parametrize(
    ("name", "message"),
    [(None, "no backbone at"), ("empty", "neither config.json nor modules.json")],
)
def test_open_folder_without_a_model_is_refused(
    name: str | None, message: str, tmp_path: Path
) -> None:
    if name:
        (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=message):
        open_folder(tmp_path / (name or "absent"))


def test_read_tokenizer_drops_the_padding_and_cut_that_were_saved(
    sentence_transformer: Path,
) -> None:
    path = sentence_transformer / "tokenizer.json"
    tokenizer = read_tokenizer(open_folder(sentence_transformer))
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(path))
    again = read_tokenizer(open_folder(sentence_transformer))
    assert len(again.encode("maize").ids) < 12
    assert len(again.encode("maize " * 30).ids) > 30


def test_read_tokenizer_lowercases_where_the_folder_says_so(sentence_transformer: Path) -> None:
    from tokenizers import normalizers

    path = sentence_transformer / "tokenizer.json"
    tokenizer = read_tokenizer(open_folder(sentence_transformer))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.save(str(path))
    cased = read_tokenizer(open_folder(sentence_transformer))
    change(sentence_transformer / "sentence_bert_config.json", do_lower_case=True)
    lowered = read_tokenizer(open_folder(sentence_transformer))
    assert lowered.encode("MAIZE").ids == cased.encode("maize").ids != cased.encode("MAIZE").ids


def test_read_tokenizer_of_files_that_are_no_vocabulary_names_them(
    sentence_transformer: Path,
) -> None:
    (sentence_transformer / "tokenizer.json").rename(
        sentence_transformer / "sentencepiece.bpe.model"
    )
    with pytest.raises(CheckpointError, match=r"only sentencepiece\.bpe\.model.*tokenizer\.json"):
        read_tokenizer(open_folder(sentence_transformer))
    (sentence_transformer / "sentencepiece.bpe.model").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer: expected tokenizer\.json"):
        read_tokenizer(open_folder(sentence_transformer))


def test_special_ids_are_read_by_role(pretrained: Pretrained) -> None:
    folder = open_folder(pretrained("xlm-roberta"))
    found = special_ids(folder, read_tokenizer(folder))
    assert found == {"pad": 1, "unk": 3, "cls": 0, "sep": 2}


def test_special_ids_without_a_padding_token_falls_back_to_the_model(
    sentence_transformer: Path,
) -> None:
    folder = open_folder(sentence_transformer)
    tokenizer = read_tokenizer(folder)
    change(sentence_transformer / "tokenizer_config.json", pad_token=None)
    (sentence_transformer / "special_tokens_map.json").unlink(missing_ok=True)
    assert special_ids(folder, tokenizer)["pad"] == 0
    change(sentence_transformer / "config.json", pad_token_id=None)
    with pytest.raises(CheckpointError, match="no padding token"):
        special_ids(folder, tokenizer)
