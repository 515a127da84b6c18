"""Event: one prompt and its response; Record: the message that it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from monitor.events.sent_activations import SentActivations


@dataclass(frozen=True)
class Origin:
    """Where a record came from: topic, partition and offset in Kafka; path, 0 and line or row number in a file."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Record:
    """One message as it arrived, before parsing."""

    value: bytes | None
    origin: Origin
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    time_ms: int | None = None
    """When it was produced or appended, as Unix time; None if the source doesn't know."""

    def header(self, name: str) -> str | None:
        """The last header of that name as text; None if there is none or it is not UTF-8."""
        return _header(self.headers, name)


def _header(headers: tuple[tuple[str, bytes], ...], name: str) -> str | None:
    for key, value in reversed(headers):
        if key == name and value is not None:
            try:
                return value.decode()
            except UnicodeDecodeError:
                return None
    return None


@dataclass(frozen=True)
class Message:
    """One turn of the conversation before the response."""

    role: str
    content: str


UnreadPartKind = Literal["image", "audio", "video", "file", "encrypted", "tokens"]
"""What an event can contain that no text can be read from: tokens are prompts sent as token ids."""
UNREAD_PART_KINDS: tuple[UnreadPartKind, ...] = get_args(UnreadPartKind)
RepairKind = Literal["number", "surrogate", "role"]
"""What is replaced or guessed: numbers without a value, lone surrogates, roles that aren't known."""
REPAIR_KINDS: tuple[RepairKind, ...] = get_args(RepairKind)


@dataclass(frozen=True)
class Event:
    """A conversation and the model's response.

    `messages` are the turns before the reply, in order. The roles that are known are system, user, assistant and tool;
    others stand as they were written. `response` is the reply and is empty if only a prompt was captured or the call
    was blocked. `traceparent` is a valid W3C header value or None. `unread` counts what nothing could be read from, and
    `repaired` what was replaced, by kind. `headers` are those of its record, and `joined` are the other records of an
    event that came in several. With `activations`, these are judged rather than the text, of which there may be none.
    """

    id: str
    messages: tuple[Message, ...]
    response: str
    origin: Origin
    time: datetime | None = None
    model: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = None
    unread: Mapping[UnreadPartKind, int] = field(default_factory=dict)
    repaired: Mapping[RepairKind, int] = field(default_factory=dict)
    headers: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    joined: tuple[Origin, ...] = ()
    activations: SentActivations | None = field(default=None, repr=False)

    def header(self, name: str) -> str | None:
        """The last header of that name as text; None if there is none or it is not UTF-8."""
        return _header(self.headers, name)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """All records that the event came in."""
        return (self.origin, *self.joined)

    @property
    def conversation_id(self) -> str | None:
        """The conversation that the attributes name, as `gen_ai.conversation.id` or `conversation_id`."""
        found = self.attributes.get("gen_ai.conversation.id", self.attributes.get("conversation_id"))
        return found if isinstance(found, str) else None


@dataclass(frozen=True)
class EventLimits:
    """The largest event that is accepted; larger ones are bad events and are never cut."""

    max_bytes: int = 1_048_576
    max_chars: int = 400_000
    max_messages: int = 1_000
