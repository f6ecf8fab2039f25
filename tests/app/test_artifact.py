import json
import os
import shutil
from pathlib import Path

import pytest

from app.artifact import (
    GOLDEN,
    MANIFEST,
    Graph,
    Manifest,
    Precision,
    load_manifest,
    model_id,
    read_artifact,
)
from app.checked import describe_file
from app.errors import ArtifactError

FLIPS_PER_FILE = 12


@pytest.fixture
def artifact(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_artifact, tmp_path / "artifact"))


def test_load_manifest_untouched_artifact_lists_every_file(tiny_artifact: Path) -> None:
    manifest = load_manifest(tiny_artifact)

    assert {file.path for file in manifest.files} | {MANIFEST} == set(os.listdir(tiny_artifact))
    assert manifest.model_id.startswith("tiny@")


def test_read_artifact_keeps_the_bytes_asked_for(tiny_artifact: Path) -> None:
    _, contents = read_artifact(tiny_artifact, lambda manifest: (GOLDEN,))

    assert contents == {GOLDEN: (tiny_artifact / GOLDEN).read_bytes()}


def test_read_artifact_opens_each_file_once(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    true_open = os.open

    def counting_open(path: str, flags: int) -> int:
        opened.append(Path(path).name)
        return true_open(path, flags)

    monkeypatch.setattr(os, "open", counting_open)
    read_artifact(tiny_artifact, lambda manifest: [file.path for file in manifest.files])

    assert sorted(opened) == sorted(os.listdir(tiny_artifact))


def test_load_manifest_one_flipped_bit_anywhere_is_refused(artifact: Path) -> None:
    for path in sorted(artifact.iterdir()):
        intact = path.read_bytes()
        for number in range(FLIPS_PER_FILE):
            position = number * (len(intact) - 1) // (FLIPS_PER_FILE - 1)
            spoiled = bytearray(intact)
            spoiled[position] ^= 1 << number % 8
            path.write_bytes(spoiled)
            with pytest.raises(ArtifactError, match=path.name):
                load_manifest(artifact)
        path.write_bytes(intact)
    load_manifest(artifact)


def test_load_manifest_truncated_file_names_both_sizes(artifact: Path) -> None:
    path = artifact / "tokenizer.json"
    size = path.stat().st_size
    os.truncate(path, size - 1)

    with pytest.raises(ArtifactError, match=f"got {size - 1} bytes; expected {size}"):
        load_manifest(artifact)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.int8.onnx", MANIFEST])
def test_load_manifest_missing_file_is_named(artifact: Path, name: str) -> None:
    (artifact / name).unlink()

    with pytest.raises(ArtifactError, match=f"{name}: got no such file"):
        load_manifest(artifact)


@pytest.mark.parametrize("name", ["model.fp16.onnx", ".hidden", "weights.bin"])
def test_load_manifest_extra_file_is_refused(artifact: Path, name: str) -> None:
    (artifact / name).write_bytes(b"x")

    with pytest.raises(ArtifactError, match=f"{name}: got a file .* that manifest.json does not"):
        load_manifest(artifact)


def test_load_manifest_extra_folder_is_refused(artifact: Path) -> None:
    (artifact / "more").mkdir()

    with pytest.raises(ArtifactError, match="more: got a file"):
        load_manifest(artifact)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.int8.onnx", MANIFEST])
def test_load_manifest_symbolic_link_is_refused(artifact: Path, name: str) -> None:
    true = artifact.parent / "true"
    (artifact / name).rename(true)
    (artifact / name).symlink_to(true)

    with pytest.raises(ArtifactError, match="a symbolic link"):
        load_manifest(artifact)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.int8.onnx", MANIFEST])
def test_load_manifest_hard_link_is_refused(artifact: Path, name: str) -> None:
    os.link(artifact / name, artifact.parent / "second-name")

    with pytest.raises(ArtifactError, match="a hard link"):
        load_manifest(artifact)


def test_load_manifest_pipe_is_refused_without_waiting(artifact: Path) -> None:
    (artifact / GOLDEN).unlink()
    os.mkfifo(artifact / GOLDEN)

    with pytest.raises(ArtifactError, match="no plain file"):
        load_manifest(artifact)


@pytest.mark.parametrize("path", ["../tokenizer.json", "/etc/passwd", "a/b", "..", "a\\b", ""])
def test_load_manifest_path_outside_the_folder_is_refused(artifact: Path, path: str) -> None:
    raw = json.loads((artifact / MANIFEST).read_text())
    raw["files"][0]["path"] = path
    (artifact / MANIFEST).write_text(json.dumps(raw))

    with pytest.raises(ArtifactError, match=r"files\.0\.path"):
        load_manifest(artifact)


def test_load_manifest_unknown_field_is_refused(artifact: Path) -> None:
    raw = json.loads((artifact / MANIFEST).read_text())
    (artifact / MANIFEST).write_text(json.dumps({**raw, "hook": "run me"}))

    with pytest.raises(ArtifactError, match="hook"):
        load_manifest(artifact)


def test_load_manifest_no_folder_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="TYNTEGRA_ARTIFACT"):
        load_manifest(tmp_path / "nowhere")


def test_write_changed_file_is_refused_and_old_manifest_stays(artifact: Path) -> None:
    manifest = load_manifest(artifact)
    before = (artifact / MANIFEST).read_bytes()
    with (artifact / GOLDEN).open("ab") as out:
        out.write(b" ")

    with pytest.raises(ArtifactError, match=GOLDEN):
        manifest.write(artifact)
    assert (artifact / MANIFEST).read_bytes() == before


def test_write_leaves_nothing_but_the_manifest(artifact: Path) -> None:
    manifest = load_manifest(artifact)
    (artifact / MANIFEST).unlink()

    manifest.write(artifact)

    assert load_manifest(artifact).to_bytes() == manifest.to_bytes()


def test_manifest_model_id_changes_with_the_weights(tiny_artifact: Path, artifact: Path) -> None:
    manifest = load_manifest(tiny_artifact)
    (artifact / "model.int8.onnx").write_bytes(b"other")
    files = [describe_file(artifact / file.path) for file in manifest.files]

    with pytest.raises(ValueError, match="model_id must be tiny@"):
        Manifest(**{**dict(manifest), "files": files})


WHITE_BOX = {"lookup": "l.onnx", "encode": "e.onnx", "gradient": "g.onnx"}


def with_graph(artifact: Path, **fields: str) -> Manifest:
    """The artifact's manifest with more files for fp32, each of them written."""
    manifest = load_manifest(artifact)
    for name in fields.values():
        (artifact / name).write_bytes(name.encode())
    names = {*(file.path for file in manifest.files), *fields.values()}
    files = [describe_file(artifact / name) for name in sorted(names)]
    graph = Graph(graph=manifest.precisions["fp32"].graph, **fields)
    precisions: dict[Precision, Graph] = {**manifest.precisions, "fp32": graph}
    changed = {
        "files": files,
        "precisions": precisions,
        "model_id": model_id("tiny", files, precisions),
    }
    return Manifest(**{**dict(manifest), **changed})


def test_manifest_external_weights_decide_the_model_id(artifact: Path) -> None:
    before = load_manifest(artifact).model_id

    manifest = with_graph(artifact, weights="weights.bin")
    manifest.write(artifact)

    assert load_manifest(artifact).to_bytes() == manifest.to_bytes()
    assert manifest.model_id != before


def test_manifest_white_box_leaves_the_model_id(artifact: Path) -> None:
    before = load_manifest(artifact).model_id

    manifest = with_graph(artifact, **WHITE_BOX)
    manifest.write(artifact)

    assert load_manifest(artifact).to_bytes() == manifest.to_bytes()
    assert manifest.model_id == before
    assert manifest.precisions["fp32"].white_box == ("l.onnx", "e.onnx", "g.onnx")


@pytest.mark.parametrize("absent", WHITE_BOX)
def test_manifest_part_of_a_white_box_is_refused(artifact: Path, absent: str) -> None:
    with pytest.raises(ValueError, match="together or not at all"):
        with_graph(artifact, **{role: name for role, name in WHITE_BOX.items() if role != absent})


@pytest.mark.parametrize("taken", ["model.fp32.onnx", "model.int8.onnx", "tokenizer.json"])
def test_manifest_file_of_two_roles_is_refused(artifact: Path, taken: str) -> None:
    with pytest.raises(ValueError, match="one role"):
        with_graph(artifact, weights=taken)


def test_manifest_white_box_that_is_not_listed_is_refused(tiny_artifact: Path) -> None:
    manifest = load_manifest(tiny_artifact)
    graph = Graph(graph="model.fp32.onnx", **WHITE_BOX)

    with pytest.raises(ValueError, match=r"files must list e\.onnx, g\.onnx, l\.onnx"):
        Manifest(**{**dict(manifest), "precisions": {"fp32": graph}, "default_precision": "fp32"})


def test_manifest_of_before_a_field_stays_byte_by_byte(tiny_artifact: Path) -> None:
    raw = json.loads((tiny_artifact / MANIFEST).read_text())

    assert "matryoshka" not in raw
    assert raw["precisions"]["int8"] == {"graph": "model.int8.onnx"}


@pytest.mark.parametrize("cuts", [[32, 16], [16, 16], [0, 16], [16, 64], [16, 65]])
def test_manifest_matryoshka_out_of_order_or_range_is_refused(
    tiny_artifact: Path, cuts: list[int]
) -> None:
    with pytest.raises(ValueError, match="matryoshka"):
        Manifest(**{**dict(load_manifest(tiny_artifact)), "matryoshka": cuts})


def test_manifest_matryoshka_is_written_and_read(artifact: Path) -> None:
    manifest = Manifest(**{**dict(load_manifest(artifact)), "matryoshka": [16, 32]})

    manifest.write(artifact)

    assert load_manifest(artifact).matryoshka == [16, 32]
