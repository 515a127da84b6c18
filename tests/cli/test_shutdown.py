"""Signals: the first one is logged and ends the loop, the second ends the process; SIGHUP asks for a reload."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from monitor.cli.shutdown import closing_all, reload_on_signal

CHILD = """
import logging, sys, time
from monitor.cli.shutdown import stop_on_signals
logging.basicConfig(level="INFO", format="%(message)s")
stop = stop_on_signals()
print("waiting", flush=True)
stop.wait()
print("stopped", flush=True)
if "busy" in sys.argv:
    time.sleep(600)
"""


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that waits for a signal; with the parameter busy it then goes on working."""
    arguments = [sys.executable, "-c", CHILD, *getattr(request, "param", ())]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_logged_and_ends_the_loop(child: subprocess.Popen[str], number: signal.Signals) -> None:
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "stopped\n")
    assert err == f"{number.name}: finishing the current batch; a second signal ends the process at once\n"


@pytest.mark.parametrize("child", [["busy"]], indirect=True)
def test_the_second_signal_ends_the_process(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGTERM)
    assert child.stdout is not None
    assert child.stdout.readline() == "stopped\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == -signal.SIGTERM


def test_sighup_asks_for_a_reload() -> None:
    before = signal.getsignal(signal.SIGHUP)
    asked = reload_on_signal()
    try:
        assert not asked.is_set()
        signal.raise_signal(signal.SIGHUP)
        assert asked.wait(60)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_everything_is_closed_even_if_one_fails(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    def failing() -> None:
        raise OSError("disk full")

    with closing_all() as opened:
        opened += [lambda: closed.append("first"), failing, lambda: closed.append("last")]
    assert closed == ["last", "first"]
    assert "disk full" in caplog.text
