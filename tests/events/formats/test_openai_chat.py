"""OpenAI request/response pairs."""

from __future__ import annotations

import json
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
    assert parse(record(response(call)))[0].response == "run"


def test_one_empty_choice_is_fine_but_no_text_at_all_is_refused() -> None:
    request = {"messages": []}
    assert len(parse(record({**response(choice(""), choice("x")), "request": request}))) == 2
    assert refused({**response(choice("")), "request": request}).reason.startswith("no text")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"error": {"code": "content_filter", "message": "The prompt was filtered."}},
        {"id": "r", "choices": []},
        {"id": "r", "choices": None},
        {"id": "r", "choices": [{"index": 0, "message": None, "finish_reason": "content_filter"}]},
        {"id": "r", "choices": [{"index": 0, "finish_reason": "content_filter"}]},
        {"id": "r", "choices": [choice(None)]},
    ],
)
def test_blocked_and_failed_calls_still_have_a_prompt(answer: Any) -> None:
    (event,) = parse(record(pair(response=answer)))
    assert (event.messages, event.response) == ((Message("user", "Hi"),), "")


def test_a_call_without_a_response() -> None:
    (event,) = parse(record({"request": pair()["request"]}))
    assert (event.messages, event.response) == ((Message("user", "Hi"),), "")


def test_a_bare_completion_and_one_next_to_its_messages() -> None:
    bare = pair()["response"]
    (event,) = parse(record(bare))
    assert (event.id, event.messages, event.response) == ("chatcmpl-1", (), "Hello")
    (event,) = parse(record({**bare, "messages": pair()["request"]["messages"]}))
    assert event.messages == (Message("user", "Hi"),)


@pytest.mark.parametrize(
    ("created", "time"),
    [
        (1_735_787_045.25, datetime(2025, 1, 2, 3, 4, 5, 250_000, UTC)),
        (1_735_787_045_000, datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1735787045", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("now", None),
        (True, None),
        (10**30, None),
    ],
)
def test_times(created: Any, time: datetime | None) -> None:
    assert parse(record(response(choice("x"), created=created)))[0].time == time


@pytest.mark.parametrize("metadata", ["user=1", 7, ["a"], None])
def test_metadata_of_any_type(metadata: Any) -> None:
    request = {**pair()["request"], "metadata": metadata}
    (event,) = parse(record(pair(request=request)))
    assert event.attributes == ({} if metadata is None else {"metadata": metadata})


def test_request_and_response_as_text_of_json() -> None:
    both = {key: json.dumps(value) for key, value in pair().items()}
    assert parse(record(both)) == parse(record(pair()))


def chunk(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": index, "delta": delta}]}


def test_chunks_of_a_stream_are_joined_by_id_and_choice() -> None:
    other = {**chunk(content="Bye"), "id": "d"}
    chunks = [chunk(role="assistant", content="Hel"), chunk(1, content="Good "), other, chunk(content="lo")]
    chunks += [chunk(1, content="day"), {**chunk(), "choices": [], "usage": {}}]
    events = parse(record(chunks))
    assert [(e.id, e.response) for e in events] == [("c", "Hello"), ("c#1", "Good day"), ("d", "Bye")]
    (event, _) = parse(record(pair(response=[chunks[0], chunks[1], chunks[3], chunks[4]])))
    assert (event.id, event.response) == ("c", "Hello")


def test_arguments_of_a_streamed_call_are_joined() -> None:
    def call(**function: Any) -> dict[str, Any]:
        return chunk(tool_calls=[{"index": 0, "function": function}])

    chunks = [call(name="run", arguments=""), call(arguments='{"x": "a\\'), call(arguments='nb"}')]
    assert parse(record(chunks))[0].response == "run\nx:\na\nb"


def test_half_an_emoji_in_each_chunk() -> None:
    text = b"[%s]" % b",".join(
        b'{"id":"c","object":"chat.completion.chunk","choices":[{"delta":{"content":"\\u%s"}}]}' % half
        for half in (b"d83d", b"dc4b")
    )
    (event,) = parse(record(text))
    assert (event.response, event.repaired) == ("\U0001f44b", {})


def test_one_chunk_is_judged_as_it_is() -> None:
    (event,) = parse(record(chunk(content="Hel")))
    assert (event.id, event.response) == ("c", "Hel")


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ({"choices": []}, "$", "no text"),
        (pair(request=[]), "$.request", "expected a JSON object, got array"),
        (pair(request={}, response=None), "$", "no text"),
        (pair(request={"uri": "/chat"}), "$.request", "no messages, prompt, input or contents in the request"),
        (pair(request={"messages": [{"role": "user", "content": 1}]}), "$.request.messages[0].content", "got number"),
        (pair(response=5), "$.response", "expected a response, got number"),
        (pair(response={"status": 200}), "$.response", "not a response that is read: it has the keys status"),
        (response(*[choice("x")] * 129), "$.response.choices", "129 choices; at most 128 are read"),
        (pair(response={"choices": {}}), "$.response.choices", "expected a list of choices, got object"),
        (pair(response={"choices": [5]}), "$.response.choices[0]", "expected a choice, got number"),
    ],
)
def test_the_first_fault_is_named_with_its_path(body: Any, path: str, reason: str) -> None:
    error = refused(body)
    assert (error.path, error.kind) == (path, "schema")
    assert reason in error.reason
