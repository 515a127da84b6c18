"""A transport that keeps what it is given, fails as told, and can be held up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from monitor.events.event import Event, Origin, Record
from monitor.events.parse import parse
from monitor.producers.transport import Message


class KeptTransport:
    """Keeps messages; `fail` may raise for a batch."""

    def __init__(self, fail: Callable[[Sequence[Message]], None] = lambda _: None) -> None:
        self._fail = fail
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[Message]] = []
        self.closed = False

    def send(self, messages: Sequence[Message]) -> None:
        assert self.gate.wait(60)
        self._fail(messages)
        self.batches.append(list(messages))

    def close(self) -> None:
        self.closed = True

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch]

    def values(self) -> list[Any]:
        """The events as JSON."""
        return [json.loads(message.value) for message in self.messages]

    def events(self) -> list[Event]:
        """The events as latentwatch reads them."""
        return [event for message in self.messages for event in parsed(message)]


def parsed(message: Message) -> tuple[Event, ...]:
    """The events in a published message."""
    return parse(Record(message.value, Origin("t", 0, 0), headers=message.headers))
