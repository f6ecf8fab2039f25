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


TRANSFORMER = ("encoder.kind=transformer", "encoder.backbone=folder")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tokenizer.source=backbone"], "tokenizer.source = 'backbone' needs encoder.backbone"),
        (["encoder.start=folder"], "need one another"),
        (["encoder.layers=4"], "encoder.layers is of a new transformer"),
        ([*TRANSFORMER, "encoder.heads=4"], "encoder.heads is of a new transformer"),
        (
            [*TRANSFORMER, "tokenizer.source=backbone"],
            "tokenizer.vocab_size is of a learned vocabulary",
        ),
        (["encoder.prompts.query=ask"], "encoder.prompts needs encoder.kind = 'transformer'"),
        (["encoder.pooling=cls"], "needs encoder.kind = 'transformer'"),
    ],
)
def test_load_config_key_without_effect_is_refused(
    minimal: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, overrides)


def test_load_config_prompt_of_another_role_is_refused(minimal: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder\.prompts\.passage"):
        load_config(minimal, [*TRANSFORMER, "encoder.prompts.passage=text"])


def test_load_config_backbone_with_a_learned_vocabulary_and_prompts_is_taken(minimal: Path) -> None:
    overrides = [*TRANSFORMER, "encoder.pooling=last", 'encoder.prompts.query="ask: "']
    assert load_config(minimal, overrides).encoder.prompts == {"query": "ask: "}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['corpora.files.faq="faq.parquet"'], "faq would not be read: give each a weight"),
        (["corpora.weights.nllb-seed=0"], "corpora.weights must be above 0"),
        (["batches.mine_every=10"], "batches.mine_every needs batches.hard_negatives"),
        (["batches.mine_pool=10"], "batches.mine_pool needs batches.mine_every"),
        (["augmentation.word_probability=0.5"], "needs augmentation.sentence_probability"),
        (["augmentation.typo_edits=2"], "needs augmentation.typo_probability"),
    ],
)
def test_load_config_batch_key_without_effect_is_refused(
    minimal: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, overrides)


def test_load_config_own_files_negatives_and_augmentation_are_taken(minimal: Path) -> None:
    config = load_config(
        minimal,
        [
            'corpora.files.faq="faq.parquet"',
            "corpora.weights.faq=2.0",
            "batches.hard_negatives=3",
            "batches.mine_every=10",
            "batches.mine_pool=100",
            'augmentation.dictionaries=["words.tsv"]',
            "augmentation.sentence_probability=0.5",
            "augmentation.typo_probability=0.2",
            "augmentation.self_teaching=1.0",
        ],
    )
    assert config.corpora.files == {"faq": "faq.parquet"}
    assert config.batches.hard_negatives == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adversarial.method=fgm", "adversarial.steps=3"], "adversarial.steps is of pgd"),
        (["adversarial.method=fgm", "adversarial.start=0.1"], "adversarial.start is of pgd"),
        (["run.precision=bf16"], "run.precision needs encoder.kind"),
        (["loss.learn_temperature=true", "loss.temperature=0.005"], "within 0.01 to 1"),
        (["loss.matryoshka=[16]"], "loss.matryoshka must be"),
        (
            ["adversarial.method=pgd", "adversarial.weight=0.7", "smoothing.noise=uniform"],
            "add up to more than 1",
        ),
    ],
)
def test_load_config_keys_of_noise_and_loss_that_contradict_are_refused(
    minimal: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, overrides)


@pytest.mark.parametrize("method", ["pgd", "freelb"])
def test_load_config_steps_of_an_attack_are_taken(minimal: Path, method: str) -> None:
    config = load_config(minimal, [f"adversarial.method={method}", "adversarial.steps=3"])
    assert config.adversarial.steps == 3


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optim.lr=inf", "optim.lr"),
        ("optim.lr=1e6", "optim.lr"),
        ("corpora.weights={nllb-seed=nan}", "corpora.weights"),
        ("adversarial.epsilon=inf", "adversarial.epsilon"),
        ("smoothing.sigma=nan", "smoothing.sigma"),
        ("distillation.pooled=inf", "distillation.pooled"),
        ("augmentation.draw=itself", "augmentation.draw needs"),
        ("augmentation.through=eng_Latn", "augmentation.through needs"),
    ],
)
def test_load_config_numbers_that_are_none_and_keys_without_effect_are_refused(
    minimal: Path, override: str, key: str
) -> None:
    with pytest.raises(ConfigError, match=key):
        load_config(minimal, [override])
