from pathlib import Path

import pytest

from training.classification.config import load_pair_config
from training.config import ConfigError

CONFIGS = Path(__file__).parents[3] / "training" / "configs" / "classification"
MINIMAL = """
[run]
name = "unit"
[data]
task = "pawsx"
folder = "x-final"
[optim]
epochs = 1
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.toml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_load_pair_config_shipped_files_hold_the_authors_recipe(path: Path) -> None:
    config = load_pair_config(path)
    assert config.run.name == config.data.task == path.stem
    assert (config.optim.lr, config.optim.weight_decay, config.optim.clip_norm) == (2e-5, 0, 1)
    assert (config.batches.pairs, config.encoder.max_tokens, config.run.seed) == (32, 128, 7)
    assert config.optim.epochs == {"pawsx": 3, "xnli": 1}[path.stem]
    assert config.run.evaluate_every == {"pawsx": 500, "xnli": 1000}[path.stem]


def test_load_pair_config_ships_both_tasks() -> None:
    assert {path.stem for path in CONFIGS.glob("*.toml")} == {"pawsx", "xnli"}


def test_load_pair_config_override_replaces_value(minimal: Path) -> None:
    config = load_pair_config(minimal, ["optim.lr=3e-5", "adversarial.method=pgd"])
    assert (config.optim.lr, config.adversarial.method) == (3e-5, "pgd")


def test_pair_config_survives_being_stored(minimal: Path) -> None:
    config = load_pair_config(minimal, ["encoder.backbone=folder", "adversarial.method=freelb"])
    assert type(config).model_validate(config.model_dump(mode="json")) == config


def test_pair_config_clean_weight_is_what_noise_leaves(minimal: Path) -> None:
    def weight_of(*overrides: str) -> float:
        return load_pair_config(minimal, overrides).clean_weight

    assert weight_of() == 1.0
    assert weight_of("adversarial.method=fgm", "adversarial.weight=0.3") == pytest.approx(0.7)
    both = ("adversarial.method=fgm", "smoothing.noise=uniform")
    assert weight_of(*both, "adversarial.weight=0.9", "smoothing.weight=0.1") == 0.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.learning_rate=1"], r"optim\.learning_rate"),
        (["data.task=mnli"], r"data\.task"),
        (['data.dev_languages=["swh_Latn"]'], "pawsx has no swh_Latn"),
        (["encoder.heads=3"], "not a multiple"),
        (["encoder.backbone=folder", "encoder.dim=32"], "only without encoder.backbone"),
        (["augmentation.copies=3"], "need one another"),
        (["adversarial.epsilon=0.3"], r"adversarial\.epsilon: no effect"),
        (["smoothing.sigma=0.3", "smoothing.copies=2"], r"smoothing\.copies, smoothing\.sigma: no"),
        (["adversarial.method=fgm", "adversarial.steps=3"], r"adversarial\.steps: of pgd"),
        (
            ["adversarial.method=fgm", "adversarial.weight=0.6", "smoothing.noise=gaussian"],
            "more than 1",
        ),
    ],
)
def test_load_pair_config_what_cannot_work_is_refused(
    minimal: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_pair_config(minimal, overrides)
