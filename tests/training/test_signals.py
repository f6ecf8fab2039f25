import os
import signal

import pytest

from training.signals import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_notes_the_first_signal_and_restores(number: int) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert interrupt.number == 0
        os.kill(os.getpid(), number)
        assert interrupt.number == number
    assert signal.getsignal(number) == before


def test_interrupt_second_sigint_raises_as_usual() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.number == signal.SIGTERM
