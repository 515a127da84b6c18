"""Avro payloads become the JSON that formats read; no payload and no schema takes unbounded time or memory."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import BadEvent
from monitor.events.envelopes.avro import UnusableSchema, avro_decoder
from monitor.events.envelopes.confluent import schema_ids
from monitor.events.event import Record
from monitor.events.parse import parse
from tests.events.avro_records import EVENT, MESSAGE, VALUE, encoded, framed
from tests.events.records import ORIGIN


def nested(*names: str) -> list[dict[str, Any]]:
    """Records that each have the one before twice; the first takes no bytes."""
    found: list[dict[str, Any]] = [{"type": "record", "name": names[0], "fields": [{"name": "x", "type": "null"}]}]
    for before, name in pairwise(names):
        fields = [{"name": field, "type": before} for field in "xy"]
        found.append({"type": "record", "name": name, "fields": fields})
    return found


def test_an_event() -> None:
    (event,) = parse(Record(framed(encoded()), ORIGIN), schemas={7: avro_decoder(EVENT)})
    assert (event.id, event.messages[0].content, event.response) == ("e1", "Hi", "Hello")
    assert event.time == datetime(2025, 6, 1, 12, 30, 0, 123_000, tzinfo=UTC)
    assert event.conversation_id == "c"


def test_numbers_without_a_value_and_bytes() -> None:
    repaired = Counter[str]()
    attributes = {"a": float("nan"), "b": b"text", "c": b"\xff\0"}
    value = avro_decoder(EVENT)(encoded({**VALUE, "attributes": attributes}), repaired)
    assert value["attributes"] == {"a": None, "b": "text", "c": "/wA="}
    assert repaired == {"number": 1}


def test_a_time_out_of_range_refuses_nothing() -> None:
    assert avro_decoder(EVENT)(encoded({**VALUE, "time": 1 << 60}), Counter())["time"] == 1 << 60


def test_names_that_other_schemas_define() -> None:
    messages = {"name": "messages", "type": {"type": "array", "items": "chat.Message"}}
    outer = {"type": "record", "name": "Outer", "fields": [messages]}
    payload = encoded({"messages": VALUE["messages"]}, outer, [MESSAGE])
    assert avro_decoder(outer, [MESSAGE])(payload, Counter()) == {"messages": VALUE["messages"]}


@pytest.mark.parametrize(
    ("schema", "referenced", "reason"),
    [
        ({"type": "array", "items": "null"}, (), "an array whose items take no bytes"),
        ({"type": "array", "items": nested("A")[0]}, (), "an array whose items take no bytes"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, (), "items take no bytes"),
        ({"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}, (), "N contains itself"),
        (nested(*(f"A{n}" for n in range(40)))[-1], nested(*(f"A{n}" for n in range(39))), "more than 10000 fields"),
        ({"type": "record", "name": "N", "fields": [{"name": "n", "type": "Missing"}]}, (), "not an Avro schema"),
        ({"type": "nothing"}, (), "not an Avro schema"),
        (5, (), "not an Avro schema"),
    ],
)
def test_schemas_that_are_not_used(schema: Any, referenced: Any, reason: str) -> None:
    with pytest.raises(UnusableSchema, match=reason):
        avro_decoder(schema, referenced)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "EOFError"),
        (encoded()[:-1], "EOFError"),
        (encoded() + b"xy", "2 bytes follow the value"),
        (b"\xff" * 40, "not Avro of this schema"),
    ],
)
def test_payloads_of_another_schema(payload: bytes, reason: str) -> None:
    with pytest.raises(BadEvent, match=reason) as caught:
        avro_decoder(EVENT)(payload, Counter())
    assert caught.value.kind == "encoding"


def test_what_needs_a_schema() -> None:
    values = [framed(encoded(), 1), framed(b'{"prompt": "x"}', 2), framed(b"[]", 3), b"{}", None, b"\0\0\0\0\5", b""]
    assert schema_ids(Record(value, ORIGIN) for value in values) == {1}


def test_json_in_a_frame_needs_none() -> None:
    for text in (b'{"prompt": "Hi"}', b' {"prompt": "Hi"}'):
        assert parse(Record(framed(text), ORIGIN))[0].messages[0].content == "Hi"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.builds(lambda cut, junk: encoded()[:cut] + junk, st.integers(0, 40), st.binary()))
def test_any_payload_is_an_event_or_refused(payload: bytes) -> None:
    with suppress(BadEvent):
        parse(Record(framed(payload), ORIGIN), schemas={7: avro_decoder(EVENT)})


TEXTS = st.text(max_size=20)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fixed_dictionaries({"role": TEXTS, "content": st.none() | TEXTS}), max_size=3), TEXTS.filter(bool))
def test_whatever_is_said_is_read(messages: list[dict[str, Any]], response: str) -> None:
    value = {**VALUE, "messages": messages, "response": response}
    (event,) = parse(Record(framed(encoded(value)), ORIGIN), schemas={7: avro_decoder(EVENT)})
    assert event.response == response
    assert [m.content for m in event.messages] == [m["content"] or "" for m in messages]
