"""WireMessage: one turn as the chat-completions API writes it, which other formats use too."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from monitor.events.event import Message
from monitor.events.wire import Wire


class _TextPart(Wire):
    type: str
    text: str | None = None
    refusal: str | None = None


class _Function(Wire):
    name: str = ""
    arguments: str = ""


class _Custom(Wire):
    name: str = ""
    input: str = ""


class _ToolCall(Wire):
    function: _Function | None = None
    custom: _Custom | None = None


class WireMessage(Wire):
    """A message, with every field that can hold text."""

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[_TextPart] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None

    def text(self) -> str:
        """All text of the message: content parts, refusal and tool calls, each on a new line."""
        parts: list[str] = []
        if isinstance(self.content, str):
            parts.append(self.content)
        elif self.content is not None:
            parts.extend(text for p in self.content for text in (p.text, p.refusal) if text is not None)
        if self.refusal:
            parts.append(self.refusal)
        for call in self.tool_calls or []:
            if call.function is not None:
                parts.append(f"{call.function.name}({call.function.arguments})")
            if call.custom is not None:
                parts.append(f"{call.custom.name}({call.custom.input})")
        return "\n".join(parts)

    def message(self) -> Message:
        """The turn as an event holds it."""
        return Message(self.role, self.text())
