"""Stop at the next step, not in the middle of one, when SIGINT or SIGTERM comes."""

import signal
from types import FrameType
from typing import Self


class Interrupt:
    """Notes SIGINT and SIGTERM in place of dying of them; a second one works as usual.

    Attributes:
        number: Of the signal that came; 0: none.
    """

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
