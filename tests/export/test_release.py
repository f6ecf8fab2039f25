import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.artifact import load_manifest
from app.encoder.encoder import TextEncoder
from export import release
from export.__main__ import main, parse_precisions
from export.bundle import staged
from export.derivatives import RULES
from export.graph import static_graphs
from export.release import name_from
from export.sources import load_source

from .conftest import TEXTS


def export(source: Path, out: Path, texts: Path, *options: str) -> int:
    return main([str(source), str(out), "--texts", str(texts), *options])


@pytest.mark.parametrize("kind", ["static", "bert", "xlm-r"])
def test_export_gives_an_artifact_that_serves_the_checkpoints_vectors(
    kind: str,
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "artifact"

    assert export(checkpoints(kind), out, texts_file, "--name", "mine") == 0

    manifest = load_manifest(out)
    assert manifest.name == "mine"
    assert capsys.readouterr().out.startswith(f"{manifest.model_id} at {out}\nfp32: ")
    assert os.listdir(tmp_path) == ["artifact"]
    expected = load_source(checkpoints(kind)).as_encode()(TEXTS)
    for precision in ("fp32", "int8"):
        encoder = TextEncoder.open(out, device="cpu", precision=precision)
        cosines = (encoder.encode_document(TEXTS) * expected).sum(axis=1)
        encoder.close()
        assert cosines.min() > {"fp32": 1 - 1e-4, "int8": 1 - 1e-2}[precision]


def test_export_records_origin_figures_and_versions(
    checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    export(checkpoints("static"), tmp_path / "a", texts_file)

    manifest = load_manifest(tmp_path / "a")
    assert manifest.name == "static"
    assert manifest.licence == "as its sources: CC0-1.0"
    assert manifest.metrics["training"] == {"loss": 1.25}
    assert manifest.verification["figures"]["int8"]["alone_to_batch"]["tolerance"] == 1e-7
    assert {"python", "onnxruntime", "torch"} <= set(manifest.versions)
    card = (tmp_path / "a" / "MODEL_CARD.md").read_text()
    for part in ("| steps | 7 |", "| made-up | CC0-1.0 |", "| int8 | texts to torch |", "swh_Latn"):
        assert part in card


def test_export_int8_alone_ships_no_other_graph(
    checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    assert export(checkpoints("static"), tmp_path / "a", texts_file, "--precisions", "int8") == 0

    manifest = load_manifest(tmp_path / "a")
    assert list(manifest.precisions) == ["int8"]
    assert sorted(os.listdir(tmp_path / "a")) == [
        *("MODEL_CARD.md", "encode.int8.onnx", "golden.json", "gradient.int8.onnx"),
        *("lookup.int8.onnx", "manifest.json", "model.int8.onnx", "model.int8.safetensors"),
        "tokenizer.json",
    ]
    assert set(json.loads((tmp_path / "a" / "golden.json").read_text())["vectors"]) == {"int8"}


@pytest.mark.parametrize("kind", ["static", "bert"])
def test_export_no_white_box_leaves_its_graphs_out(
    kind: str, checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    options = ("--no-white-box", "--precisions", "fp32")
    assert export(checkpoints(kind), tmp_path / "a", texts_file, *options) == 0

    graph = load_manifest(tmp_path / "a").precisions["fp32"]
    assert graph.names == ("model.fp32.onnx", "model.fp32.safetensors")


def test_export_encoder_without_derivative_is_told_and_has_no_white_box(
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(RULES, "Softmax")

    options = ("--precisions", "fp32")
    assert export(checkpoints("bert"), tmp_path / "a", texts_file, *options) == 0

    manifest = load_manifest(tmp_path / "a")
    assert manifest.precisions["fp32"].white_box == ()
    assert "refused: bert: got" in manifest.verification["white_box"]["fp32"]
    assert "warning: fp32 has no white box" in capsys.readouterr().err


def test_export_same_checkpoint_twice_gives_the_same_model_id(
    checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        export(checkpoints("static"), tmp_path / name, texts_file, "--name", "same")

    assert load_manifest(tmp_path / "a").model_id == load_manifest(tmp_path / "b").model_id


def test_export_failed_verification_leaves_nothing(
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def wrong_graphs(table: np.ndarray, *, white_box: bool) -> object:
        return static_graphs(np.roll(table, 1, axis=0), white_box=white_box)

    monkeypatch.setattr(release, "static_graphs", wrong_graphs)

    assert export(checkpoints("static"), tmp_path / "a", texts_file) == 1

    assert os.listdir(tmp_path) == []
    error = capsys.readouterr().err
    assert error.startswith("export: verification failed: fp32 against torch is off by")
    assert error.count("\n") == 1


def test_export_failure_keeps_the_artifact_that_was_to_be_replaced(
    checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a"
    export(checkpoints("static"), out, texts_file)
    before = load_manifest(out)

    again = (checkpoints("static"), out, texts_file, "--replace", "--name", "other")
    assert export(*again, "--max-bytes", "9") == 1
    assert load_manifest(out) == before
    assert export(*again) == 0
    assert load_manifest(out).name == "other"
    assert os.listdir(tmp_path) == ["a"]


def test_export_place_that_is_taken_is_refused(
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a").mkdir()

    assert export(checkpoints("static"), tmp_path / "a", texts_file) == 1
    assert "--replace" in capsys.readouterr().err
    assert os.listdir(tmp_path / "a") == []


def test_export_replaces_nothing_but_an_artifact(
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "letter.txt").write_text("mine")

    assert export(checkpoints("static"), tmp_path / "a", texts_file, "--replace") == 1
    assert "holds no manifest.json" in capsys.readouterr().err
    assert os.listdir(tmp_path / "a") == ["letter.txt"]


def test_export_too_big_artifact_is_refused(
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(checkpoints("static"), tmp_path / "a", texts_file, "--max-bytes", "1000") == 1
    assert "expected at most 1000" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["no name", "../x"])
def test_export_name_that_cannot_be_is_refused(
    name: str, checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    code = export(checkpoints("static"), tmp_path / "a", texts_file, f"--name={name}")

    assert code == 1


@pytest.mark.parametrize("precisions", ["fp64", "int2", "", "int8,"])
def test_parse_precisions_unknown_one_exits_with_2(
    precisions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["in", "out", "--precisions", precisions])
    assert "expected some of fp32,fp16,int8,int4" in capsys.readouterr().err


def test_parse_precisions_keeps_the_order_without_repeats() -> None:
    assert parse_precisions("int8, fp32,int8") == ("int8", "fp32")


def test_staged_crash_leaves_nothing(tmp_path: Path) -> None:
    def crash() -> None:
        with staged(tmp_path / "deep" / "a") as folder:
            (folder / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()

    assert os.listdir(tmp_path / "deep") == []


@pytest.mark.parametrize(
    ("folder", "name"), [("runs/tiny", "tiny"), ("a b", "a-b"), ("-x-", "x"), ("ü", "encoder")]
)
def test_name_from_gives_a_valid_name(folder: str, name: str) -> None:
    assert name_from(Path(folder)) == name
