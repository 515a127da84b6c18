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
    assert native(BODY, ("ce_id", b"ce-2")).id == "llm.events-3-41"


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
    "changes",
    [{"specversion": "0.3"}, {"source": None}, {"type": []}, {"time": "nope"}, {"time": 1_735_787_045}],
)
def test_attributes_that_judging_does_not_need_refuse_nothing(changes: dict[str, Any]) -> None:
    assert native(envelope(**changes)).response == "Hello"


@pytest.mark.parametrize(("event_id", "expected"), [("", "llm.events-3-41"), (5, "5"), (None, "llm.events-3-41")])
def test_ids(event_id: Any, expected: str) -> None:
    assert native(envelope(id=event_id)).id == expected


def test_an_over_long_id_becomes_its_hash() -> None:
    assert native(envelope(id="a" * 513)).id.startswith("sha256:")
    assert native(BODY, *binary(id="a" * 513)).id.startswith("sha256:")


def test_data_as_text_of_json_as_dapr_sends_it() -> None:
    made = envelope(json.dumps(BODY), datacontenttype="text/plain", traceid=TRACEPARENT, pubsubname="bus", topic="t")
    event = native(made)
    assert (event.id, event.response, event.traceparent) == ("ce-1", "Hello", TRACEPARENT)


def test_a_batch() -> None:
    events = parse(record([envelope(id="a"), envelope(id="b"), envelope(id="")]))
    assert [event.id for event in events] == ["a", "b", "llm.events-3-41#2"]


def test_several_events_in_one_envelope_have_ids_of_their_own() -> None:
    assert [event.id for event in parse(record(envelope([BODY, BODY])))] == ["ce-1#0", "ce-1#1"]


def test_request_and_response_of_kserve_share_the_envelope_s_id() -> None:
    kind = "org.kubeflow.serving.inference"
    (request,) = parse(record(envelope(pair()["request"], type=f"{kind}.request")))
    (answer,) = parse(record(envelope(pair()["response"], type=f"{kind}.response")))
    assert (request.id, answer.id) == ("ce-1#request", "ce-1")
    assert (request.messages[0].content, request.response, answer.response) == ("Hi", "", "Hello")
    binary_mode = record(pair()["response"], *binary(id="ce-1", type=f"{kind}.response"))
    assert parse(binary_mode)[0].id == "ce-1"


@pytest.mark.parametrize(
    ("body", "path", "kind", "reason"),
    [
        (envelope(None), "$.data", "schema", "got null"),
        (envelope([]), "$.data", "schema", "got array"),
        (envelope([1]), "$.data[0]", "schema", "got number"),
        (envelope("text"), "$.data", "schema", "got string"),
        (envelope({}), "$.data", "schema", "not a format that is read"),
        (envelope({"prompt": 1}), "$.data.prompt", "schema", "got number"),
        (envelope({"request": {"messages": [5]}, "response": {}}), "$.data", "schema", "can't be read: tokens 1"),
        (encoded(b"5"), "$.data_base64", "schema", "got number"),
        (encoded(b"\xff"), "$.data_base64", "encoding", "what was base64 is not UTF-8"),
        (encoded(b"["), "$.data_base64", "json", "what was base64 is not JSON"),
        (encoded(b"[" * 100_000), "$.data_base64", "json", "nested too deeply"),
        *(
            (({**encoded(b""), "data_base64": bad}), "$.data_base64", "schema", "not base64")
            for bad in ("*", 5, None, "é")
        ),
    ],
)
def test_the_first_fault_is_named_with_its_path(body: Any, path: str, kind: str, reason: str) -> None:
    error = refused(body)
    assert (error.path, error.kind) == (path, kind)
    assert reason in error.reason


def test_envelopes_inside_each_other_without_end() -> None:
    body: Any = BODY
    for _ in range(10):
        body = envelope(body)
    assert "more than 8 envelopes" in refused(body).reason
