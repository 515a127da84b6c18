"""Made-up records, and what the parser makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.errors import BadEvent
from monitor.events.event import Event, EventLimits, Origin, Record
from monitor.events.parse import parse

ORIGIN = Origin("llm.events", 3, 41)
OTHER_TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-00"


def record(body: Any, *headers: tuple[str, bytes]) -> Record:
    return Record(body if isinstance(body, bytes) else json.dumps(body).encode(), ORIGIN, headers=headers)


def native(body: Any, *headers: tuple[str, bytes]) -> Event:
    (event,) = parse(record(body, *headers))
    return event


def refused(body: Any, *headers: tuple[str, bytes], limits: EventLimits | None = None) -> BadEvent:
    with pytest.raises(BadEvent) as caught:
        parse(record(body, *headers), limits)
    return caught.value
