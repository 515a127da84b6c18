"""Event: one prompt and its response, parsed from the wire formats that a service may send."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from monitor.errors import BadEvent

EventFormat = Literal["auto", "native", "openai"]

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_ID_CHARS = 512
_CONTEXT = ("id", "source", "time", "traceparent")
_BRANCHES = ("str", "list[_TextPart]")  # what pydantic calls the readings of _WireMessage.content
_SURROGATE = re.compile("[\ud800-\udfff]")


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

    def header(self, name: str) -> str | None:
        """The last header of that name as text; None where it is absent or not UTF-8."""
        for key, value in reversed(self.headers):
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


@dataclass(frozen=True)
class Event:
    """A conversation and the reply that the model gave.

    `messages` are the turns before the reply, in order. `response` is the reply and may be empty when only a
    prompt was captured. `traceparent` is a valid W3C header value or None.
    """

    id: str
    messages: tuple[Message, ...]
    response: str
    origin: Origin
    time: datetime | None = None
    model: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = None

    @property
    def conversation_id(self) -> str | None:
        """The conversation that the attributes name, as `gen_ai.conversation.id` or `conversation_id`."""
        found = self.attributes.get("gen_ai.conversation.id", self.attributes.get("conversation_id"))
        return found if isinstance(found, str) else None


@dataclass(frozen=True)
class EventLimits:
    """The largest event that is accepted; larger ones are bad events, never cut."""

    max_bytes: int = 1_048_576
    max_chars: int = 400_000
    max_messages: int = 1_000


def parse(record: Record, limits: EventLimits | None = None, wire_format: EventFormat = "auto") -> tuple[Event, ...]:
    """The events in one record: one, or one for each choice of an OpenAI response with several choices.

    Raises BadEvent with the JSON path of the first fault. Unknown fields are ignored.
    """
    limits = limits or EventLimits()
    body = _json_object(record, limits)
    base = "$"
    envelope: dict[str, str] = {}
    if "specversion" in body:
        base, envelope = "$.data", _context_attributes(body)
        body = _cloud_event_data(body)
    elif record.header("ce_specversion") is not None:
        envelope = {n: v for n in _CONTEXT if (v := record.header(f"ce_{n}")) is not None}
    fmt = wire_format
    if fmt == "auto":
        fmt = "openai" if "request" in body or "choices" in body else "native"
    if fmt == "openai":
        events = _parse_openai(_validated(_OpenAIPair, body, base), envelope, record, base)
    else:
        events = (_parse_native(_validated(_Native, body, base), envelope, record, base),)
    for event in events:
        _check_text(event, limits)
    return events


def _json_object(record: Record, limits: EventLimits) -> dict[str, Any]:
    if record.value is None:
        raise BadEvent("the record has no value (a tombstone)")
    if len(record.value) > limits.max_bytes:
        raise BadEvent(f"{len(record.value)} bytes, over events.max_bytes = {limits.max_bytes}", kind="size")
    try:
        body = json.loads(record.value.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as e:
        raise BadEvent(f"not UTF-8: byte {e.start}", kind="encoding") from None
    except json.JSONDecodeError as e:
        raise BadEvent(f"not JSON: {e.msg} at character {e.pos}", kind="json") from None
    except RecursionError:
        raise BadEvent("nested too deeply", kind="json") from None
    except ValueError:  # an integer of more digits than Python converts
        raise BadEvent("not JSON: a number of too many digits", kind="json") from None
    if not isinstance(body, dict):
        raise BadEvent(f"expected a JSON object, got {_json_type(body)}")
    return body


def _refuse_constant(name: str) -> Any:
    raise BadEvent(f"{name} is not JSON", kind="json")


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _TextPart(_Wire):
    type: str
    text: str | None = None
    refusal: str | None = None


class _Function(_Wire):
    name: str = ""
    arguments: str = ""


class _Custom(_Wire):
    name: str = ""
    input: str = ""


class _ToolCall(_Wire):
    function: _Function | None = None
    custom: _Custom | None = None


class _WireMessage(_Wire):
    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[_TextPart] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None

    def text(self) -> str:
        """All text of the message: content parts, refusal and tool calls, one below the other."""
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


class _Native(_Wire):
    id: Annotated[str, Field(min_length=1, max_length=_MAX_ID_CHARS)] | None = None
    time: str | None = None
    model: str | None = None
    messages: list[_WireMessage] | None = None
    prompt: str | None = None
    response: str | None = None
    attributes: dict[str, Any] | None = None
    traceparent: str | None = None


class _OpenAIRequest(_Wire):
    model: str | None = None
    messages: list[_WireMessage]
    metadata: dict[str, Any] | None = None


class _OpenAIChoice(_Wire):
    index: int | None = None
    message: _WireMessage


class _OpenAIResponse(_Wire):
    id: Annotated[str, Field(min_length=1, max_length=_MAX_ID_CHARS)]
    created: int | None = None
    model: str | None = None
    choices: Annotated[list[_OpenAIChoice], Field(min_length=1, max_length=128)]


class _OpenAIPair(_Wire):
    id: Annotated[str, Field(min_length=1, max_length=_MAX_ID_CHARS)] | None = None
    request: _OpenAIRequest
    response: _OpenAIResponse
    attributes: dict[str, Any] | None = None
    traceparent: str | None = None


W = TypeVar("W", bound=_Wire)


def _validated(model: type[W], body: object, base: str) -> W:
    try:
        return model.model_validate(body)
    except ValidationError as e:
        faults = [(_json_path(f["loc"], body), _reason(f)) for f in e.errors(include_url=False, include_input=False)]
        # where a field may be text or a list, each reading has its complaint; the one that got furthest is meant
        path, reason = max((f for f in faults if f[0].startswith(faults[0][0])), key=lambda f: len(f[0]))
        raise BadEvent(reason, base + path) from None


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "model_type":
        return "input should be an object"
    return error["msg"][0].lower() + error["msg"][1:]


def _json_path(loc: tuple[int | str, ...], body: object) -> str:
    """The part of a pydantic location that exists in the document (union branches have names of their own)."""
    path = ""
    here = body
    for i, step in enumerate(loc):
        if step in _BRANCHES:
            continue
        if isinstance(here, dict) and isinstance(step, str) and (step in here or i == len(loc) - 1):
            path += f".{step}"
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int):
            path += f"[{step}]"
            here = here[step] if step < len(here) else None
    return path


def _context_attributes(body: dict[str, Any]) -> dict[str, str]:
    """The context attributes of a structured-mode CloudEvent that an event can use.

    Source: CloudEvents 1.0.2, JSON event format 3.1; binary mode is the Kafka protocol binding 3.2.
    """
    if body["specversion"] != "1.0":
        raise BadEvent("only CloudEvents 1.0 is read", "$.specversion")
    for name in ("id", "source", "type"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise BadEvent("a CloudEvent needs a non-empty string here", f"$.{name}")
    return {n: body[n] for n in _CONTEXT if isinstance(body.get(n), str)}


def _cloud_event_data(body: dict[str, Any]) -> dict[str, Any]:
    data: Any = body.get("data")
    if "data_base64" in body:
        try:
            text = base64.b64decode(body["data_base64"], validate=True).decode()
            data = json.loads(text, parse_constant=_refuse_constant)
        except (TypeError, ValueError, RecursionError):
            raise BadEvent("not base64 of a JSON object", "$.data_base64") from None
    if not isinstance(data, dict):
        raise BadEvent(f"expected a JSON object, got {_json_type(data)}", "$.data")
    return data


def _parse_native(wire: _Native, envelope: dict[str, str], record: Record, base: str) -> Event:
    event_id = wire.id or envelope.get("id")
    if not event_id:
        raise BadEvent("an event needs an id", f"{base}.id")
    if len(event_id) > _MAX_ID_CHARS:  # can only be the envelope's: the body's own has been checked
        raise BadEvent(f"an id should have at most {_MAX_ID_CHARS} characters", "$.id")
    if wire.messages is not None and wire.prompt is not None:
        raise BadEvent("give messages or prompt, not both", f"{base}.prompt")
    if wire.messages is not None:
        messages = tuple(Message(m.role, m.text()) for m in wire.messages)
    else:
        messages = (Message("user", wire.prompt),) if wire.prompt else ()
    response = wire.response or ""
    if not response and not any(m.content for m in messages):
        raise BadEvent("no text: messages, prompt and response are all missing or empty", base)
    return Event(
        id=event_id,
        messages=messages,
        response=response,
        origin=record.origin,
        time=_time(wire.time, f"{base}.time") if wire.time else _time(envelope.get("time"), "$.time"),
        model=wire.model,
        attributes=wire.attributes or {},
        traceparent=_traceparent(wire.traceparent, envelope, record),
    )


def _parse_openai(wire: _OpenAIPair, envelope: dict[str, str], record: Record, base: str) -> tuple[Event, ...]:
    event_id = wire.id or wire.response.id
    messages = tuple(Message(m.role, m.text()) for m in wire.request.messages)
    created = wire.response.created
    time = _time(envelope.get("time"), "$.time")
    if created is not None:
        try:
            time = datetime.fromtimestamp(created, tz=UTC)
        except (OverflowError, ValueError, OSError):
            raise BadEvent("not a Unix time in seconds", f"{base}.response.created") from None
    choices = _numbered(wire.response.choices)
    events = tuple(
        Event(
            id=event_id if n == 0 else f"{event_id}#{index}",
            messages=messages,
            response=choice.message.text(),
            origin=record.origin,
            time=time,
            model=wire.response.model or wire.request.model,
            attributes=wire.attributes or wire.request.metadata or {},
            traceparent=_traceparent(wire.traceparent, envelope, record),
        )
        for n, (index, choice) in enumerate(choices)
    )
    if not any(e.response or any(m.content for m in e.messages) for e in events):
        raise BadEvent("no text: the messages and every choice are empty", base)
    return events


def _numbered(choices: list[_OpenAIChoice]) -> list[tuple[int, _OpenAIChoice]]:
    """The choices by index; by position where indices are missing or repeated, as ids must differ."""
    indices = {c.index for c in choices}
    if None in indices or len(indices) < len(choices):
        return list(enumerate(choices))
    return sorted(((c.index or 0, c) for c in choices), key=lambda pair: pair[0])


def _time(value: str | None, path: str) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise BadEvent("not an RFC 3339 time", path) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _traceparent(own: str | None, envelope: dict[str, str], record: Record) -> str | None:
    """The first valid W3C traceparent: Kafka header, CloudEvents extension, body. A broken one is as good as none."""
    for value in (record.header("traceparent"), envelope.get("traceparent"), own):
        if value is not None and _TRACEPARENT.fullmatch(value):
            return value
    return None


def _check_text(event: Event, limits: EventLimits) -> None:
    if len(event.messages) > limits.max_messages:
        raise BadEvent(f"{len(event.messages)} messages, over events.max_messages = {limits.max_messages}", kind="size")
    chars = len(event.response) + sum(len(m.content) for m in event.messages)
    if chars > limits.max_chars:
        raise BadEvent(f"{chars} characters of text, over events.max_chars = {limits.max_chars}", kind="size")
    texts = [event.id, event.response, event.model or "", *(t for m in event.messages for t in (m.role, m.content))]
    if event.attributes:
        texts.append(json.dumps(event.attributes, ensure_ascii=False))
    for text in texts:
        if _SURROGATE.search(text):
            raise BadEvent("a lone surrogate is not Unicode text", kind="encoding")
