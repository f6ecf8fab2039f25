import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from app.errors import ArtifactError
from export.sources import load_source
from training.assembly import new_encoder
from training.checkpoint import CheckpointError, Snapshot, save_checkpoint
from training.config import EncoderSection
from training.folders import Pooling

from .conftest import RUN, save


@pytest.mark.parametrize("kind", ["static", "bert", "xlm-r"])
def test_load_source_gives_encoder_and_history(
    kind: str, checkpoints: Callable[[str], Path]
) -> None:
    checkpoint = load_source(checkpoints(kind))

    vectors = checkpoint.as_encode()(["Daktari huja kijijini."])
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)
    assert checkpoint.languages == ("eng_Latn", "swh_Latn")
    assert [(one.name, one.licence) for one in checkpoint.corpora] == [("made-up", "CC0-1.0")]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (None, "no such directory"),
        ({}, "a folder that is no model"),
        ({"model.safetensors": {}}, "a folder that is no model"),
        ({"config.json": {}, "run.json": {}}, "interrupted"),
    ],
)
def test_load_source_other_folder_is_named_and_refused(
    files: dict[str, object] | None, kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))

    with pytest.raises(ArtifactError, match=f"{kind}.*expected"):
        load_source(folder)


@pytest.mark.parametrize(("pooling", "max_tokens"), [("mean", None), (None, 16)])
def test_load_source_of_ours_takes_no_choices(
    pooling: Pooling | None, max_tokens: int | None, checkpoints: Callable[[str], Path]
) -> None:
    with pytest.raises(ArtifactError, match=r"--pooling or --max-tokens.*leave them out"):
        load_source(checkpoints("bert"), pooling, max_tokens)


def test_load_source_with_no_room_for_a_text_is_refused(checkpoints: Callable[[str], Path]) -> None:
    with pytest.raises(ArtifactError, match="--max-tokens 3; expected 4 or more"):
        load_source(checkpoints("bert"), max_tokens=3)


def test_load_source_reads_the_dimensions_that_were_trained(
    checkpoints: Callable[[str], Path], tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    assert load_source(checkpoints("static")).matryoshka == ()
    encoder = load_source(checkpoints("static")).encoder
    run = {**RUN, "config": {"loss": {"matryoshka": [16, 8]}}}
    folder = save(tmp_path / "checkpoint", encoder, tiny_tokenizer, run)
    assert load_source(folder).matryoshka == (8, 16)


def test_load_source_changed_weights_are_refused(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in checkpoints("static").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "model.safetensors").open("r+b") as out:
        out.seek(-1, 2)
        out.write(b"\x7f")

    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_source(folder)


def test_load_source_code_in_the_folder_is_not_run(
    checkpoints: Callable[[str], Path], tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    encoder = load_source(checkpoints("bert")).encoder
    backbone = {**(encoder.config.backbone or {}), "auto_map": {"AutoModel": "evil.Model"}}
    encoder.config = encoder.config.model_copy(update={"backbone": backbone})
    folder = save(tmp_path / "checkpoint", encoder, tiny_tokenizer)
    (folder / "evil.py").write_text("raise SystemExit('was run')")

    assert load_source(folder).config.kind == "transformer"


def test_load_source_weights_that_are_not_numbers_are_refused(
    checkpoints: Callable[[str], Path], tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    encoder = load_source(checkpoints("static")).encoder
    with torch.no_grad():
        next(encoder.parameters())[3, 1] = torch.nan
    folder = save(tmp_path / "checkpoint", encoder, tiny_tokenizer)

    with pytest.raises(ArtifactError, match=r"embeddings\.weight that are not finite"):
        load_source(folder)


def test_load_source_adds_the_rows_of_n_grams_up_to_one_table(tmp_path: Path) -> None:
    words = {"[PAD]": 0, "[UNK]": 1, "cats": 2, "catty": 3, "dog": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    section = EncoderSection(kind="static", dim=8, max_tokens=9, grams=True)
    encoder = new_encoder(section, len(words), 0, tokenizer)
    torch.nn.init.ones_(encoder.get_parameter("grams.weight"))  # that of "cat" alone
    run = {"corpora": [], "languages": []}
    save_checkpoint(
        tmp_path,
        Snapshot(tokenizer.to_str(), encoder.config, encoder.state_dict(), run, {}, {}),
    )
    own = encoder.get_parameter("embeddings.weight").detach().numpy()
    gain = np.array([[0], [0], [1], [1], [0]], np.float32)
    checkpoint = load_source(tmp_path)
    assert np.allclose(checkpoint.table, own + gain, atol=1e-6)
    assert not checkpoint.config.grams
