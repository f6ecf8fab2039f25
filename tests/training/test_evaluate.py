import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from app.encoder.encoder import TextEncoder
from app.errors import ArtifactError
from training.config import TrainConfig
from training.corpus import CorpusError
from training.evaluate import (
    LOW_RESOURCE,
    evaluate,
    figures_of,
    flores_accuracy,
    flores_languages,
    languages_to_measure,
    main,
    mean_of,
    open_encode,
    tatoeba_accuracy,
)
from training.loop import train


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """The number in a text as a unit row; texts with one number are the same."""
    rows = np.zeros((len(texts), 10), np.float32)
    rows[np.arange(len(texts)), [int(text.split()[-1]) for text in texts]] = 1.0
    return rows


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Three languages of four sentences; one translates right, one half, one nothing."""
    (tmp_path / "eval").mkdir()
    (tmp_path / "bitext").mkdir()
    flores = {
        "eng_Latn": ["the 0", "the 1", "the 2", "the 3"],
        "ace_Arab": ["x 0", "x 1", "x 2", "x 3"],
        "fra_Latn": ["y 0", "y 1", "y 3", "y 2"],
        "swh_Latn": ["z 1", "z 0", "z 3", "z 2"],
    }
    pq.write_table(pa.table(flores), tmp_path / "eval" / "flores200-dev.parquet")
    tatoeba = {
        "lang": ["fra", "rus", "fra", "rus"],
        "text": ["y 4", "w 5", "y 6", "w 7"],
        "english": ["the 4", "the 7", "the 6", "the 5"],
    }
    pq.write_table(pa.table(tatoeba), tmp_path / "eval" / "tatoeba-v1.parquet")
    return tmp_path


def test_flores_accuracy_hand_computed(numbers: Path) -> None:
    assert flores_accuracy(encode, numbers) == {
        "ace_Arab": 1.0,
        "fra_Latn": 0.5,
        "swh_Latn": 0.0,
    }
    assert flores_accuracy(encode, numbers, ["fra_Latn"]) == {"fra_Latn": 0.5}
    assert flores_languages(numbers) == ["ace_Arab", "fra_Latn", "swh_Latn"]


def test_flores_accuracy_unknown_language_is_refused(numbers: Path) -> None:
    with pytest.raises(CorpusError, match="yor_Latn"):
        flores_accuracy(encode, numbers, ["yor_Latn"])


def test_figures_of_a_metric_are_the_mean_and_its_language(numbers: Path) -> None:
    langs = ["ace_Arab", "fra_Latn"]
    assert figures_of(encode, numbers, langs, "flores200-dev") == {"flores200-dev": 0.75}
    assert figures_of(encode, numbers, langs, "flores200-dev:fra_Latn") == {
        "flores200-dev": 0.75,
        "flores200-dev:fra_Latn": 0.5,
    }


def test_languages_to_measure_prefers_those_with_little_data(numbers: Path) -> None:
    assert languages_to_measure(["fra_Latn", "ace_Arab", "deu_Latn"], numbers) == ["ace_Arab"]
    assert languages_to_measure(["swh_Latn", "fra_Latn"], numbers) == ["fra_Latn", "swh_Latn"]
    assert languages_to_measure(["ace_Arab"], numbers, "swh_Latn") == ["ace_Arab", "swh_Latn"]
    assert languages_to_measure([], numbers, "swh_Latn") == ["swh_Latn"]


def test_languages_to_measure_none_or_unknown_is_refused(numbers: Path) -> None:
    with pytest.raises(CorpusError, match="none of the languages trained on"):
        languages_to_measure(["eng_Latn", "deu_Latn"], numbers)
    with pytest.raises(CorpusError, match="no language deu_Latn"):
        languages_to_measure(["ace_Arab"], numbers, "deu_Latn")


def test_tatoeba_accuracy_searches_within_each_language(numbers: Path) -> None:
    assert tatoeba_accuracy(encode, numbers) == {"fra": 1.0, "rus": 0.0}


def test_mean_of_counts_languages_alike_and_skips_those_not_measured() -> None:
    assert mean_of({"a": 1.0, "b": 0.5, "c": 0.0}) == 0.5
    assert mean_of({"a": 1.0, "b": 0.5}, ["b", "z"]) == 0.5
    assert np.isnan(mean_of({}, ["z"]))


def test_evaluate_reports_means_and_languages(numbers: Path) -> None:
    report = evaluate(encode, numbers)
    assert list(report["macro"].values()) == [1.0, 0.5, 0.5]
    assert report["flores200-dev"]["fra_Latn"] == 0.5
    assert report["tatoeba"]["fra"] == 1.0


def test_low_resource_are_forty_flores_codes() -> None:
    assert len(set(LOW_RESOURCE)) == len(LOW_RESOURCE) == 40
    assert "eng_Latn" not in LOW_RESOURCE


def test_main_measures_a_checkpoint_and_writes_json(
    data: Path,
    tmp_path: Path,
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    train(config, tmp_path / "run", resume=False)
    capsys.readouterr()
    assert main([str(tmp_path / "run"), "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["flores200-dev"]) == {"fra_Latn", "rus_Cyrl", "swh_Latn"}
    assert set(report["tatoeba"]) == {"fra", "rus"}
    assert "tatoeba, 2 languages" in capsys.readouterr().out


def test_main_folder_without_encoder_fails_in_one_line(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ArtifactError), open_encode(tmp_path):
        pass


def test_open_encode_closes_an_artifacts_encoder(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    close = TextEncoder.close
    monkeypatch.setattr(TextEncoder, "close", lambda self: (closed.append(self), close(self)))
    with open_encode(tiny_artifact) as encode:
        assert encode(["Habari ya dunia"]).shape[0] == 1
        assert not closed
    assert len(closed) == 1
