"""OpenAI request/response pairs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.events.event import Message
from monitor.events.parse import parse
from tests.alert_factory import TRACEPARENT
from tests.events.records import ORIGIN, record, refused


def pair(**changes: Any) -> dict[str, Any]:
    return {
        "request": {"model": "gpt-x", "messages": [{"role": "user", "content": "Hi"}], "metadata": {"user": "u"}},
        "response": {
            "id": "chatcmpl-1",
            "created": 1_735_787_045,
            "model": "gpt-x-2025",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        },
        **changes,
    }


def response(*choices: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return pair(response={"id": "r", "choices": list(choices), **changes})


def choice(text: str | None, index: int | None = None, **message: Any) -> dict[str, Any]:
    made = {"message": {"role": "assistant", "content": text, **message}}
    return made if index is None else {"index": index, **made}


def test_every_field() -> None:
    (event,) = parse(record(pair(traceparent=TRACEPARENT)))
    assert (event.id, event.model, event.response) == ("chatcmpl-1", "gpt-x-2025", "Hello")
    assert event.messages == (Message("user", "Hi"),)
    assert event.time == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert event.attributes == {"user": "u"}
    assert event.traceparent == TRACEPARENT
    assert event.origin == ORIGIN


def test_own_id_and_attributes_go_before_those_of_request_and_response() -> None:
    (event,) = parse(record(pair(id="mine", attributes={"a": 1})))
    assert (event.id, event.attributes) == ("mine", {"a": 1})
    (event,) = parse(record(response(choice("x"))))
    assert (event.model, event.time) == ("gpt-x", None)


def test_each_choice_is_an_event_of_its_own() -> None:
    events = parse(record(response(choice("c", 2), choice("a", 0), choice("b", 1))))
    assert [(e.id, e.response) for e in events] == [("r", "a"), ("r#1", "b"), ("r#2", "c")]


@pytest.mark.parametrize("indices", [(None, None, None), (0, 0, 0), (0, 1, 1), (1, 1, 2)])
def test_ids_are_unique_whatever_the_indices(indices: tuple[int | None, ...]) -> None:
    choices = [choice(text, index) for text, index in zip("abc", indices, strict=True)]
    events = parse(record(response(*choices)))
    assert [e.response for e in events] == ["a", "b", "c"]
    assert len({e.id for e in events}) == 3
    assert [e.id for e in events] == [e.id for e in parse(record(response(*choices)))]


def test_refusals_and_tool_calls_are_the_response() -> None:
    refusal = choice(None, refusal="I can't help with that.")
    assert parse(record(response(refusal)))[0].response == "I can't help with that."
    call = choice(None, tool_calls=[{"function": {"name": "run", "arguments": "{}"}}])
    assert parse(record(response(call)))[0].response == "run({})"


def test_one_empty_choice_is_fine_but_no_text_at_all_is_refused() -> None:
    request = {"messages": []}
    assert len(parse(record({**response(choice(""), choice("x")), "request": request}))) == 2
    assert refused({**response(choice("")), "request": request}).reason.startswith("no text")


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ({"request": {"messages": []}}, "$.response", "field required"),
        ({"choices": []}, "$.request", "field required"),
        (pair(request=[]), "$.request", "should be an object"),
        (pair(request={}), "$.request.messages", "field required"),
        (pair(request={"messages": [{"role": "user", "content": 1}]}), "$.request.messages[0].content", "valid string"),
        (pair(response={"choices": [choice("x")]}), "$.response.id", "field required"),
        (response(), "$.response.choices", "at least 1 item"),
        (response(*[choice("x")] * 129), "$.response.choices", "at most 128 items"),
        (response({"index": 0}), "$.response.choices[0].message", "field required"),
        (
            response(choice("x"), {"index": "1", "message": {"role": "a"}}),
            "$.response.choices[1].index",
            "valid integer",
        ),
        (response(choice("x"), created="now"), "$.response.created", "valid integer"),
        (response(choice("x"), created=True), "$.response.created", "valid integer"),
        (response(choice("x"), created=10**15), "$.response.created", "not a Unix time"),
        (response(choice("x"), created=10**30), "$.response.created", "not a Unix time"),
    ],
)
def test_the_first_fault_is_named_with_its_path(body: Any, path: str, reason: str) -> None:
    error = refused(body)
    assert (error.path, error.kind) == (path, "schema")
    assert reason in error.reason
