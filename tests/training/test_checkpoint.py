import errno
import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import checkpoint
from training.checkpoint import (
    FILES,
    MANIFEST,
    CheckpointError,
    EncoderConfig,
    Snapshot,
    load_checkpoint,
    recover,
    save_checkpoint,
)

CONFIG = EncoderConfig(kind="static", dim=2, vocab_size=3, max_tokens=4, pad_id=0)


def make(value: float) -> Snapshot:
    return Snapshot(
        tokenizer='{"é": 1}',
        config=CONFIG,
        weights={"embeddings.weight": torch.full((3, 2), value)},
        run={"steps": value},
        state={"optimizer.0.first": torch.full((3, 2), value / 2)},
        progress={"step": int(value)},
    )


def value_of(folder: Path) -> float:
    return load_checkpoint(folder).run["steps"]


class Killed(Exception):  # noqa: N818 - stands for SIGKILL
    pass


def test_load_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(3.0))
    found = load_checkpoint(tmp_path)
    assert found.tokenizer == '{"é": 1}'
    assert found.config == CONFIG
    assert torch.equal(found.weights["embeddings.weight"], torch.full((3, 2), 3.0))
    assert torch.equal(found.state["optimizer.0.first"], torch.full((3, 2), 1.5))
    assert found.progress == {"step": 3}
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, MANIFEST}


def test_load_checkpoint_without_manifest_does_not_exist(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(1.0))
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_load_checkpoint_changed_or_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path, make(1.0))
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_checkpoint(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_checkpoint(tmp_path)


def test_load_checkpoint_other_format_version_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(1.0))
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(CheckpointError, match="99"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("moves", range(len(FILES) + 2))
def test_save_checkpoint_killed_at_any_rename_leaves_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """Renames are the moments at which a save becomes visible; die before each of them."""
    save_checkpoint(tmp_path, make(1.0))
    left = moves

    def dying(real):
        def rename(self: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(self, target)

        return rename

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(Path, "replace", dying(Path.replace))
        with pytest.raises(Killed):
            save_checkpoint(tmp_path, make(2.0))
    recover(tmp_path)
    assert value_of(tmp_path) == (1.0 if moves == 0 else 2.0)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, MANIFEST}


def test_save_checkpoint_killed_while_writing_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, make(1.0))

    def dying(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", dying)
        with pytest.raises(Killed):
            save_checkpoint(tmp_path, make(2.0))
    recover(tmp_path)
    assert value_of(tmp_path) == 1.0


@pytest.mark.parametrize("broken", ["save_file", "_write_json", "_sync"])
def test_save_checkpoint_full_disk_is_said_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    save_checkpoint(tmp_path, make(1.0))

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, broken, full)
        with pytest.raises(
            CheckpointError, match=r"No space left on device; .*before it is intact"
        ):
            save_checkpoint(tmp_path, make(2.0))
    assert value_of(tmp_path) == 1.0
    # The half that was written gives its space back.
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, MANIFEST}
    save_checkpoint(tmp_path, make(3.0))
    assert value_of(tmp_path) == 3.0


def test_save_checkpoint_file_cut_off_by_the_system_is_said(tmp_path: Path) -> None:
    """The library that writes tensors raises an error of its own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = replace(make(1.0), state={"optimizer": torch.zeros(20_000)})
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        with pytest.raises(CheckpointError, match=r"cannot write .* there is none yet"):
            save_checkpoint(tmp_path, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_recover_again_after_its_own_death_completes(tmp_path: Path) -> None:
    """All files moved, the emptied folder not yet removed."""
    save_checkpoint(tmp_path, make(1.0))
    (tmp_path / ".checkpoint-decided").mkdir()
    recover(tmp_path)
    assert value_of(tmp_path) == 1.0


def test_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(1.0))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    for path in tmp_path.glob("*.safetensors"):
        size = int.from_bytes(path.read_bytes()[:8], "little")
        assert json.loads(path.read_bytes()[8 : 8 + size])
    shutil.rmtree(tmp_path)
