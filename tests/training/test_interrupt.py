import os
import signal
import threading

import pytest

from tfprune.training import GracefulInterrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_noted_the_second_is_an_interrupt(number, capsys):
    before = [signal.getsignal(each) for each in SIGNALS]
    with GracefulInterrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert "stopping after this step" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_other_threads_leave_signals_alone():
    before = [signal.getsignal(each) for each in SIGNALS]
    seen = []

    def work():
        with GracefulInterrupt() as interrupt:
            seen.append((interrupt.requested, [signal.getsignal(each) for each in SIGNALS]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
