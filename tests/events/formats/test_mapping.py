"""MappingFormat: reads as the other formats do, says what is missing, and takes no record too long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.config.mapping import MappingConfig
from monitor.errors import BadEvent
from monitor.events.event import Event, Record
from monitor.events.parse import parse
from monitor.events.response_body import APIS
from tests.events.records import ORIGIN, OTHER_TRACEPARENT
from tests.events.samples import ANSWER, ARGUMENTS, ASK, SAMPLES, SYSTEM, USER, WRITTEN, Sample, call, envelope


def mapped(mapping: dict[str, Any], body: Any, *headers: tuple[str, bytes]) -> tuple[Event, ...]:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(Record(value, ORIGIN, headers=headers), None, MappingConfig.model_validate(mapping).event_format())


def one(mapping: dict[str, Any], body: Any, *headers: tuple[str, bytes]) -> Event:
    (event,) = mapped(mapping, body, *headers)
    return event


def refused(mapping: dict[str, Any], body: Any) -> BadEvent:
    with pytest.raises(BadEvent) as caught:
        mapped(mapping, body)
    return caught.value


def turns(event: Event) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in event.messages]


PAIR = {"messages": "$.request", "response": "$.response"}


@pytest.mark.parametrize(
    "sample",
    [s for s in SAMPLES if s.turns and s.format in APIS and {"request", "response"} <= set(s.body)],
    ids=lambda sample: sample.name,
)
def test_pairs_of_every_api_come_out_as_in_their_own_format(sample: Sample) -> None:
    own, event = parse(sample.record)[0], one(PAIR, sample.body)
    assert (event.messages, event.response) == (own.messages, own.response)
    assert (event.unread, event.repaired) == (own.unread, own.repaired)


def test_every_key() -> None:
    mapping = {
        "system": "$.sys",
        "messages": "$.history[*]",
        "prompt": "$.ask",
        "response": "$.reply",
        "id": ["$.nope", "$.n"],
        "time": "$.at",
        "model": "$.by",
        "tenant": "header:tenant",
        "traceparent": "$.trace",
        "attributes": {"conversation_id": "$.chat", "none": "$.nope"},
    }
    body = {
        "sys": [{"text": SYSTEM}],
        "history": [{"role": "Human", "content": "a"}, {"role": "bot", **call(json.dumps(ARGUMENTS))}],
        "ask": ASK,
        "reply": ANSWER,
        "n": 7,
        "at": 1748781000,
        "by": "m",
        "trace": OTHER_TRACEPARENT,
        "chat": "c",
    }
    event = one(mapping, body, ("tenant", b"acme"))
    assert turns(event) == [("system", SYSTEM), ("user", "a"), ("assistant", WRITTEN), ("user", ASK)]
    assert (event.response, event.id, event.model, event.traceparent) == (ANSWER, "7", "m", OTHER_TRACEPARENT)
    assert event.time is not None
    assert event.attributes == {"conversation_id": "c", "tenant": "acme"}
    assert event.conversation_id == "c"


def test_an_event_without_an_id_gets_that_of_its_place() -> None:
    assert one({"prompt": "$.q", "id": "$.id"}, {"q": "x"}).id == "llm.events-3-41"


def test_role_and_content_under_names_of_the_producers_own() -> None:
    mapping = {
        "messages": "$.turns",
        "role": "$.who.kind",
        "content": ["$.says", "$.files"],
        "roles": {"q": "user", "a": "assistant"},
    }
    said = [
        {"who": {"kind": " Q "}, "says": "one"},
        {"who": {"kind": "a"}, "says": ["two", {"type": "text", "text": "three"}], "files": [{"type": "image"}]},
        {"who": {"kind": "narrator"}, "says": "four"},
        {"says": "five"},
    ]
    event = one(mapping, {"turns": said})
    assert turns(event) == [("user", "one"), ("assistant", "two\nthree"), ("narrator", "four"), ("unknown", "five")]
    assert (event.unread, event.repaired) == ({"image": 1}, {"role": 2})


def test_roles_alone_rename_roles() -> None:
    mapping = {"messages": "$.m", "roles": {"q": "user"}}
    event = one(mapping, {"m": [{"role": "Q", "content": "x", "reasoning": "because"}]})
    assert turns(event) == [("user", "because\nx")]


def test_several_values_of_a_path_are_several_answers() -> None:
    mapping = {"prompt": "$.q", "response": "$.choices[*].text", "id": "$.id"}
    events = mapped(mapping, {"q": "x", "id": "i", "choices": [{"text": "a"}, {"text": "b"}]})
    assert [(e.id, e.response) for e in events] == [("i", "a"), ("i#1", "b")]


def test_several_paths_make_one_answer_of_each_text_once() -> None:
    mapping = {"prompt": "$.q", "response": ["$.thinking", "$.answer", "$.copy"]}
    assert one(mapping, {"q": "x", "thinking": "hm", "answer": "a", "copy": "a"}).response == "hm\na"


def test_what_no_api_returns_is_read_all_the_same() -> None:
    assert one({"prompt": "$.q", "response": "$.r"}, {"q": "x", "r": {"note": "a", "n": {"m": "b"}}}).response
    assert "b" in one({"prompt": "$.q", "response": "$.r"}, {"q": "x", "r": {"note": "a", "n": {"m": "b"}}}).response


def test_envelopes_are_opened_first() -> None:
    event = one({"prompt": "$.q"}, envelope({"q": ASK}))
    assert (turns(event), event.id) == ([("user", ASK)], envelope({})["id"])


BODIES = {"decode": {"$.req.body": "json", "$.res.body": "json"}, "messages": "$.req.body"}


def test_json_in_text_is_decoded() -> None:
    mapping = {**BODIES, "response": "$.res.body.choices[*].message"}
    body = {
        "req": {"body": json.dumps({"messages": USER})},
        "res": {"body": json.dumps({"choices": [{"message": {"content": ANSWER}}]})},
    }
    event = one(mapping, body)
    assert (turns(event), event.response) == ([("user", ASK)], ANSWER)
    assert one(mapping, {**body, "req": {"body": {"messages": USER}}}) == event  # what is decoded already stays


def test_json_in_text_in_json_in_text() -> None:
    mapping = {"decode": {"$.log": "json", "$.log.req": "json"}, "messages": "$.log.req.messages"}
    assert turns(one(mapping, {"log": json.dumps({"req": json.dumps({"messages": USER})})})) == [("user", ASK)]


def test_a_streamed_body_is_joined() -> None:
    pieces = [{"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Mix", " flour")]
    stream = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n"
    event = one({**BODIES, "response": "$.res.body"}, {"req": {"body": {"messages": USER}}, "res": {"body": stream}})
    assert event.response == "Mix flour"


@pytest.mark.parametrize("text", ["<html>502", "[upstream timed out]", '"oh" he said', "plain"])
@pytest.mark.parametrize("response", ["$.res.body", "$.res.body.choices[*].message"])
def test_text_that_is_no_json_is_the_response(text: str, response: str) -> None:
    body = {"req": {"body": {"messages": USER}}, "res": {"body": text}}
    assert one({**BODIES, "response": response}, body).response == text


@pytest.mark.parametrize("text", ['{"choices": [{"mess', '[{"a": 1}', "data: {", '{"a": 1, "a": 2}'])
def test_json_that_breaks_off_refuses_the_record(text: str) -> None:
    body = {"req": {"body": {"messages": USER}}, "res": {"body": text}}
    error = refused({**BODIES, "response": "$.res.body"}, body)
    assert (error.path, error.kind) == ("$.res.body", "json")


@pytest.mark.parametrize(
    ("mapping", "body", "reason"),
    [
        (PAIR, {"requests": 1}, "$.request: finds nothing (events.mapping.messages); the keys of $ are: requests"),
        (PAIR, {"request": []}, "$.request: finds nothing (events.mapping.messages); the keys of $ are: request"),
        (
            {"messages": ["$.a.b", "$.c"]},
            {"a": {"x": 1}},
            "$.a.b: finds nothing (events.mapping.messages), nor does $.c; the keys of $.a are: x",
        ),
        (
            {"messages": "$.body.messages"},
            {"body": '{"messages": []}'},
            "$.body.messages: finds nothing (events.mapping.messages); "
            "$.body is text of JSON: name it under events.mapping.decode",
        ),
        (
            {"prompt": "$.q.text"},
            {"q": 5},
            "$.q.text: finds nothing (events.mapping.prompt); $.q is there, and nothing below it",
        ),
        ({"response": "$.r"}, {"q": 5}, "$.r: finds nothing (events.mapping.response); the keys of $ are: q"),
        (
            {"prompt": "$.q", "response": "$.r", "required": ["response"]},
            {"q": "x"},
            "$.r: finds nothing (events.mapping.response); the keys of $ are: q",
        ),
        (
            {"prompt": "$.q", "tenant": "header:tenant", "required": ["tenant"]},
            {"q": "x"},
            "header:tenant: finds nothing (events.mapping.tenant)",
        ),
        (
            {"messages": "$.turns", "response": "$.r"},
            {"turns": [{"speaker": "user", "utterance": "x"}], "r": "y"},
            "$.turns: no text in what is there: name where a message has its text (events.mapping.content)",
        ),
        ({"messages": "$.m"}, {"m": 5}, "$.m: expected a list of messages, got number"),
        ({"messages": "$.m", "role": "$.r"}, {"m": [5]}, "$.m[0]: expected a message, got number"),
        ({"prompt": "$..q"}, {"q": list(range(10_001))}, ""),
    ],
)
def test_what_is_missing_is_named_with_its_path(mapping: dict[str, Any], body: Any, reason: str) -> None:
    assert str(refused(mapping, body)).startswith(reason)


def test_one_of_messages_and_prompt_is_enough() -> None:
    mapping = {"messages": "$.history", "prompt": "$.q"}
    assert turns(one(mapping, {"history": [], "q": "x"})) == [("user", "x")]
    assert turns(one(mapping, {"history": USER})) == [("user", ASK)]
    assert refused(mapping, {}).path == "$.history"


def test_a_call_that_was_blocked_has_no_response() -> None:
    event = one(PAIR, {"request": {"messages": USER}, "response": {"error": {"message": "no"}}})
    assert (turns(event), event.response) == ([("user", ASK)], "")


def test_a_path_finds_a_bounded_number_of_values() -> None:
    error = refused({"prompt": "$.q[*]"}, {"q": ["x"] * 10_001})
    assert (error.kind, error.reason) == ("size", "the path finds more than 10000 values")


def test_deep_nesting_is_a_bad_event() -> None:
    body = b'{"a":' + b"[" * 500 + b'{"q":"x"}' + b"]" * 500 + b"}"
    assert refused({"prompt": "$..q"}, body).reason == "nested too deeply"


TEXT = st.text('ab{["]} ', max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcmrq"), inner, max_size=3),
    max_leaves=8,
)
FUZZED = {
    "decode": {"$..a": "json"},
    "messages": ["$.m", "$.m[*]"],
    "role": "$.r",
    "content": "$..c",
    "prompt": "$.q",
    "response": ["$.r[*]", "$..a"],
    "id": "$.a",
    "time": "$.b",
    "attributes": {"x": "$.c"},
}


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of the parser
@given(st.dictionaries(st.sampled_from("abcmrq"), JSON | st.builds(json.dumps, JSON), max_size=6))
def test_no_body_raises_anything_but_bad_event(body: dict[str, Any]) -> None:
    try:
        events = mapped(FUZZED, body)
    except BadEvent:
        return
    assert all(any(m.content for m in e.messages) or e.response for e in events)
