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


def test_null_counts_as_missing() -> None:
    nulls = dict.fromkeys(("time", "model", "messages", "response", "attributes", "traceparent"))
    assert native({"id": "a", "prompt": "Hi", **nulls}) == native({"id": "a", "prompt": "Hi"})


def test_unknown_fields_are_ignored() -> None:
    assert native({"id": "b", "prompt": "x", "surprise": [{}]}) == native({"id": "b", "prompt": "x"})


def test_without_a_response_the_last_turn_of_the_assistant_is_it() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "ai", "content": "Hello"}]
    event = native({"id": "a", "messages": turns})
    assert (event.messages, event.response) == ((Message("user", "Hi"),), "Hello")
    event = native({"id": "a", "messages": turns, "response": "Bye"})
    assert (len(event.messages), event.response) == (2, "Bye")


@pytest.mark.parametrize(
    "response",
    [
        {"role": "assistant", "content": "Hello"},
        {"parts": [{"type": "text", "content": "Hello"}]},
        [{"type": "text", "text": "Hello"}],
        {"object": "chat.completion", "choices": [{"message": {"content": "Hello"}}]},
    ],
)
def test_a_response_may_be_a_message_or_what_an_api_returned(response: Any) -> None:
    assert native({"prompt": "Hi", "response": response}).response == "Hello"


def test_a_response_of_json_text_stays_as_the_model_wrote_it() -> None:
    text = '{"choices": [{"message": {"content": "x"}}], "error": "none"}'
    assert native({"prompt": "Hi", "response": text}).response == text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", {}),
        ("id", ""),
        ("time", "yesterday"),
        ("time", [1]),
        ("model", {}),
        ("model", 5),
        ("attributes", "user=1"),
        ("attributes", []),
        ("traceparent", 1),
        ("metadata", 7),
    ],
)
def test_a_field_that_judging_does_not_need_refuses_nothing(field: str, value: Any) -> None:
    event = native({"id": "a", "prompt": "x", field: value})
    assert event.messages == (Message("user", "x"),)


@pytest.mark.parametrize(
    ("event_id", "expected"),
    [
        (1234567, "1234567"),
        (1.5, "1.5"),
        ("a" * 512, "a" * 512),
        (None, "llm.events-3-41"),
        ("  ", "llm.events-3-41"),
        (True, "llm.events-3-41"),
        (["a"], "llm.events-3-41"),
    ],
)
def test_ids(event_id: Any, expected: str) -> None:
    assert native({"id": event_id, "prompt": "x"}).id == expected


def test_ids_that_are_too_long_become_their_hash() -> None:
    first, second = (native({"id": "a" * 600 + end, "prompt": "x"}).id for end in "bc")
    assert first.startswith("sha256:")
    assert first != second
    assert len(first) < 512


MESSAGE = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (1, "$", "expected a JSON object, got number"),
        (1.5, "$", "expected a JSON object, got number"),
        (True, "$", "expected a JSON object, got boolean"),
        (None, "$", "expected a JSON object, got null"),
        ("text", "$", "expected a JSON object, got string"),
        ([], "$", "expected a JSON object, got array"),
        ({}, "$", "not a format that is read; the keys are: none"),
        ({"id": "a", "text": "x"}, "$", "not a format that is read; the keys are: id, text"),
        ({"id": "a", "prompt": "", "response": ""}, "$", "no text"),
        ({"id": "a", "messages": []}, "$", "no text"),
        ({"id": "a", "messages": [{"role": "user", "content": None}]}, "$", "no text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "$", "read: image 1"),
        ({"id": "a", "prompt": 5}, "$.prompt", "got number"),
        ({"id": "a", "prompt": "x", "messages": [MESSAGE]}, "$.prompt", "messages or prompt, not both"),
        ({"id": "a", "response": 5}, "$.response", "got number"),
        ({"id": "a", "messages": 5}, "$.messages", "expected a list of messages, got number"),
        ({"id": "a", "messages": [MESSAGE, {**MESSAGE, "content": 5}]}, "$.messages[1].content", "got number"),
        ({"id": "a", "messages": [{**MESSAGE, "content": {"text": 1}}]}, "$.messages[0].content.text", "got number"),
        (
            {"id": "a", "messages": [{**MESSAGE, "content": [{"type": "t", "text": "x"}, {"type": "t", "text": 1}]}]},
            "$.messages[0].content[1].text",
            "expected text or a list of parts, got number",
        ),
    ],
)
def test_the_first_fault_is_named_with_its_path(body: Any, path: str, reason: str) -> None:
    error = refused(body)
    assert (error.path, error.kind) == (path, "schema")
    assert reason in error.reason
    assert str(error) == f"{error.path}: {error.reason}"


def test_a_request_inside_of_input() -> None:
    event = native({"input": {"messages": [MESSAGE]}, "output": {"role": "assistant", "content": "Hello"}})
    assert (event.messages, event.response) == ((Message("user", "x"),), "Hello")
