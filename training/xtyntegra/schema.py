"""What ``result.json`` must hold for its readers to rely on it; what is unknown is let through.

The fields and their meaning are in the package's README.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Track = Literal["seen", "related", "unseen", "other"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class Figure(_Part):
    """A value with its interval; null where it does not exist."""

    value: Finite | None
    low: Finite | None
    high: Finite | None


class Encoder(_Part):
    """What was scored."""

    name: str
    kind: Literal["artifact", "checkpoint", "sentence-transformers", "url"]
    identity: str
    dim: Annotated[int, Field(ge=1)]


class Task(_Part):
    """What a task was made of."""

    sha256: str
    cells: Count
    queries: Count


class Protocol(_Part):
    """What was measured, and how."""

    tasks: dict[str, Task]
    attacks: list[dict[str, Any]]
    epsilons: list[Finite]
    seed: int


class Cell(_Part):
    """A cell under one condition."""

    cell: str
    task: str
    setting: str
    query_lang: str
    document_lang: str
    track: Track
    condition: str
    queries: Count
    metrics: dict[str, Figure]
    extras: dict[str, Finite]
    attack: dict[str, Any] | None


class Macro(_Part):
    """The mean over languages, and the worst of them."""

    macro: Finite | None
    worst: Finite | None
    worst_lang: str | None


class Summary(_Part):
    """Cells of one task, setting and condition together."""

    task: str
    setting: str
    condition: str
    track: Literal["all", "seen", "related", "unseen", "other"]
    languages: Count
    metrics: dict[str, Macro]
    extras: dict[str, Finite]
    attack: dict[str, Any] | None


class Certified(_Part):
    """The share of queries that provably keep their first hit within a radius."""

    task: str
    setting: str
    query_lang: str
    kind: str
    radius: Finite
    share: Figure


class NotMeasured(_Part):
    """What is not in the result, and why."""

    what: str
    why: str


class Result(_Part):
    """All of it."""

    benchmark: Literal["xtyntegra"]
    version: Literal[1]
    created: str
    encoder: Encoder
    environment: dict[str, Any]
    protocol: Protocol
    cells: list[Cell]
    summary: list[Summary]
    certified: list[Certified]
    not_measured: list[NotMeasured]
