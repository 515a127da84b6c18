"""Everything that a message says is read, and what can't be read is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.events.event import Message
from tests.events.records import native

CODE = 'import os\nos.system("rm " + name)'
BASE64 = "UklGRiQAAABXQVZF" * 20


def tool_call(**function: Any) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "plain"}, "plain"),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": []}, ""),
        ({"content": [{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}]}, "one\ntwo"),
        ({"content": ["one", "two"]}, "one\ntwo"),
        ({"content": [{"type": "text", "text": {"value": "one", "annotations": []}}]}, "one"),
        ({"content": [{"type": "text", "text": "one", "citations": [{"cited_text": "c"}]}]}, "one"),
        ({"content": {"type": "text", "text": "one"}}, "one"),
        ({"content": [{"type": "output_text", "text": "one", "annotations": [{"title": "t"}]}]}, "one"),
        ({"content": [{"type": "new_kind", "body": "what it says", "id": "x1"}]}, "body: what it says"),
        ({"parts": [{"type": "text", "content": "one"}, {"text": "two"}]}, "one\ntwo"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": None, "refusal": "I can't help."}, "I can't help."),
        ({"content": "a", "refusal": None, "tool_calls": None, "audio": None, "function_call": None}, "a"),
        ({"content": "a", "reasoning_content": "Hm."}, "Hm.\na"),
        ({"content": "a", "reasoning": "Hm."}, "Hm.\na"),
        (
            {"content": "a", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
            "Hm.\na",
        ),
        ({"content": "a", "thinking": "Hm."}, "Hm.\na"),
        (
            {"content": [{"type": "thinking", "thinking": "Hm.", "signature": "EP"}, {"type": "text", "text": "a"}]},
            "Hm.\na",
        ),
        ({"content": None, "audio": {"id": "x", "data": BASE64, "transcript": "spoken"}}, "spoken"),
        ({"content": [{"toolUse": {"toolUseId": "t", "name": "run", "input": {"x": 1}}}]}, "run\nx: 1"),
        ({"content": [{"toolResult": {"toolUseId": "t", "content": [{"json": {"temp": 21}}]}}]}, "temp: 21"),
        ({"parts": [{"functionCall": {"name": "run", "args": {"x": "y"}}}]}, "run\nx: y"),
        ({"parts": [{"functionResponse": {"name": "run", "response": {"temp": 21}}}]}, "temp: 21"),
        ({"parts": [{"executableCode": {"language": "PYTHON", "code": CODE}}]}, CODE),
        ({"parts": [{"type": "tool_call", "id": "1", "name": "run", "arguments": {"x": "y"}}]}, "run\nx: y"),
        ({"parts": [{"type": "tool_call_response", "id": "1", "response": {"temp": 21}}]}, "temp: 21"),
        ({"content": {"temp": 21, "title": "t", "ok": True}}, "temp: 21\ntitle: t\nok: true"),
        ({"content": [{"title": "t", "snippet": "s"}]}, "title: t\nsnippet: s"),
        (tool_call(name="run", arguments='{"x":1}'), "run\nx: 1"),
        (tool_call(name="run", arguments={"x": 1}), "run\nx: 1"),
        (tool_call(name="run", arguments="{}"), "run"),
        (tool_call(name="run", arguments=None), "run"),
        (tool_call(name="run", arguments=""), "run"),
        (tool_call(name="run", arguments="not JSON"), "run\nnot JSON"),
        (tool_call(name="run"), "run"),
        ({"content": "Wait.", "tool_calls": [{"function": {"name": "a"}}, {"function": {"name": "b"}}]}, "Wait.\na\nb"),
        ({"tool_calls": [{"type": "custom", "custom": {"name": "sh", "input": "rm -rf /"}}]}, "sh\nrm -rf /"),
        ({"tool_calls": [{"name": "run", "args": {"x": 1}, "type": "tool_call"}]}, "run\nx: 1"),
        ({"content": None, "function_call": {"name": "run", "arguments": '{"x": "y"}'}}, "run\nx: y"),
        ({"content": [{"type": "tool_use", "id": "t", "name": "run", "input": {"x": "y"}}]}, "run\nx: y"),
        ({"content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "ok"}]}]}, "ok"),
        ({"content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}, "ok"),
        ({"content": [{"type": "document", "source": {"type": "text", "data": "a page"}, "title": "t"}]}, "t\na page"),
    ],
)
def test_all_text_of_a_message_is_read(message: dict[str, Any], text: str) -> None:
    event = native({"id": "a", "response": "r", "messages": [{"role": "assistant", **message}]})
    assert event.messages == (Message("assistant", text),)
    assert event.unread == {}


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "a.py", "content": CODE},
        {"edits": [{"new": CODE}]},
        {"request": json.dumps({"content": CODE})},
        [CODE],
        json.dumps({"content": CODE}),
        json.dumps({"request": json.dumps({"content": CODE})}),
    ],
)
def test_code_in_arguments_reads_as_code(arguments: Any) -> None:
    message = tool_call(name="write_file", arguments=arguments)
    assert CODE in native({"messages": [{"role": "assistant", **message}]}).response


def test_arguments_that_break_off_are_unescaped() -> None:
    message = tool_call(name="write_file", arguments='{"path": "a.py", "content": "import os\\nos.system(\\"ls\\")')
    assert 'import os\nos.system("ls")' in native({"messages": [{"role": "assistant", **message}]}).response


def test_arguments_with_a_repeated_key_give_both() -> None:
    message = tool_call(name="write_file", arguments='{"content": "first", "content": "second"}')
    assert (
        native({"messages": [{"role": "assistant", **message}]}).response
        == "write_file\ncontent: first\ncontent: second"
    )


@pytest.mark.parametrize(
    ("part", "unread"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, {"image": 1}),
        ({"type": "input_image", "file_id": "f"}, {"image": 1}),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BASE64}}, {"image": 1}),
        ({"inlineData": {"mimeType": "video/mp4", "data": BASE64}}, {"video": 1}),
        ({"inline_data": {"mime_type": "image/png", "data": BASE64}}, {"image": 1}),
        ({"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}}, {"audio": 1}),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": BASE64}}, {"file": 1}),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BASE64}},
            {"file": 1},
        ),
        ({"type": "blob", "modality": "image", "content": BASE64}, {"image": 1}),
        ({"type": "redacted_thinking", "data": BASE64}, {"encrypted": 1}),
        ({"type": "reasoning", "encrypted_content": BASE64, "summary": []}, {"encrypted": 1}),
        ("data:image/png;base64," + BASE64, {"image": 1}),
    ],
)
def test_what_cannot_be_read_is_counted_by_kind(part: Any, unread: dict[str, int]) -> None:
    body = {"response": "r", "messages": [{"role": "user", "content": ["seen", part]}]}
    event = native(body)
    assert event.messages == (Message("user", "seen"),)
    assert event.unread == unread


def test_pictures_next_to_the_text_are_counted_too() -> None:
    event = native({"response": "r", "messages": [{"role": "user", "content": "seen", "images": ["a", "b"]}]})
    assert (event.messages, event.unread) == ((Message("user", "seen"),), {"image": 2})


def test_a_plain_text_file_is_read() -> None:
    part = {"inlineData": {"mimeType": "text/plain", "data": "YSBwYWdl"}}
    event = native({"response": "r", "messages": [{"role": "user", "parts": [part]}]})
    assert (event.messages, event.unread) == ((Message("user", "a page"),), {})


@pytest.mark.parametrize(
    ("message", "role"),
    [
        ({"role": "Human"}, "user"),
        ({"role": "USER"}, "user"),
        ({"role": "ai"}, "assistant"),
        ({"role": "Model"}, "assistant"),
        ({"role": "bot"}, "assistant"),
        ({"role": "developer"}, "system"),
        ({"role": "function"}, "tool"),
        ({"from": "gpt"}, "assistant"),
        ({"type": "human"}, "user"),
        ({"type": "AIMessageChunk"}, "assistant"),
        ({"author": {"role": "user"}}, "user"),
    ],
)
def test_roles_by_their_meaning(message: dict[str, Any], role: str) -> None:
    event = native({"response": "r", "messages": [{**message, "content": "x"}]})
    assert (event.messages, event.repaired) == ((Message(role, "x"),), {})


@pytest.mark.parametrize(
    ("role", "kept"),
    [("moderator", "moderator"), ("", "unknown"), ("r" * 65, "unknown"), (5, "unknown"), (None, "unknown")],
)
def test_an_unknown_role_is_kept_and_counted(role: Any, kept: str) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": role, "content": "b"}, {"role": role, "content": "c"}]
    event = native({"response": "r", "messages": messages})
    assert [m.role for m in event.messages] == ["user", kept, kept]
    assert event.repaired == {"role": 2}
