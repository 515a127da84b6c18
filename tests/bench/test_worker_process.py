"""A worker answers from its own process, or says why it can't."""

from __future__ import annotations

import os
import time

import pytest

from monitor.bench.worker_process import WorkerProcess
from monitor.errors import ConfigError, Permanent


class Counter:
    def __init__(self, start: int) -> None:
        self._count = start

    def add(self, step: int) -> int:
        self._count += step
        return self._count

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError("seven\nlines of detail")

    def wait(self) -> None:
        time.sleep(600)

    def die(self) -> None:
        os._exit(9)


def unusable() -> None:
    raise ConfigError("reader.model: no such folder")


def lacking() -> None:
    raise ImportError("No module named 'fastlib'", name="fastlib")


def test_state_stays_between_calls_in_another_process() -> None:
    with WorkerProcess(Counter, 5) as worker:
        assert [worker.call("add", 2), worker.call("add", 3)] == [7, 10]
        assert worker.call("pid") != os.getpid()


def test_an_error_is_told_in_a_line_and_the_worker_goes_on() -> None:
    with WorkerProcess(Counter, 1) as worker:
        with pytest.raises(Permanent, match=r"^ValueError: seven$"):
            worker.call("fail")
        assert worker.call("add", 1) == 2


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (unusable, r"^reader\.model: no such folder$"),
        (lacking, r"^needs fastlib; run: pip install 'latentwatch\[bench\]'$"),
    ],
)
def test_what_cannot_be_made_says_why(make: object, reason: str) -> None:
    with WorkerProcess(make) as worker, pytest.raises(Permanent, match=reason):  # type: ignore[arg-type]
        worker.wait_made()


def test_a_process_that_dies_is_an_error_and_not_a_wait() -> None:
    with WorkerProcess(Counter, 0) as worker, pytest.raises(Permanent, match="ended with exit code 9"):
        worker.call("die")


def test_no_process_is_left_over() -> None:
    with WorkerProcess(Counter, 0) as worker:
        pid = worker.call("pid")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_takes_too_long_is_stopped() -> None:
    with WorkerProcess(Counter, 0) as worker:
        pid = worker.call("pid")
        with pytest.raises(Permanent, match=r"^stopped: it took longer than 0 s$"):
            worker.call("wait", within_s=0.1)
        with pytest.raises(Permanent, match=r"^its process was stopped before$"):
            worker.call("add", 1)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_that_is_not_made_in_time_is_stopped() -> None:
    with WorkerProcess(time.sleep, 600) as worker, pytest.raises(Permanent, match=r"^stopped: "):
        worker.wait_made(0.1)
