"""What the service needs of an encoder; tests put fakes here."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.binding import BoundEncoder
from app.encoder.encoded import Timings
from app.retrieval.store import Encode
from app.windows import TokenStarts


class Vectors(Protocol):
    """What an encoder answers; see ``app.encoder.encoder.Encoded``."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Unit rows, shape (texts, dim)."""
        ...

    @property
    def truncated(self) -> Sequence[bool]:
        """Which texts were cut to the model's length."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens encoded."""
        ...

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each text."""
        ...

    @property
    def windows(self) -> Sequence[int]:
        """How many windows each text was split in."""
        ...

    @property
    def timings(self) -> Timings:
        """Where the time went."""
        ...


class Encoder(BoundEncoder, Protocol):
    """What the service needs of ``app.encoder.encoder.TextEncoder``."""

    @property
    def provider(self) -> str:
        """The execution provider in use."""
        ...

    @property
    def encode_document(self) -> Encode:
        """Documents to unit rows, blocking."""
        ...

    def encode(
        self,
        texts: Sequence[str],
        input_type: Literal["query", "document"],
        *,
        priority: int = 1,
    ) -> Vectors:
        """Texts to vectors, blocking."""
        ...

    async def encode_async(
        self,
        texts: Sequence[str],
        input_type: Literal["query", "document"],
        *,
        truncate: bool = True,
        windows: bool = False,
        dimensions: int | None = None,
        priority: int = 0,
    ) -> Vectors:
        """Texts to vectors through the queue."""
        ...

    async def encode_ids_async(
        self,
        rows: Sequence[Sequence[int]],
        *,
        dimensions: int | None = None,
        priority: int = 0,
    ) -> Vectors:
        """Token ids of the encoder's own tokenizer to vectors through the queue."""
        ...

    @property
    def token_starts(self) -> TokenStarts:
        """Where the tokens of normalized texts begin, blocking."""
        ...

    def healthy(self) -> str | None:
        """Say what is wrong, or None."""
        ...

    def recheck(self, timeout_s: float) -> str | None:
        """Say what is wrong, or None, after trying what failed anew; blocking."""
        ...

    def close(self) -> None:
        """End the encoder's thread."""
        ...
