"""Inbox: bounded in records and bytes until delivery, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest

from monitor.errors import BadEvent
from monitor.events.event import Origin, Record
from monitor.sources.inbox import Inbox, InboxClosed, InboxFull


def record(number: int, size: int = 10) -> Record:
    return Record(b"x" * size, Origin("http", 7, number))


def test_records_come_out_in_order_and_no_more_than_asked_for() -> None:
    inbox = Inbox(10, 1_000)
    for number in range(5):
        inbox.offer(record(number))
    assert [r.origin.offset for r in inbox.take(3, 0, 0)] == [0, 1, 2]
    assert [r.origin.offset for r in inbox.take(3, 0, 0)] == [3, 4]
    assert inbox.take(3, 0, 0) == []


def test_what_is_taken_counts_until_it_is_delivered() -> None:
    inbox = Inbox(2, 1_000)
    inbox.offer(record(0))
    inbox.offer(record(1))
    inbox.take(2, 0, 0)
    with pytest.raises(InboxFull):
        inbox.offer(record(2))
    assert inbox.held() == (2, 20)
    inbox.settle()
    assert inbox.held() == (0, 0)
    inbox.offer(record(2))


def test_bytes_are_bounded_and_count_headers() -> None:
    inbox = Inbox(10, 100)
    inbox.offer(Record(b"x" * 60, Origin("http", 7, 0), headers=(("traceparent", b"y" * 20),)))
    with pytest.raises(InboxFull):
        inbox.offer(record(1, 10))
    inbox.offer(record(2, 9))


def test_a_single_record_over_the_limit_is_taken() -> None:
    inbox = Inbox(10, 100)
    inbox.offer(record(0, 500))
    with pytest.raises(InboxFull):
        inbox.offer(record(1, 1))


def test_each_caller_hears_what_became_of_its_record() -> None:
    inbox = Inbox(10, 1_000)
    good, bad, late = (inbox.offer(record(number)) for number in range(3))
    inbox.take(2, 0, 0)
    error = BadEvent("9 tokens", kind="size")
    inbox.refuse(Origin("http", 7, 1), error)
    inbox.settle()
    assert good.result(0) == "delivered"
    assert bad.result(0) is error
    assert not late.done()
    assert inbox.abandon() == 1
    assert late.result(0) == "lost"


def test_a_closed_inbox_hands_out_what_it_has_and_takes_nothing() -> None:
    inbox = Inbox(10, 1_000)
    inbox.offer(record(0))
    inbox.close()
    with pytest.raises(InboxClosed):
        inbox.offer(record(1))
    assert len(inbox.take(5, 10, 10)) == 1
    assert inbox.waiting == 0


def test_closing_wakes_who_waits_for_records() -> None:
    inbox = Inbox(10, 1_000)
    found: list[list[Record]] = []
    taker = threading.Thread(target=lambda: found.append(inbox.take(5, 60, 0)))
    taker.start()
    inbox.close()
    taker.join(30)
    assert found == [[]]


def test_records_that_come_together_are_taken_together() -> None:
    inbox = Inbox(10, 1_000)
    inbox.offer(record(0))
    timer = threading.Timer(0.05, lambda: inbox.offer(record(1)))
    timer.start()
    assert len(inbox.take(2, 0, 30)) == 2
    timer.join()
