"""The list of a sentence-transformers folder's parts, which others wrote."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.checkpoint import CheckpointError
from training.folders import open_folder
from training.modules import Part, read_parts

Pretrained = Callable[[str], Path]
LIBRARY = "sentence_transformers.models."


def write(folder: Path, *parts: tuple[str, str]) -> Path:
    modules = [{"idx": n, "path": path, "type": kind} for n, (kind, path) in enumerate(parts)]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


@pytest.fixture
def folder(pretrained: Pretrained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained("mean"), tmp_path / "model"))


def test_read_parts_takes_old_and_new_names_in_order(tmp_path: Path) -> None:
    new = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    write(tmp_path, (LIBRARY + "Transformer", ""), (new, "1_Pooling"))
    modules = json.loads((tmp_path / "modules.json").read_text())
    (tmp_path / "modules.json").write_text(json.dumps(modules[::-1]))
    assert read_parts(tmp_path) == [
        Part("Transformer", tmp_path),
        Part("Pooling", tmp_path / "1_Pooling"),
    ]


@pytest.mark.parametrize("path", ["../secret", "/etc", "1_Pooling/../../secret", "linked"])
def test_read_parts_that_lead_out_of_the_folder_are_refused(path: str, folder: Path) -> None:
    secret = folder.parent / "secret"
    shutil.copytree(folder / "1_Pooling", secret)
    (folder / "linked").symlink_to(secret, target_is_directory=True)
    write(folder, (LIBRARY + "Transformer", ""), (LIBRARY + "Pooling", path))
    with pytest.raises(CheckpointError, match=r"which leads out of .*expected a path within it"):
        open_folder(folder)


def test_read_parts_within_the_folder_may_be_linked(folder: Path) -> None:
    (folder / "linked").symlink_to(folder / "1_Pooling", target_is_directory=True)
    write(folder, (LIBRARY + "Transformer", ""), (LIBRARY + "Pooling", "linked"))
    assert open_folder(folder).pooling == "mean"


@pytest.mark.parametrize(
    "kind", ["custom_st.Transformer", "Transformer", "sentence_transformersx.T"]
)
def test_read_parts_of_other_code_are_refused_by_name(kind: str, folder: Path) -> None:
    write(folder, (kind, ""), (LIBRARY + "Pooling", "1_Pooling"))
    with pytest.raises(CheckpointError, match=rf"'{kind}'.*no code of a folder is run"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{}]", "malformed"),
        ("{", "cannot read"),
        ("[" * 100_000, "cannot read"),
        ('[{"idx": 0, "path": "a\\u0000b", "type": "sentence_transformers.T"}]', "no path"),
    ],
)
def test_read_parts_of_a_broken_list_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_parts(tmp_path)


@pytest.mark.parametrize("kind", ["WeightedLayerPooling", "CNN", "LSTM", "LayerNorm", "Router"])
def test_open_folder_with_another_part_names_it(kind: str, folder: Path) -> None:
    pooling = (LIBRARY + "Pooling", "1_Pooling")
    write(folder, (LIBRARY + "Transformer", ""), pooling, (LIBRARY + kind, "2"))
    with pytest.raises(CheckpointError, match=f"Transformer, Pooling, {kind}: expected"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"transformer_task": "fill-mask"}, "transformer_task"),
        ({"module_output_name": "scores"}, "module_output_name"),
        ({"modality_config": {"text": {"method": "get_text_features"}}}, "modality_config"),
        ({"query_expansion": {"length": 32}}, "query_expansion"),
        ({"config_args": {"is_decoder": True}}, "config_args.is_decoder"),
    ],
)
def test_open_folder_with_options_that_are_not_followed_names_them(
    options: dict[str, Any], named: str, folder: Path
) -> None:
    stated = folder / "sentence_bert_config.json"
    stated.write_text(json.dumps({"max_seq_length": 24, **options}))
    with pytest.raises(CheckpointError, match=f"has {named} in its sentence_"):
        open_folder(folder)
    harmless = {
        "model_args": {"add_pooling_layer": False},
        "transformer_task": "feature-extraction",
    }
    stated.write_text(json.dumps({"max_seq_length": 24, **harmless}))
    assert open_folder(folder).max_tokens == 24
