"""The command ``tyntegra artifact``: what it says of sound artifacts and of bad ones."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.artifact import MANIFEST, load_manifest
from app.cli import main
from app.text.script import COMMON, SCRIPTS, script_of_character
from app.verification import script_samples, verify_artifact

from .tampering import load_content, refusal, sign_again

FP32, INT8 = "model.fp32.onnx", "model.int8.onnx"


@pytest.fixture
def copy(tiny_artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_artifact, tmp_path / "copy"))


@pytest.fixture
def refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    return partial(refusal, copy, capsys)


def test_verify_sound_artifact_lists_every_check(
    tiny_artifact: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.write_text("one text\n\nand another\n", encoding="utf-8")

    assert main(["artifact", "verify", str(tiny_artifact), "--texts", str(texts)]) == 0

    said = capsys.readouterr()
    assert said.err == ""
    for precision in load_manifest(tiny_artifact).precisions:
        lines = [line for line in said.out.splitlines() if line.startswith(precision)]
        for check in ("opens", "golden vectors", "lengths of 1 to", "2 texts given"):
            assert any(check in line for line in lines)


def test_verify_one_precision_runs_no_other(
    tiny_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {check.subject for check in verify_artifact(tiny_artifact, "fp32")} == {"files", "fp32"}
    assert main(["artifact", "verify", str(tiny_artifact), "--precision", "fp16"]) == 1
    assert "expected one of fp32, int8" in capsys.readouterr().err


def test_inspect_json_says_all_of_the_manifest(
    tiny_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["artifact", "inspect", "--json", str(tiny_artifact)]) == 0

    found = json.loads(capsys.readouterr().out)
    manifest = load_manifest(tiny_artifact)
    assert found["model_id"] == manifest.model_id
    assert found["dim"] == manifest.dim
    assert found["matryoshka"] == []
    assert found["precisions"]["fp32"]["opsets"]["ai.onnx"] == 20
    sizes = {file.path: file.bytes for file in manifest.files}
    assert found["bytes"] == sum(sizes.values())
    assert found["precisions"]["int8"]["files"]["graph"] == {"path": INT8, "bytes": sizes[INT8]}


def test_inspect_default_artifact_says_its_figures_with_tolerances(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(__file__).parents[2] / "app" / "default" / "encoder"

    assert main(["artifact", "inspect", str(folder)]) == 0

    said = capsys.readouterr().out
    for part in ("tyntegra-static@", "376; not to be cut", "int4 ", "texts to torch", "3e-02"):
        assert part in said


def test_verify_as_a_command_needs_no_torch(tiny_artifact: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'onnx', 'training', 'export'):\n"
        "    sys.modules[name] = None\n"
        "from app.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "artifact", "verify", str(tiny_artifact)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("action", ["inspect", "verify"])
def test_artifact_without_a_folder_is_wrong_usage(action: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["artifact", action])


def flip(folder: Path) -> None:
    content = bytearray((folder / FP32).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / FP32).write_bytes(content)


def link(folder: Path) -> None:
    (folder / FP32).rename(folder.parent / "elsewhere")
    (folder / FP32).symlink_to(folder.parent / "elsewhere")


def hard_link(folder: Path) -> None:
    os.link(folder / FP32, folder.parent / "second")


def pipe(name: str) -> Callable[[Path], None]:
    def exchange(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return exchange


def manifest_with(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        content = load_content(folder)
        change(content)
        (folder / MANIFEST).write_text(json.dumps(content))

    return rewrite


DAMAGE = {
    "a flipped bit": (flip, f"{FP32}: got SHA-256"),
    "a cut file": (lambda folder: os.truncate(folder / FP32, 999), f"{FP32}: got 999 bytes"),
    "a missing file": (lambda folder: (folder / INT8).unlink(), f"{INT8}: got no such file"),
    "another file": (lambda folder: (folder / "x.so").touch(), "x.so: got a file"),
    "another folder": (lambda folder: (folder / ".git").mkdir(), ".git: got a file"),
    "a symbolic link": (link, f"{FP32}: got a symbolic link"),
    "a hard link": (hard_link, f"{FP32}: got a hard link"),
    "a pipe": (pipe(FP32), f"{FP32}: got no plain file"),
    "a pipe as manifest": (pipe(MANIFEST), f"{MANIFEST}: got no plain file"),
    "a folder as file": (
        lambda folder: ((folder / FP32).unlink(), (folder / FP32).mkdir()),
        f"{FP32}: got no plain file",
    ),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), f"{MANIFEST}: got no such file"),
    "an empty manifest": (lambda folder: (folder / MANIFEST).write_text(""), "Invalid JSON"),
    "a huge manifest": (
        lambda folder: (folder / MANIFEST).write_bytes(b" " * (20 * 2**20)),
        f"{MANIFEST}: got more than",
    ),
    "endless brackets": (
        lambda folder: (folder / MANIFEST).write_bytes(b"[" * 2**20),
        f"{MANIFEST}: got something else than a manifest",
    ),
    "another version": (manifest_with(lambda m: m.update(format_version=2)), "format_version"),
    "a changed field": (manifest_with(lambda m: m.update(licence="mine")), "its digest does not"),
    "a path upwards": (
        manifest_with(lambda m: m["files"][0].update(path="../../etc/passwd")),
        "files.0.path",
    ),
    "an absolute path": (
        manifest_with(lambda m: m["precisions"]["fp32"].update(graph="/etc/passwd")),
        "precisions.fp32.graph",
    ),
    "a path of dots": (manifest_with(lambda m: m["files"][0].update(path="..")), "files.0.path"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_artifact_that_is_not_what_it_says_is_refused(
    kind: str, copy: Path, refused: Callable[..., str]
) -> None:
    damage, expected = DAMAGE[kind]
    damage(copy)

    assert expected in refused()


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_artifact_that_is_no_folder_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for action in ("inspect", "verify"):
        assert main(["artifact", action, str(tmp_path / name)]) == 1
        assert f"{tmp_path / name}: got no such directory" in capsys.readouterr().err


def test_verify_tokenizer_that_is_none_is_named(copy: Path, refused: Callable[..., str]) -> None:
    (copy / "tokenizer.json").write_text("{}")
    sign_again(copy)

    assert "tokenizer.json: got a file that cannot be read" in refused(inspected=True)


@pytest.mark.parametrize("content", [None, b"", b" \n\n", b"\xff\xfe"])
def test_verify_texts_that_are_none_are_refused(
    content: bytes | None, copy: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "texts").write_bytes(content)

    said = refused("--texts", str(tmp_path / "texts"), inspected=True)

    assert "one text a line" in said or "one a line" in said


def test_script_samples_are_in_their_script() -> None:
    samples = script_samples()

    assert {"Latn", "Thaa", "Tfng", "Nkoo", "Cher", "Mtei", "Copt", "Java"} <= set(samples)
    for script, text in samples.items():
        # By character: Python's own tables do not know the letters of the newest scripts.
        assert {script_of_character(one) for one in text} == {script, COMMON}
    assert len(samples) > 0.95 * len(SCRIPTS)
