"""CloudEvents envelopes, structured and binary."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.events.parse import parse
from tests.alert_factory import TRACEPARENT
from tests.events.formats.test_openai_chat import pair
from tests.events.records import OTHER_TRACEPARENT, native, record, refused

BODY = {"prompt": "Hi", "response": "Hello"}


def envelope(data: Any = BODY, **changes: Any) -> dict[str, Any]:
    context = {"specversion": "1.0", "id": "ce-1", "source": "/chat", "type": "com.example.chat"}
    return {**context, "data": data, **changes}


def encoded(data: bytes) -> dict[str, Any]:
    made = envelope(data_base64=base64.b64encode(data).decode())
    del made["data"]
    return made


def binary(**context: str) -> list[tuple[str, bytes]]:
    return [(f"ce_{name}", value.encode()) for name, value in {"specversion": "1.0", **context}.items()]


def test_structured() -> None:
    event = native(envelope(time="2025-01-02T03:04:05Z", traceparent=TRACEPARENT))
    assert (event.id, event.response) == ("ce-1", "Hello")
    assert event.time == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert event.traceparent == TRACEPARENT


def test_the_event_s_own_id_and_time_go_before_the_envelope_s() -> None:
    event = native(envelope({**BODY, "id": "own", "time": "2020-01-01T00:00:00Z"}, time="2025-01-02T03:04:05Z"))
    assert event.id == "own"
    assert event.time == datetime(2020, 1, 1, tzinfo=UTC)


def test_base64_data() -> None:
    assert native(encoded(json.dumps(BODY).encode())).response == "Hello"


def test_binary_mode() -> None:
    event = native(BODY, *binary(id="ce-2", time="2025-01-02T03:04:05Z", traceparent=TRACEPARENT))
    assert (event.id, event.traceparent) == ("ce-2", TRACEPARENT)
    assert event.time == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_headers_without_specversion_are_no_envelope() -> None:
    assert refused(BODY, ("ce_id", b"ce-2")).path == "$.id"


def test_openai_pairs_inside() -> None:
    (event,) = parse(record(envelope(pair())))
    assert event.id == "chatcmpl-1"


def test_traceparent_header_then_extension_then_body() -> None:
    third = f"00-{'a' * 32}-{'b' * 16}-01"
    data = {**BODY, "traceparent": third}
    assert native(envelope(data)).traceparent == third
    assert native(envelope(data, traceparent=OTHER_TRACEPARENT)).traceparent == OTHER_TRACEPARENT
    header = ("traceparent", TRACEPARENT.encode())
    assert native(envelope(data, traceparent=OTHER_TRACEPARENT), header).traceparent == TRACEPARENT
    assert native(envelope(data, traceparent="broken"), ("traceparent", b"broken")).traceparent == third


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (envelope(specversion="0.3"), "$.specversion", "only CloudEvents 1.0"),
        (envelope(specversion=1.0), "$.specversion", "only CloudEvents 1.0"),
        (envelope(specversion=None), "$.specversion", "only CloudEvents 1.0"),
        (envelope(id=""), "$.id", "non-empty string"),
        (envelope(id=5), "$.id", "non-empty string"),
        (envelope(source=None), "$.source", "non-empty string"),
        (envelope(type=[]), "$.type", "non-empty string"),
        (envelope(id="a" * 513), "$.id", "at most 512 characters"),
        (envelope(time="nope"), "$.time", "not an RFC 3339 time"),
        (envelope(None), "$.data", "got null"),
        (envelope([1]), "$.data", "got array"),
        (envelope({}), "$.data", "no text"),
        (envelope({"prompt": 1}), "$.data.prompt", "valid string"),
        (envelope({**BODY, "time": "nope"}), "$.data.time", "not an RFC 3339 time"),
        (envelope({"request": {"messages": [5]}, "response": {}}), "$.data.request.messages[0]", "should be an object"),
        (envelope(data_base64="*"), "$.data_base64", "not base64"),
        (envelope(data_base64=5), "$.data_base64", "not base64"),
        (envelope(data_base64=None), "$.data_base64", "not base64"),
        (envelope(data_base64="é"), "$.data_base64", "not base64"),
        (encoded(b"\xff"), "$.data_base64", "not base64"),
        (encoded(b"["), "$.data_base64", "not base64"),
        (encoded(b"[" * 100_000), "$.data_base64", "not base64"),
        (encoded(b"5"), "$.data", "got number"),
    ],
)
def test_the_first_fault_is_named_with_its_path(body: Any, path: str, reason: str) -> None:
    error = refused(body)
    assert (error.path, error.kind) == (path, "schema")
    assert reason in error.reason


def test_nan_inside_base64() -> None:
    assert refused(encoded(b'{"prompt":NaN}')).reason == "NaN is not JSON"


def test_an_over_long_id_in_a_header() -> None:
    assert "at most 512 characters" in refused(BODY, *binary(id="a" * 513)).reason
