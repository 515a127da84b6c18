"""The native format."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.events.event import Event, Message
from tests.alert_factory import TRACEPARENT
from tests.events.records import ORIGIN, native, refused


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


def test_only_a_prompt_and_only_a_response() -> None:
    assert native({"id": "a", "prompt": "Hi"}).messages == (Message("user", "Hi"),)
    assert native({"id": "a", "prompt": "Hi"}).response == ""
    only_response = native({"id": "a", "response": "Hello"})
    assert (only_response.messages, only_response.response) == ((), "Hello")
    assert native({"id": "a", "messages": [{"role": "user", "content": "Hi"}]}).response == ""


def test_fields_that_are_null_are_as_good_as_left_out() -> None:
    nulls = dict.fromkeys(("time", "model", "messages", "response", "attributes", "traceparent"))
    assert native({"id": "a", "prompt": "Hi", **nulls}) == native({"id": "a", "prompt": "Hi"})


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
