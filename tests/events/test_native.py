"""The native format, and what is true of every format: sizes, encodings, and the path of each fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.errors import BadEvent
from monitor.events.event import Event, EventLimits, Message, Origin, Record, parse
from tests.alert_factory import TRACEPARENT

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


def test_every_field() -> None:
    body = {
        "id": "chat-1",
        "time": "2025-01-02T03:04:05Z",
        "model": "gpt-x",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Grüße 👋🏽"}],
        "response": "Hello",
        "attributes": {"conversation_id": "c-9", "nested": {"list": [1, None]}},
        "traceparent": TRACEPARENT,
    }
    assert native(body) == Event(
        id="chat-1",
        messages=(Message("system", "Be kind."), Message("user", "Grüße 👋🏽")),
        response="Hello",
        origin=ORIGIN,
        time=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        model="gpt-x",
        attributes={"conversation_id": "c-9", "nested": {"list": [1, None]}},
        traceparent=TRACEPARENT,
    )


def test_a_prompt_alone_and_a_response_alone() -> None:
    assert native({"id": "a", "prompt": "Hi"}).messages == (Message("user", "Hi"),)
    assert native({"id": "a", "prompt": "Hi"}).response == ""
    only_response = native({"id": "a", "response": "Hello"})
    assert (only_response.messages, only_response.response) == ((), "Hello")
    assert native({"id": "a", "messages": [{"role": "user", "content": "Hi"}]}).response == ""


def test_fields_that_are_null_are_as_good_as_left_out() -> None:
    nulls = dict.fromkeys(("time", "model", "messages", "response", "attributes", "traceparent"))
    assert native({"id": "a", "prompt": "Hi", **nulls}) == native({"id": "a", "prompt": "Hi"})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "plain"}, "plain"),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": []}, ""),
        ({"content": [{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}]}, "one\ntwo"),
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "seen"}]}, "seen"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": None, "refusal": "I can't help."}, "I can't help."),
        ({"content": "a", "refusal": None, "tool_calls": None}, "a"),
        (
            {
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "run", "arguments": '{"x":1}'}}],
            },
            'run({"x":1})',
        ),
        (
            {"content": "Wait.", "tool_calls": [{"function": {"name": "a"}}, {"function": {"name": "b"}}]},
            "Wait.\na()\nb()",
        ),
        ({"tool_calls": [{"type": "custom", "custom": {"name": "sh", "input": "rm -rf /"}}]}, "sh(rm -rf /)"),
    ],
)
def test_all_text_of_a_message_is_read(message: dict[str, Any], text: str) -> None:
    event = native({"id": "a", "response": "r", "messages": [{"role": "assistant", **message}]})
    assert event.messages == (Message("assistant", text),)


def test_unknown_fields_are_ignored_and_of_a_repeated_field_the_last_counts() -> None:
    event = native(b'{"id":"a","id":"b","prompt":"x","surprise":[{}],"messages":null}')
    assert event == native({"id": "b", "prompt": "x"})


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2025-01-02T03:04:05.678Z", datetime(2025, 1, 2, 3, 4, 5, 678_000, UTC)),
        ("2025-01-02T05:04:05+02:00", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),  # without a zone: UTC
    ],
)
def test_times(time: str, expected: datetime) -> None:
    assert native({"id": "a", "prompt": "x", "time": time}).time == expected


MESSAGE = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ([], "$", "expected a JSON object, got array"),
        ("text", "$", "expected a JSON object, got string"),
        (1, "$", "expected a JSON object, got number"),
        (1.5, "$", "expected a JSON object, got number"),
        (True, "$", "expected a JSON object, got boolean"),
        (None, "$", "expected a JSON object, got null"),
        ({}, "$.id", "needs an id"),
        ({"prompt": "x"}, "$.id", "needs an id"),
        ({"id": 1, "prompt": "x"}, "$.id", "valid string"),
        ({"id": "", "prompt": "x"}, "$.id", "at least 1 character"),
        ({"id": "a" * 513, "prompt": "x"}, "$.id", "at most 512 characters"),
        ({"id": "a"}, "$", "no text"),
        ({"id": "a", "prompt": "", "response": ""}, "$", "no text"),
        ({"id": "a", "messages": []}, "$", "no text"),
        ({"id": "a", "messages": [{"role": "user", "content": None}]}, "$", "no text"),
        ({"id": "a", "prompt": 5}, "$.prompt", "valid string"),
        ({"id": "a", "prompt": ["x"]}, "$.prompt", "valid string"),
        ({"id": "a", "prompt": "x", "messages": [MESSAGE]}, "$.prompt", "messages or prompt, not both"),
        ({"id": "a", "response": {"text": "x"}}, "$.response", "valid string"),
        ({"id": "a", "messages": "x"}, "$.messages", "valid list"),
        ({"id": "a", "messages": {"role": "user"}}, "$.messages", "valid list"),
        ({"id": "a", "messages": ["x"]}, "$.messages[0]", "should be an object"),
        ({"id": "a", "messages": [MESSAGE, None]}, "$.messages[1]", "should be an object"),
        ({"id": "a", "messages": [{"content": "x"}]}, "$.messages[0].role", "field required"),
        ({"id": "a", "messages": [{**MESSAGE, "role": ""}]}, "$.messages[0].role", "at least 1 character"),
        ({"id": "a", "messages": [{**MESSAGE, "role": "r" * 65}]}, "$.messages[0].role", "at most 64"),
        ({"id": "a", "messages": [MESSAGE, {**MESSAGE, "content": 5}]}, "$.messages[1].content", "valid string"),
        ({"id": "a", "messages": [{**MESSAGE, "content": {"text": 1}}]}, "$.messages[0].content", "valid string"),
        ({"id": "a", "messages": [{**MESSAGE, "content": {"str": 1}}]}, "$.messages[0].content", "valid string"),
        ({"id": "a", "messages": [{**MESSAGE, "content": ["x"]}]}, "$.messages[0].content[0]", "should be an object"),
        (
            {"id": "a", "messages": [{**MESSAGE, "content": [{"text": "x"}]}]},
            "$.messages[0].content[0].type",
            "field required",
        ),
        (
            {"id": "a", "messages": [{**MESSAGE, "content": [{"type": "t", "text": "x"}, {"type": "t", "text": 1}]}]},
            "$.messages[0].content[1].text",
            "valid string",
        ),
        ({"id": "a", "messages": [{**MESSAGE, "tool_calls": {}}]}, "$.messages[0].tool_calls", "valid list"),
        (
            {"id": "a", "messages": [{**MESSAGE, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]},
            "$.messages[0].tool_calls[0].function.arguments",
            "valid string",
        ),
        ({"id": "a", "prompt": "x", "time": 1_700_000_000}, "$.time", "valid string"),
        ({"id": "a", "prompt": "x", "time": "yesterday"}, "$.time", "not an RFC 3339 time"),
        ({"id": "a", "prompt": "x", "time": "2025-13-01T00:00:00Z"}, "$.time", "not an RFC 3339 time"),
        ({"id": "a", "prompt": "x", "model": {}}, "$.model", "valid string"),
        ({"id": "a", "prompt": "x", "attributes": []}, "$.attributes", "valid dictionary"),
        ({"id": "a", "prompt": "x", "traceparent": 1}, "$.traceparent", "valid string"),
    ],
)
def test_the_first_fault_is_named_with_its_path(body: Any, path: str, reason: str) -> None:
    error = refused(body)
    assert (error.path, error.kind) == (path, "schema")
    assert reason in error.reason
    assert "_Wire" not in error.reason
    assert str(error) == f"{error.path}: {error.reason}"


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"", "json", "not JSON: Expecting value at character 0"),
        (b"   ", "json", "not JSON"),
        (b'{"id":"a"', "json", "not JSON"),
        (b'{"id":"a"} {}', "json", "Extra data"),
        (b"\x00", "json", "not JSON"),
        (b'{"id":"a","prompt":"raw \x00 byte"}', "json", "Invalid control character"),
        (b"\xef\xbb\xbf{}", "json", "BOM"),
        (b'{"id":"a","prompt":NaN}', "json", "NaN is not JSON"),
        (b'{"id":"a","prompt":"x","attributes":{"n":-Infinity}}', "json", "-Infinity is not JSON"),
        (b'{"id":"a","prompt":"x","attributes":{"n":' + b"9" * 5_000 + b"}}", "json", "digits"),
        (b"[" * 100_000, "json", "nested too deeply"),
        (b'{"a":' * 100_000, "json", "nested too deeply"),
        (b'{"id":"a","prompt":"\xff"}', "encoding", "not UTF-8: byte 20"),
        ('{"id":"a","prompt":"x"}'.encode("utf-16"), "encoding", "not UTF-8"),
        (b'{"id":"a","prompt":"\xed\xa0\x80"}', "encoding", "not UTF-8"),  # a surrogate in CESU-8
        (b'{"id":"a","prompt":"\\ud83d"}', "encoding", "lone surrogate"),
        (b'{"id":"a","prompt":"x","model":"\\ud83d"}', "encoding", "lone surrogate"),
        (b'{"id":"a","prompt":"x","attributes":{"conversation_id":"\\ud83d"}}', "encoding", "lone surrogate"),
        (b'{"id":"a","prompt":"x","attributes":{"a":[{"\\ud83d":1}]}}', "encoding", "lone surrogate"),
    ],
)
def test_records_that_are_no_text_or_no_json(body: bytes, kind: str, reason: str) -> None:
    error = refused(body)
    assert (error.kind, error.path) == (kind, "$")
    assert reason in error.reason


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"id":"\\udc4b","prompt":"x"}', "$.id"),
        (b'{"id":"a","messages":[{"role":"\\ud83d","content":"x"}]}', "$.messages[0].role"),
    ],
)
def test_lone_surrogates_in_short_fields_are_named_with_their_path(body: bytes, path: str) -> None:
    assert refused(body).path == path


def test_pairs_of_surrogates_and_escaped_nulls_are_text() -> None:
    assert native(b'{"id":"a","prompt":"\\ud83d\\udc4b\\u0000"}').messages[0].content == "\U0001f44b\0"


def test_a_tombstone() -> None:
    with pytest.raises(BadEvent, match="tombstone"):
        parse(Record(None, ORIGIN))


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        (EventLimits(max_bytes=99), "100 bytes, over events.max_bytes = 99"),
        (EventLimits(max_chars=9), "10 characters of text, over events.max_chars = 9"),
        (EventLimits(max_messages=1), "2 messages, over events.max_messages = 1"),
    ],
)
def test_limits_hold_exactly(limits: EventLimits, key: str) -> None:
    body = {
        "id": "a",
        "messages": [{"role": "u", "content": "1234"}, {"role": "u", "content": "56"}],
        "response": "7890",
    }
    body_of_100 = json.dumps(body, separators=(",", ":")).encode().ljust(100)
    assert len(body_of_100) == 100
    error = refused(body_of_100, limits=limits)
    assert (error.kind, error.reason) == ("size", key)
    parse(record(body_of_100), EventLimits(max_bytes=100, max_chars=10, max_messages=2))


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
