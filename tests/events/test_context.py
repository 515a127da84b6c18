"""Which traceparent counts, and what an event keeps of its record."""

from __future__ import annotations

import pytest

from tests.alert_factory import TRACEPARENT
from tests.events.records import OTHER_TRACEPARENT, native

INVALID_TRACEPARENTS = [
    "",
    "garbage",
    TRACEPARENT.upper(),
    TRACEPARENT + "\n",
    TRACEPARENT + "-00",
    TRACEPARENT[:-1],
    f"00-{'0' * 32}-{'1' * 16}-01",
    f"00-{'1' * 32}-{'0' * 16}-01",
    f"ff-{'1' * 32}-{'1' * 16}-01",
]


@pytest.mark.parametrize("bad", INVALID_TRACEPARENTS)
def test_an_invalid_traceparent_is_as_good_as_none(bad: str) -> None:
    assert native({"id": "a", "prompt": "x", "traceparent": bad}).traceparent is None
    other = native({"id": "a", "prompt": "x", "traceparent": OTHER_TRACEPARENT}, ("traceparent", bad.encode()))
    assert other.traceparent == OTHER_TRACEPARENT


def test_the_header_goes_before_the_body_and_the_last_header_before_others() -> None:
    body = {"id": "a", "prompt": "x", "traceparent": OTHER_TRACEPARENT}
    assert native(body, ("traceparent", TRACEPARENT.encode())).traceparent == TRACEPARENT
    assert native(body, ("traceparent", b"\xff")).traceparent == OTHER_TRACEPARENT
    twice = (("traceparent", OTHER_TRACEPARENT.encode()), ("traceparent", TRACEPARENT.encode()))
    assert native(body, *twice).traceparent == TRACEPARENT


def test_an_event_keeps_the_headers_of_its_record() -> None:
    event = native({"id": "a", "prompt": "x"}, ("x-tenant", b"first"), ("x-tenant", b"last"), ("raw", b"\xff"))
    assert [event.header(name) for name in ("x-tenant", "raw", "none")] == ["last", None, None]
