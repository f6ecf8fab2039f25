"""A whole run on own files: real pairs, given and mined negatives, switched words, typos."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from training.checkpoint import load_checkpoint
from training.collation import Batch
from training.config import TrainConfig
from training.corpus import CorpusError
from training.loop import train
from training.plan import plan_run
from training.trainer import Trainer


class KilledError(Exception):
    """The run ends here, as if killed."""


@pytest.fixture
def tree(
    config: TrainConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    source = pq.read_table(data / "bitext" / "nllb-seed.parquet").to_pylist()
    french = [row["text_b"] for row in source if row["lang_b"] == "fra_Latn"]
    rows: list[dict[str, Any]] = [
        {
            "query": " ".join(text.split()[:4]),
            "document": text,
            "lang_query": "fra_Latn",
            "lang_document": "fra_Latn",
            "negatives": [french[(number + 5) % len(french)]],
        }
        for number, text in enumerate(french)
    ]
    rows += [{**rows[0], "query": None}, {**rows[0], "lang_query": "French"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faq.parquet")
    words = tmp_path / "words.tsv"
    pairs = sorted({word for text in french for word in text.split()})
    words.write_text("".join(f"fra_Latn\t{a}\teng_Latn\t{a}s\n" for a in pairs), encoding="utf-8")
    found = config.model_dump()
    found["corpora"] |= {
        "weights": {"nllb-seed": 1.0, "faq": 1.0},
        "files": {"faq": str(tmp_path / "faq.parquet")},
    }
    found["batches"] |= {
        "pairs": 8,
        "cross_probability": 0.5,
        "hard_negatives": 2,
        "mine_every": 3,
        "mine_pool": 50,
    }
    found["augmentation"] |= {
        "dictionaries": (str(words),),
        "sentence_probability": 0.5,
        "typo_probability": 0.3,
        "self_teaching": 0.5,
    }
    found["optim"] |= {"steps": 9}
    found["run"] |= {"save_every": 4, "log_every": 1}
    return found


def weights(folder: Path) -> dict[str, bytes]:
    tensors = load_file(folder / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def test_train_on_own_files_killed_between_two_minings_ends_bit_identical(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig.model_validate(tree)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    kinds = set()
    step = Trainer.step

    def note(trainer: Trainer, batch: Batch, rate: float) -> None:
        kinds.add((batch.kind, batch.negatives is not None))
        assert batch.noisy is not None
        step(trainer, batch, rate)

    monkeypatch.setattr(Trainer, "step", note)
    train(config, whole, resume=False)
    assert {("cross", True), ("mono", True)} <= kinds

    def kill(trainer: Trainer, batch: Batch, rate: float) -> None:
        if trainer.progress.step == 5:  # saved after 4, mined before 3 and next before 6
            raise KilledError
        step(trainer, batch, rate)

    monkeypatch.setattr(Trainer, "step", kill)
    with pytest.raises(KilledError):
        train(config, broken, resume=False)
    assert load_checkpoint(broken).progress["step"] == 4
    monkeypatch.setattr(Trainer, "step", step)
    train(config, broken, resume=True)
    assert weights(broken) == weights(whole)


def test_train_records_what_was_skipped_and_learns_in_the_end(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    tree["optim"] |= {"steps": 60, "lr": 0.05}
    tree["batches"] |= {"pairs": 32, "mine_every": 30, "cross_probability": 0.9}
    tree["loss"] |= {"temperature": 0.1}
    tree["run"] |= {"save_every": 0, "evaluate_every": 60}
    train(TrainConfig.model_validate(tree), tmp_path / "out", resume=False)
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["skipped"] == {"faq": {"null": 1, "language code": 1}}
    assert run["corpora"][1] == {"name": "faq", "licence": "not known here", "shippable": False}
    assert run["metrics"]["flores200-dev at 60"] > 0.3  # chance is 1 of 20


def test_train_on_own_files_alone_needs_no_data_folder(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path / "absent"))
    missing = TrainConfig.model_validate(tree)
    with pytest.raises(CorpusError, match=r"no corpora at .*absent"):
        train(missing, tmp_path / "out", resume=False)
    tree["corpora"]["weights"] = {"faq": 1.0}
    tree["batches"]["cross_probability"] = 0.0
    tree["optim"] |= {"steps": 2}
    measured = {**tree, "run": {**tree["run"], "evaluate_every": 2}}
    with pytest.raises(CorpusError, match=r"no corpora at .*absent"):
        train(TrainConfig.model_validate(measured), tmp_path / "out", resume=False)
    assert not (tmp_path / "out").exists()
    # What the run is judged by here is its own loss.
    measured["run"] |= {"metric": "loss"}
    config = TrainConfig.model_validate(measured)
    assert "nothing was trained" in plan_run(config)
    assert train(config, tmp_path / "out", resume=False).step == 2
    assert train(config, tmp_path / "out", resume=True).step == 2


def test_train_shippable_with_an_own_file_is_refused(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["corpora"] |= {"shippable": True}
    with pytest.raises(CorpusError, match=r"faq .*in a shippable run"):
        train(TrainConfig.model_validate(tree), tmp_path / "out", resume=False)


def test_train_judged_by_a_file_held_out_needs_no_data_folder(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path / "absent"))
    table = pq.read_table(tmp_path / "faq.parquet")
    pq.write_table(table.slice(0, 12), tmp_path / "held.parquet")
    tree["corpora"]["weights"] = {"faq": 1.0}
    tree["batches"]["cross_probability"] = 0.0
    tree["optim"] |= {"steps": 4}
    tree["run"] |= {"evaluate_every": 2, "metric": "held-out", "held_out": "missing.parquet"}
    with pytest.raises(CorpusError, match=r"missing\.parquet"):
        train(TrainConfig.model_validate(tree), tmp_path / "out", resume=False)
    assert not (tmp_path / "out").exists()
    tree["run"] |= {"held_out": str(tmp_path / "held.parquet"), "metric": "held-out:yor_Latn"}
    with pytest.raises(CorpusError, match="no queries in yor_Latn: expected one of"):
        train(TrainConfig.model_validate(tree), tmp_path / "out", resume=False)
    tree["run"] |= {"metric": "held-out"}
    train(TrainConfig.model_validate(tree), tmp_path / "out", resume=False)
    found = load_checkpoint(tmp_path / "out")
    assert 0.0 <= found.progress["best"] <= 1.0
    assert set(found.run["metrics"]) >= {"held-out at 2", "held-out at 4"}
    lines = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["batches"] for line in lines] == [{"mono": 1}] * 4
