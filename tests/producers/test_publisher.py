"""Publisher: never in the way of the producer, bounded, and honest about what it dropped."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from monitor.errors import Permanent, Retryable
from monitor.producers.publisher import Encoded, Publisher, PublisherCounts
from monitor.producers.transport import Message
from tests.producers.kept_transport import KeptTransport

WAIT_S = 60


def item(number: int, size: int = 1) -> Encoded:
    return Encoded(Message(str(number).encode().ljust(size)))


Start = Callable[..., Publisher]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Publisher] = []

    def make(transport: KeptTransport, **limits: int) -> Publisher:
        started.append(Publisher(transport, **limits))
        return started[-1]

    yield make
    for publisher in started:
        publisher.close(0)


def test_what_is_published_arrives_in_order(start: Start) -> None:
    transport = KeptTransport()
    publisher = start(transport)
    assert all(publisher.publish(item(number)) for number in range(250))
    assert publisher.flush(WAIT_S)
    assert [int(m.value) for m in transport.messages] == list(range(250))
    assert publisher.counts() == PublisherCounts(published=250, dropped=0, waiting=0)


def test_nothing_is_started_before_the_first_event() -> None:
    before = threading.active_count()
    publisher = Publisher(KeptTransport())
    assert threading.active_count() == before
    publisher.close()


@pytest.mark.parametrize("limits", [{"max_events": 3}, {"max_bytes": 30}])
def test_a_destination_that_is_stuck_drops_the_rest_and_blocks_nobody(
    start: Start, caplog: pytest.LogCaptureFixture, limits: dict[str, int]
) -> None:
    transport = KeptTransport()
    transport.gate.clear()
    publisher = start(transport, **limits)
    assert [publisher.publish(item(n, 10)) for n in range(6)] == [True] * 3 + [False] * 3
    assert publisher.counts() == PublisherCounts(published=0, dropped=3, waiting=3)
    assert not publisher.flush(0.01)
    transport.gate.set()
    assert publisher.flush(WAIT_S)
    assert publisher.counts() == PublisherCounts(published=3, dropped=3, waiting=0)
    (line,) = caplog.messages  # one line, not one for each
    assert line == "1 events were not published: the queue is full"


def test_a_destination_that_is_down_is_tried_again(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    failures = 2

    def fail(_: Sequence[Message]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise Retryable("no broker answers", 0)

    transport = KeptTransport(fail)
    publisher = start(transport)
    with caplog.at_level("INFO"):
        for number in range(3):
            publisher.publish(item(number))
        assert publisher.flush(WAIT_S)
    assert [int(m.value) for m in transport.messages] == [0, 1, 2]
    assert caplog.messages == ["events wait to be published: no broker answers", "events are published again"]


def test_an_event_that_nobody_takes_is_dropped_and_the_rest_goes_on(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(messages: Sequence[Message]) -> None:
        if any(int(m.value) == 1 for m in messages):
            raise Permanent("too large")

    transport = KeptTransport(fail)
    transport.gate.clear()
    publisher = start(transport)
    for number in range(3):
        publisher.publish(item(number))
    transport.gate.set()
    assert publisher.flush(WAIT_S)
    assert [int(m.value) for m in transport.messages] == [0, 2]
    assert publisher.counts() == PublisherCounts(published=2, dropped=1, waiting=0)
    assert caplog.messages == ["1 events were not published: too large"]


def test_faults_of_all_kinds_never_end_the_thread_nor_show_text(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    class Odd:
        size = 1

        def message(self) -> Message | None:
            raise ValueError("what the user said")

    class Nothing:
        size = 1

        def message(self) -> Message | None:
            return None

    transport = KeptTransport()
    publisher = start(transport)
    for odd in (Odd(), Nothing(), item(7)):
        publisher.publish(odd)
    assert publisher.flush(WAIT_S)
    assert publisher.counts() == PublisherCounts(published=1, dropped=1, waiting=0)
    assert caplog.messages == ["1 events were not published: ValueError"]


def test_closing_sends_what_waits_and_then_takes_nothing(start: Start) -> None:
    transport = KeptTransport()
    publisher = start(transport)
    publisher.publish(item(0))
    publisher.close(WAIT_S)
    assert transport.closed
    assert [int(m.value) for m in transport.messages] == [0]
    assert not publisher.publish(item(1))
    assert publisher.counts() == PublisherCounts(published=1, dropped=1, waiting=0)


def test_closing_while_the_destination_is_down_drops_what_waits(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Sequence[Message]) -> None:
        raise Retryable("down", 30)

    publisher = start(KeptTransport(fail))
    publisher.publish(item(0))
    publisher.publish(item(1))
    publisher.close(0.1)
    assert publisher.counts() == PublisherCounts(published=0, dropped=2, waiting=0)
    assert "2 events were not published: the process stopped" in caplog.messages


SHORT = """
import sys
from monitor.producers.publisher import Encoded, Publisher
from monitor.producers.transport import Message

class Shown:
    def send(self, messages):
        print(len(messages), flush=True)
    def close(self):
        print("closed", flush=True)

Publisher(Shown()).publish(Encoded(Message(b"{}")))
"""


def test_a_process_that_ends_sends_what_waits() -> None:
    found = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "1\nclosed\n"


@pytest.mark.parametrize("module", ["middleware", "kafka", "http", "exchange", "forward"])
def test_a_producer_imports_no_reader(module: str) -> None:
    code = f"import sys, monitor.producers.{module}\nprint(*(n for n in sys.modules if '.' not in n))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"onnxruntime", "torch", "transformers", "tokenizers", "opentelemetry", "litellm"}
    assert not heavy & set(found.stdout.split())
