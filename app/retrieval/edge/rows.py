"""What goes into a shard's queries and comes out of them, and how its failures are told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import StoreError
from app.retrieval.conditions import Condition
from app.retrieval.lexical import Sparse

NO_WORDS = Sparse([], [])


@dataclass(frozen=True, slots=True)
class Row:
    """What the engine keeps for one passage, those parts that were asked for."""

    point_id: str
    payload: dict[str, Any]
    vector: bytes = b""
    words: Sparse = NO_WORDS
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Nearest:
    """A query of ``Shard.nearest``.

    Attributes:
        query: A unit vector, shape (dim,), or weights of tokens.
        limit: How many rows at most.
        conditions: They all hold for the rows.
        exact: Compare with all.
        fields: Payload to read; None: all of it.
    """

    query: NDArray[np.float32] | Sparse
    limit: int
    conditions: Sequence[Condition] = ()
    exact: bool = False
    fields: Sequence[str] | None = None


@contextmanager
def engine_errors(action: str) -> Iterator[None]:
    """Turn the engine's failures into ``StoreError``.

    Args:
        action: What is being done, for the message: "reading 3 documents".
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, StoreError):
        raise
    except BaseException as error:  # The engine's panics derive from BaseException alone
        raise StoreError(
            f"The vector engine failed while {action}: {type(error).__name__}: {error!s:.300}. "
            "See the log; if it recurs, restore the collection from a snapshot."
        ) from error
