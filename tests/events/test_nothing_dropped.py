"""Whatever is said, in any shape of any format, is in the segments or counted as unread."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.event import Origin, Record
from monitor.events.parse import parse
from tests.events.samples import attribute, envelope, span

PLAIN = {"type": "text"}
BASE64 = "UklGRiQAAABXQVZF" * 20


class Words:
    """Makes words that occur once, and counts what can't be read."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.unread = 0

    def new(self) -> str:
        word = f'w{len(self.said)}q "said" \\ here\nand on'
        self.said.append(word)
        return word


Maker = Callable[[Words], Any]


def picture(words: Words) -> Any:
    words.unread += 1
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + BASE64}}


def recording(words: Words) -> Any:
    words.unread += 1
    return {"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}}


# parts of a list of content, in the spellings of several APIs
PARTS: list[Maker] = [
    lambda w: w.new(),
    lambda w: {"type": "text", "text": w.new()},
    lambda w: {"type": "text", "content": w.new()},
    lambda w: {"type": "text", "text": {"value": w.new(), "annotations": []}},
    lambda w: {"type": "input_text", "text": w.new()},
    lambda w: {"type": "refusal", "refusal": w.new()},
    lambda w: {"type": "thinking", "thinking": w.new(), "signature": "E"},
    lambda w: {"type": "tool_use", "id": "t", "name": "run", "input": {"a": [w.new(), {"b": w.new()}]}},
    lambda w: {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": w.new()}]},
    lambda w: {"type": "tool_result", "tool_use_id": "t", "content": w.new()},
    lambda w: {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": w.new()}},
    lambda w: {"type": "a_kind_of_next_year", "says": {"in": [w.new()]}},
    lambda w: {"text": w.new()},
    lambda w: {"functionCall": {"name": "run", "args": {"a": w.new()}}},
    lambda w: {"functionResponse": {"name": "run", "response": {"a": w.new(), "title": w.new(), "n": 1}}},
    picture,
    recording,
]
CONTENTS: list[Maker] = [lambda w: w.new(), lambda _: None, lambda w: {"row": w.new(), "text": w.new(), "n": 1}]
EXTRAS: list[Maker] = [
    lambda _: {},
    lambda w: {"reasoning_content": w.new()},
    lambda w: {"reasoning": w.new()},
    lambda w: {"refusal": w.new()},
    lambda w: {"tool_calls": [{"function": {"name": "run", "arguments": json.dumps({"a": w.new()})}}]},
    lambda w: {"tool_calls": [{"function": {"name": "run", "arguments": {"a": w.new()}}}]},
    lambda w: {"tool_calls": [{"function": {"name": "run", "arguments": json.dumps({"a": json.dumps([w.new()])})}}]},
    lambda w: {"function_call": {"name": "run", "arguments": json.dumps({"a": w.new()})}},
    lambda w: {"audio": {"id": "a", "data": BASE64, "transcript": w.new()}},
]
ROLES = ["user", "assistant", "system", "developer", "tool", "Human", "AI", "critic"]


@st.composite
def contents(draw: st.DrawFn, words: Words) -> Any:
    if draw(st.booleans()):
        return draw(st.sampled_from(CONTENTS))(words)
    return [make(words) for make in draw(st.lists(st.sampled_from(PARTS), max_size=3))]


@st.composite
def messages(draw: st.DrawFn, words: Words, role: str | None = None) -> dict[str, Any]:
    content = draw(contents(words))
    extra = draw(st.sampled_from(EXTRAS))(words)
    key = draw(st.sampled_from(["content", "parts"])) if isinstance(content, list) else "content"
    return {"role": role or draw(st.sampled_from(ROLES)), key: content, **extra}


def completion(answer: Any) -> dict[str, Any]:
    return {"id": "r", "choices": [{"index": 0, "message": answer}]}


def pair(request: Any, response: Any) -> dict[str, Any]:
    return {"request": request, "response": response}


def kong(bodies: dict[str, Any]) -> dict[str, Any]:
    return {"ai": {"proxy": {"payload": {name: json.dumps(body) for name, body in bodies.items()}}}}


FORMATS: dict[str, Callable[[list[Any], Any], Any]] = {
    "native": lambda turns, answer: {"id": "a", "messages": turns, "response": answer},
    "native without response": lambda turns, answer: {"id": "a", "messages": [*turns, answer]},
    "array of turns": lambda turns, answer: [*turns, answer],
    "openai": lambda turns, answer: pair({"messages": turns}, completion(answer)),
    "openai as text": lambda turns, answer: pair(json.dumps({"messages": turns}), json.dumps(completion(answer))),
    "openai_responses": lambda turns, answer: pair({"input": turns}, {"object": "response", "output": [answer]}),
    "anthropic": lambda turns, answer: pair({"messages": turns}, {"type": "message", "content": [], **answer}),
    "gemini": lambda turns, answer: pair({"contents": turns}, {"candidates": [{"content": answer}]}),
    "ollama": lambda turns, answer: pair({"messages": turns}, {"message": answer, "done": True}),
    "litellm": lambda turns, answer: {"call_type": "completion", "messages": turns, "response": completion(answer)},
    "kong": lambda turns, answer: kong({"request": {"messages": turns}, "response": completion(answer)}),
    "apisix": lambda turns, answer: {"llm_request": {"messages": turns}, "llm_response": completion(answer)},
    "langfuse": lambda turns, answer: {"type": "span-create", "body": {"input": turns, "output": answer}},
    "otlp": lambda turns, answer: span(
        attribute("gen_ai.input.messages", turns), attribute("gen_ai.output.messages", [answer])
    ),
    "sharegpt": lambda turns, answer: {"conversations": [*turns, answer]},
}
ENVELOPES: list[Callable[[Any], Any]] = [
    lambda body: body,
    envelope,
    lambda body: envelope(json.dumps(body)),
    lambda body: {"schema": {}, "payload": body},
    lambda body: [body],
    json.dumps,
]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_all_that_is_said_is_read_or_counted(data: st.DataObject) -> None:
    words = Words()
    turns = [{"role": "user", "content": words.new()}, *data.draw(st.lists(messages(words), max_size=3))]
    answer = data.draw(messages(words, "assistant"))
    name = data.draw(st.sampled_from(sorted(FORMATS)))
    body = data.draw(st.sampled_from(ENVELOPES))(FORMATS[name](turns, answer))
    events = parse(Record(json.dumps(body).encode(), Origin("t", 0, 0)))
    text = "\n".join(t for event in events for t in (*(m.content for m in event.messages), event.response))
    assert [word for word in words.said if word not in text] == []
    assert sum(sum(event.unread.values()) for event in events) >= words.unread
