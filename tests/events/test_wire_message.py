"""All text of a message is read."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.events.event import Message
from tests.events.records import native


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
