from pathlib import Path

import pytest
from pydantic import ValidationError

from training.config import ConfigError, load_config

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
MINIMAL = """
[run]
name = "unit"
[tokenizer]
vocab_size = 300
[encoder]
kind = "static"
dim = 16
max_tokens = 32
[corpora.weights]
nllb-seed = 1.0
[batches]
pairs = 4
[loss]
[optim]
steps = 2
lr = 0.1
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.toml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_load_config_every_shipped_file_is_valid(path: Path) -> None:
    assert load_config(path).run.name == path.stem


def test_load_config_override_replaces_value(minimal: Path) -> None:
    config = load_config(minimal, ["optim.lr=3e-5", "run.name=other", "corpora.weights.ntrex128=2"])
    assert config.optim.lr == 3e-5
    assert config.run.name == "other"
    assert config.corpora.weights == {"nllb-seed": 1.0, "ntrex128": 2.0}


def test_load_config_unknown_key_is_refused_by_name(minimal: Path) -> None:
    with pytest.raises(ConfigError, match=r"optim\.learning_rate"):
        load_config(minimal, ["optim.learning_rate=1"])


@pytest.mark.parametrize("override", ["lr", "lr=1", "optim.=1", "run.name.x=1"])
def test_load_config_malformed_override_is_refused(minimal: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(minimal, [override])


def test_load_config_missing_file_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*absent\.toml") as info:
        load_config(tmp_path / "absent.toml")
    assert "\n" not in str(info.value)


def test_load_config_heads_that_do_not_divide_dim_are_refused(minimal: Path) -> None:
    with pytest.raises(ConfigError, match="not a multiple"):
        load_config(minimal, ["encoder.kind=transformer", "encoder.heads=3"])


def test_train_config_is_frozen(minimal: Path) -> None:
    config = load_config(minimal)
    with pytest.raises(ValidationError, match="frozen"):
        config.optim.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder.backbone=folder", "encoder.backbone needs"),
        ("encoder.teacher_table=true", "the teacher's vectors need"),
        ("distillation.pooled=1", "the teacher's vectors need"),
        ("optim.weight_decay=0.1", "optim.weight_decay needs"),
    ],
)
def test_load_config_keys_that_contradict_are_refused(
    minimal: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, [override])
