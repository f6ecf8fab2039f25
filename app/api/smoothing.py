"""Smoothed search: what a probe certifies under noise, served.

The vectors come from the encoder's white box, which is opened at the first such request and stays.
One request looks through it at a time, in a thread of its own, so the queue that serves all others
never waits for noise.
"""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from app.api.limits import Gate
from app.api.wire import Reply, Wire
from app.errors import InvalidInputError, NotReadyError
from app.robustness.inside import HaltedError
from app.robustness.resources import Access
from app.robustness.smoothing import Noise, Smoothed, smoothed_vectors
from app.robustness.substitution import row_of

if TYPE_CHECKING:
    from app.api.state import Service

MOST_LOOKS = 16_384
"""Queries times samples of one request."""
_WAITING = 8


class SmoothingWire(Wire):
    """Noise on token embeddings that each query's vector is averaged over."""

    sigma: float = Field(
        gt=0,
        le=100,
        allow_inf_nan=False,
        description="size of a token's noise in mean token norms, as the probe's certificates have",
    )
    samples: int = Field(
        default=100, ge=1, le=MOST_LOOKS, description="drawn for each query; each is a model run"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="chooses the noise")


class SmoothingReply(Reply):
    """The smoothing that was done."""

    sigma: float
    samples: int
    seed: int
    lengths: list[float] = Field(
        description="of each query's mean vector before it was brought to 1: near 1 where the "
        "noise hardly matters, near 0 where it leaves nothing of the query"
    )


class Smoother:
    """The white box, opened when it is first needed, and who may look through it."""

    def __init__(self) -> None:
        self.gate = Gate("smoothing", 1, _WAITING)
        self._access: Access | None = None  # touched in the gate's one thread alone

    async def vectors(
        self, service: "Service", texts: Sequence[str], asked: SmoothingWire
    ) -> Smoothed:
        """Average each text's vectors over noise.

        Raises:
            InvalidInputError: If that is too much at a time, or the encoder has no white box.
            OverloadedError: If too many wait already.
            NotReadyError: If the service ends meanwhile.
        """
        require_few(len(texts), asked)
        left = threading.Event()

        def run() -> Smoothed:
            access = self._opened(service)
            rows = [row_of(one) for one in access.speller.read(texts)]
            with access.inside.until(lambda: left.is_set() or service.stopping.is_set()):
                return smoothed_vectors(
                    access.inside, rows, Noise(asked.sigma, asked.samples, asked.seed)
                )

        try:
            return await self.gate.run(run)
        except HaltedError:
            raise NotReadyError("The service was told to end; try again elsewhere.") from None
        finally:
            left.set()  # the client left, or its time ran out

    def _opened(self, service: "Service") -> Access:
        if self._access is None:
            from app.insight import open_access  # takes ONNX Runtime along

            self._access = open_access(service.settings.artifact, service.encoder.precision)
        return self._access


def require_few(queries: int, asked: SmoothingWire) -> None:
    """Refuse a request for more runs of the model than one may have.

    Raises:
        InvalidInputError: If it asks for them.
    """
    if queries * asked.samples > MOST_LOOKS:
        raise InvalidInputError(
            f"{queries} queries times {asked.samples} samples of smoothing is over {MOST_LOOKS}; "
            "ask for fewer samples, or for fewer queries at a time."
        )
