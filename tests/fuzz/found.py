"""Records whose words or media were once lost, by what was wrong with them."""

from __future__ import annotations

import json
from typing import Any

from tests.events.samples import attribute, span

ASK = [{"role": "user", "content": "w9q"}]


def _pair(response: Any) -> dict[str, Any]:
    return {"request": {"messages": ASK}, "response": response}


def _completion(**message: Any) -> dict[str, Any]:
    return _pair({"choices": [{"message": {"role": "assistant", **message}}]})


def _chunk(**choice: Any) -> dict[str, Any]:
    return {"id": "r", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}


_START = {"type": "message_start", "message": {"type": "message", "role": "assistant", "content": []}}
_CALL = {"name": "run", "arguments": json.dumps({"a": "w0q"})}

FOUND: dict[str, Any] = {
    # what stands next to each other
    "turns next to a response that has the marks of an API": {
        "messages": ASK,
        "response": {"response": "w0q", "done": True},
    },
    "turns next to a request": {"request": {"prompt": "w0q"}, "messages": ASK, "response": "w1q"},
    "output next to a request": {"request": {"messages": ASK}, "output": "w0q"},
    "choices next to a request": {"request": {"messages": ASK}, "choices": [{"message": {"content": "w0q"}}]},
    "text next to empty choices": {"messages": ASK, "response": "w0q", "choices": []},
    "response and completion": {"prompt": "w9q", "response": "w0q", "completion": "w1q"},
    "thoughts next to a response": {"response": "w1q", "thinking": "w0q"},
    "thoughts next to a response and an empty request": {"response": "w1q", "thinking": "w0q", "request": {}},
    "thoughts next to a wrapped response": _pair({"response": "w1q", "thinking": "w0q"}),
    "output of litellm": {"call_type": "completion", "messages": ASK, "output": {"text_output": "w0q"}},
    "a turn with a field of requests": {"messages": [{"content": "w0q", "prompt": None}], "response": "w1q"},
    # marks of an API without what they stand for
    "object: response": _pair({"response": "w0q", "done": True, "object": "response"}),
    "an empty list of output": _pair({"text_output": "w0q", "output": []}),
    "choices and candidates": _pair({"choices": [{"text": "w0q"}], "candidates": []}),
    "a result of a tool in output": {
        "object": "response",
        "output": [{"type": "function_call_output", "output": [{"type": "input_text", "text": "w0q"}]}],
    },
    "an API's object without choices": _pair({"text": {"text": "w0q"}, "object": "chat.completion"}),
    # streams
    "a delta that is text": [_chunk(delta={"content": "w1q"}), _chunk(delta="w0q")],
    "a delta that is a list": [_chunk(delta={"content": "w1q"}), _chunk(delta=[{"content": "w0q"}])],
    "pieces of different types": _pair(
        [_chunk(delta={"content": "w0q"}), _chunk(delta={"content": [{"type": "text", "text": "w1q"}]})]
    ),
    "a list in a stream": _pair([_chunk(delta={"content": "w1q"}), [_chunk(delta={"content": "w0q"})]]),
    "a message in a stream": _pair([_chunk(delta={"content": "w1q"}), {"message": {"content": "w0q"}}]),
    "a message of ollama that is text": _pair([{"message": "w0q", "done": False}, {"message": {}, "done": True}]),
    "an anthropic stream whose type is broken": _pair(
        [
            {"type": "message_start", "message": {"type": ["message"], "role": "assistant", "content": []}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "w0q"}},
        ]
    ),
    "an anthropic delta of another type": _pair([_START, {"type": "content_block_delta", "delta": "w0q"}]),
    "anthropic blocks without an index": _pair(
        [
            _START,
            {"type": "content_block_start", "content_block": {"type": "text", "text": "w0q"}},
            {"type": "content_block_start", "content_block": {"type": "text", "text": "w1q"}},
        ]
    ),
    "an item of responses with calls": _pair(
        [
            {"type": "response.output_item.added", "output_index": 0, "item": {"tool_calls": [{"function": _CALL}]}},
            {"type": "response.output_text.delta", "output_index": 0, "delta": "w1q"},
        ]
    ),
    "a delta of responses that is an object": _pair([{"type": "response.refusal.delta", "delta": {"value": "w0q"}}]),
    "calls next to the parts of gemini": _pair(
        [
            {"candidates": [{"content": {"parts": [{"text": "w1q"}], "tool_calls": [{"function": _CALL}]}}]},
            {"candidates": [{"content": {"parts": [{"text": "w2q"}]}}]},
        ]
    ),
    # calls, parts and media
    "a function that is a list": _completion(tool_calls=[{"type": "function", "function": [_CALL]}]),
    "a function that is text": _completion(tool_calls=[{"type": "function", "function": json.dumps(_CALL)}]),
    "a choice whose text is an object": _pair({"choices": [{"text": {"a": {"b": ["w0q"]}}}]}),
    "a document without its type": _completion(
        content=[{"source": {"type": "text", "media_type": "text/plain", "data": "w0q"}}]
    ),
    "a document with an unknown field": _completion(
        content=[{"type": "document", "source": {"type": "content", "content": ["w1q"]}, "says": "w0q"}]
    ),
    "a document of several texts": _completion(
        content=[{"type": "document", "source": {"type": "text", "data": ["w0q"]}}]
    ),
    "a transcript in parts": _completion(audio={"data": "", "transcript": [{"type": "text", "text": "w0q"}]}),
    "a result of a tool with an unknown field": {"prompt": "w9q", "response": [{"type": "tool_result", "says": "w0q"}]},
    "a recording with another field": _completion(content="w1q", audio={"id": "a", "data": "m0q", "done": True}),
    # otlp
    "thoughts in an event of a span": span(
        events=[{"name": "gen_ai.choice", "attributes": [attribute("message", {"thinking": "w0q", "content": "w1q"})]}]
    ),
    "a key twice in an attribute": span(
        attribute("input.value", '[{"role":"user","content":["w0q"],"content":"w1q"}]')
    ),
    # sharegpt
    "conversations as text": {"system": "w1q", "conversations": json.dumps([{"from": "human", "value": "w0q"}])},
    "a conversation next to a request and a response": {**_pair("w2q"), "prompt": "w1q", "conversations": ["w0q"]},
    "a conversation that is one turn": {"system": "w1q", "conversation": {"from": "human", "value": "w0q"}},
    # streams and lists of responses
    "thoughts of two kinds in one stream": _pair(
        [
            _chunk(delta={"reasoning_content": {"role": "user", "content": "w0q"}}),
            _chunk(delta={"reasoning_content": {"type": "of_next_year", "says": "w1q"}}),
        ]
    ),
    "a part of an unknown kind with empty marks of an API": _pair(
        [{"says": "w0q", "candidates": [], "promptFeedback": None}]
    ),
    "text next to an empty output": _pair([{"value": "w0q", "output": []}]),
    "a whole response with the type of an event": _pair(
        [{"object": "response", "type": "response.created", "output": [{"role": "assistant", "content": "w0q"}]}]
    ),
    "an empty output in a piece of a stream": _pair(
        [
            {"type": "response.output_item.added", "item": {"type": "message", "audio": {"transcript": "w1q"}}},
            {"type": "", "delta": "w0q", "output": []},
        ]
    ),
    "a streamed response with the type of another API": _pair(
        [
            {"type": "response.created", "response": {"id": "r", "output": [], "type": "content_block_delta"}},
            {"type": "response.output_text.delta", "delta": "w0q"},
            {"type": "response.refusal.delta", "output_index": 1, "delta": "w1q"},
        ]
    ),
    "a whole response with one item in the place of a list": _pair(
        [{"object": "response", "output": {"type": "reasoning", "summary": [{"text": "w0q"}]}}]
    ),
    "a whole response with the type of another API": _pair(
        {"object": "response", "type": "content_block_delta", "output": [{"role": "assistant", "content": "w0q"}]}
    ),
    "a picture next to empty choices": _pair([{"content": "w0q", "images": ["m0q"], "choices": None}]),
    "an object after a turn in a stream": _pair(
        [
            {
                "model": "m",
                "message": {"role": "assistant", "content": {"role": "user", "content": "w0q"}},
                "done": False,
            },
            {"model": "m", "message": {"role": "assistant", "content": {"says": ["w1q"]}}, "done": True},
        ]
    ),
    "a picture with empty choices among items": {
        "output": [
            {"type": "image_generation_call", "result": "m0q", "choices": None},
            {"role": "assistant", "content": "w0q"},
        ]
    },
    "text with the type of an event": _pair({"text": "w0q", "type": "response.created"}),
    "an object next to an error": _pair({"error": "timeout", "says": {"a": ["w0q"]}}),
    "a value next to empty choices": _pair({"value": "w0q", "choices": None}),
    "output with the type of another API": _pair({"output": [{"content": "w0q"}], "type": "content_block_delta"}),
    "candidates next to a list of output": {
        "candidates": [{"content": {"parts": [{"text": "w0q"}]}}],
        "output": [{"a": [None]}],
    },
    "one candidate next to a list of output": {
        "candidates": {"index": 0, "content": {"role": "model", "parts": [{"text": "w0q"}]}},
        "output": [{"a": [None]}],
    },
    "candidates next to output as text": {"candidates": [{"content": {"parts": ["w0q"]}}], "output": "[]"},
    "two records of the Responses API in an array": [
        {"output": [{"role": "assistant", "content": "w0q"}]},
        {"messages": [{"role": "user", "content": "w1q"}], "output": [{"message": {"content": "w2q"}, "done": True}]},
    ],
    "whole responses in a list": _pair(
        [
            {"id": "a", "object": [], "output": [{"role": "assistant", "content": "w0q"}]},
            {"id": "b", "object": "response", "output": [{"role": "assistant", "content": "w1q"}]},
        ]
    ),
}
