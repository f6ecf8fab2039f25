"""Which runs the matrix has: every arm's batchings x methods x seeds, read from one TOML file.

A run is a configuration of ``python -m training`` and nothing else: the file of its arm with the
keys of its batching, its method and its seed put over it. So a run of the matrix can be made again
without the matrix, and what differs between two runs can be read off the grid.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.config import ConfigError, TrainConfig, load_config

DICTIONARY = "words.tsv.gz"
"""Name of the matrix's dictionary in its folder."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Arm(_Part):
    """Runs that share a configuration file.

    Several arms may have one name and file; their runs are of one arm, made one after another.
    """

    name: str = Field(pattern=r"^[a-z0-9]+$")
    config: str
    batchings: tuple[str, ...]
    methods: tuple[str, ...]
    scoring: dict[str, Any] = Field(default_factory=dict, description="keys over those of all")


class Dictionary(_Part):
    """What words are switched with."""

    corpora: tuple[str, ...]
    languages: tuple[str, ...]


class Scoring(_Part):
    """What every run is measured on; the same for all."""

    groups: dict[str, tuple[str, ...]]
    only: tuple[str, ...] = Field(default=(), description="of the groups' languages; empty: all")
    between: tuple[str, ...]
    attacks: dict[str, tuple[int, ...]]
    attack_sentences: int = Field(ge=2)
    draws: int = Field(ge=1)
    seed: int = Field(ge=0)
    white_box_sentences: int = Field(ge=2)
    white_box_steps: int = Field(ge=1)
    epsilons: tuple[float, ...]
    pooled_sentences: int = Field(ge=2)

    @property
    def languages(self) -> tuple[str, ...]:
        """All that queries are asked in, group by group."""
        chosen = (lang for group in self.groups.values() for lang in group)
        return tuple(lang for lang in chosen if not self.only or lang in self.only)


class Grid(_Part):
    """The whole matrix."""

    seeds: tuple[int, ...] = Field(min_length=1)
    batchings: dict[str, tuple[str, ...]]
    methods: dict[str, tuple[str, ...]]
    arms: tuple[Arm, ...]
    dictionary: Dictionary
    scoring: Scoring


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Attributes:
        arm: Such as ``static``.
        config: Name of its file, beside the grid.
        batching: Such as ``hybrid``.
        method: Such as ``fgm``.
        seed: Of batches and noise.
    """

    arm: str
    config: str
    batching: str
    method: str
    seed: int

    @property
    def cell(self) -> str:
        """What is averaged over seeds."""
        return f"{self.arm}-{self.batching}-{self.method}"

    @property
    def name(self) -> str:
        """Unique in the matrix."""
        return f"{self.cell}-s{self.seed}"


def load_grid(path: Path) -> Grid:
    """Read and check a grid.

    Raises:
        ConfigError: If it cannot be read, a key is unknown or missing, an arm names a batching or
            method that is not there, or a run stands in it twice.
    """
    try:
        grid = Grid.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the grid {path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: {place}: {first['msg']}") from error
    for arm in grid.arms:
        unknown = {*arm.batchings} - {*grid.batchings} | {*arm.methods} - {*grid.methods}
        if unknown:
            raise ConfigError(
                f"{path}: the arm {arm.name} names {', '.join(sorted(unknown))}: expected "
                f"batchings {', '.join(grid.batchings)} and methods {', '.join(grid.methods)}"
            )
    names = [run.name for run in runs_of(grid)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: {', '.join(twice)} would be run twice: drop one of them")
    held_out = [name for name, group in grid.scoring.groups.items() if not group]
    if held_out or not set(grid.scoring.between) <= set(grid.scoring.languages):
        raise ConfigError(
            f"{path}: scoring.groups must not be empty and scoring.between must be of them"
        )
    return grid


def scoring_of(grid: Grid, arm: str) -> Scoring:
    """Return what the runs of an arm are measured on.

    Raises:
        ConfigError: If a key of the arm does not fit.
    """
    keys = next((one.scoring for one in grid.arms if one.name == arm and one.scoring), {})
    try:
        return Scoring.model_validate(grid.scoring.model_dump() | keys)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"arms.scoring of {arm}: {first['loc']}: {first['msg']}") from error


def runs_of(grid: Grid) -> list[Run]:
    """List all runs in the order in which they are made: arm by arm, seed by seed."""
    return [
        Run(arm.name, arm.config, batching, method, seed)
        for arm in grid.arms
        for seed in grid.seeds
        for batching in arm.batchings
        for method in arm.methods
    ]


def config_of(run: Run, grid: Grid, grid_path: Path, folder: Path) -> TrainConfig:
    """Make the configuration of a run.

    Args:
        run: Of the grid.
        grid: That it is of.
        grid_path: Beside which the arm's file lies.
        folder: Of the matrix, where the dictionary and the first weights lie.

    Raises:
        ConfigError: If the keys contradict one another.
    """
    keys: list[str] = [*grid.batchings[run.batching], *grid.methods[run.method]]
    if any(key.startswith("augmentation.sentence_probability") for key in keys):
        keys += dictionary_keys(grid.dictionary.languages, folder)
    keys += [f"run.seed={run.seed}", f'run.name="{run.name}"']
    config = load_config(grid_path.parent / run.config, keys)
    start = folder / Path(config.encoder.start).name
    # The file names the default folder; the weights lie in that of this matrix.
    return load_config(grid_path.parent / run.config, [*keys, f'encoder.start="{start}"'])


def dictionary_keys(languages: Sequence[str], folder: Path) -> list[str]:
    """Return the keys that name the dictionary and what may be switched to."""
    listed = ", ".join(f'"{lang}"' for lang in languages)
    path = folder / DICTIONARY
    return [f'augmentation.dictionaries=["{path}"]', f"augmentation.languages=[{listed}]"]
