"""Pieces of streamed responses become one response, over every API that streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.events.parse import parse
from tests.events.records import record

TEXT = ("Hel", "lo", " you")
ANTHROPIC: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "r", "type": "message", "role": "assistant", "content": []}},
    *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in TEXT),
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "run", "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"x": "a'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '\\nb"}'}},
    {"type": "message_stop"},
]
GEMINI: list[dict[str, Any]] = [
    {"responseId": "r", "candidates": [{"content": {"parts": [{"text": piece}]}}]} for piece in TEXT
]
OLLAMA: list[dict[str, Any]] = [
    {"message": {"role": "assistant", "content": piece}, "done": piece == TEXT[-1]} for piece in TEXT
]
RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "r", "object": "response", "output": []}},
    *({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": piece} for piece in TEXT),
]
WHOLE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello you"}]}
COMPLETED = {"type": "response.completed", "response": {"id": "r", "object": "response", "output": [WHOLE]}}


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (ANTHROPIC, "Hello you\nrun\nx:\na\nb"),
        (GEMINI, "Hello you"),
        (OLLAMA, "Hello you"),
        (RESPONSES, "Hello you"),
        ([*RESPONSES, COMPLETED], "Hello you"),
    ],
)
def test_pieces_are_joined(pieces: list[dict[str, Any]], answer: str) -> None:
    lines = "\n".join(map(json.dumps, pieces))
    events = "".join(f"event: x\ndata: {json.dumps(piece)}\n\n" for piece in pieces)
    request = {"messages": [{"role": "user", "content": "Hi"}]}
    for body in (
        pieces,
        lines.encode(),
        events.encode(),
        {"request": request, "response": pieces},
        {"request": request, "response": events},
        {"ai": {"proxy": {"payload": {"request": json.dumps(request), "response": events}}}},
    ):
        (event,) = parse(record(body))
        assert event.response == answer


def test_two_streams_one_after_the_other() -> None:
    assert [event.response for event in parse(record([*OLLAMA, *OLLAMA]))] == ["Hello you", "Hello you"]


def test_one_piece_is_judged_as_it_is() -> None:
    for piece in (ANTHROPIC[1], GEMINI[0], OLLAMA[0], RESPONSES[1]):
        assert parse(record(piece))[0].response == "Hel"


def test_whole_responses_in_an_array_stay_apart() -> None:
    whole = {"id": "r", "choices": [{"message": {"content": "Hello"}}]}
    assert len(parse(record([whole, {**whole, "id": "s"}]))) == 2
