"""Spans and log records with a conversation, in every convention that instrumentations follow."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.fuzz.encoded import Encoded
from tests.fuzz.turns import answer, asked, message
from tests.fuzz.words import Part, Words

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def _any_value(value: Any, chance: Random) -> Any:
    """An AnyValue: text of JSON, or OTLP's own lists and maps."""
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, Encoded) or chance.random() < 0.7:
        return {"stringValue": Encoded(value)}
    return _structured(value)


def _structured(value: Any) -> Any:
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": _structured(v)} for key, v in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_structured(item) for item in value]}}
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int | float):
        return {"intValue" if isinstance(value, int) else "doubleValue": value}
    return {"stringValue": value}


def _attribute(key: str, value: Any, chance: Random) -> dict[str, Any]:
    return {"key": key, "value": _any_value(value, chance)}


def _parts(words: Words, role: str, side: str) -> dict[str, Any]:
    return {"role": role, "parts": [Part(type="text", content=words.new(side))]}


def _whole(chance: Random, words: Words) -> list[Any]:
    asks, says = chance.choice(
        (
            ("gen_ai.input.messages", "gen_ai.output.messages"),
            ("gen_ai.prompt", "gen_ai.completion"),
            ("input.value", "output.value"),
            ("traceloop.entity.input", "traceloop.entity.output"),
        )
    )
    replies = [answer(chance, words)] if chance.random() < 0.6 else [_parts(words, "assistant", "answered")]
    found = [_attribute(asks, asked(chance, words), chance), _attribute(says, replies, chance)]
    if chance.random() < 0.3:
        system = [Part(type="text", content=words.new("asked"))]
        found.append(_attribute("gen_ai.system_instructions", system, chance))
    return found


def _numbered(chance: Random, words: Words) -> list[Any]:
    asks, says, inner = chance.choice(
        (
            ("gen_ai.prompt", "gen_ai.completion", ""),
            ("llm.input_messages", "llm.output_messages", "message."),
        )
    )
    found = []
    for i in range(chance.randrange(1, 4)):
        found.append(_attribute(f"{asks}.{i}.{inner}role", chance.choice(("user", "system", "assistant")), chance))
        found.append(_attribute(f"{asks}.{i}.{inner}content", words.new("asked"), chance))
    found.append(_attribute(f"{says}.0.{inner}role", "assistant", chance))
    found.append(_attribute(f"{says}.0.{inner}content", words.new("answered"), chance))
    arguments = Encoded({"a": words.new("answered")})
    if inner:
        call = f"{says}.0.message.tool_calls.0.tool_call.function"
        part = f"{asks}.0.message.contents.1.message_content.text"
        found += [_attribute(f"{call}.arguments", arguments, chance), _attribute(part, words.new("asked"), chance)]
    else:
        found.append(_attribute(f"{says}.0.tool_calls.0.arguments", arguments, chance))
    return found


def _events(chance: Random, words: Words) -> list[Any]:
    asks = {"gen_ai.user.message": "user", "gen_ai.system.message": "system", "gen_ai.assistant.message": "assistant"}
    found = []
    for _ in range(chance.randrange(1, 4)):
        name = chance.choice(tuple(asks))
        found.append({"name": name, "attributes": [_attribute("content", words.new("asked"), chance)]})
    reply = chance.choice(
        (
            [_attribute("message", answer(chance, words), chance)],
            [_attribute("content", words.new("answered"), chance)],
        )
    )
    return [*found, {"name": "gen_ai.choice", "attributes": [_attribute("index", 0, chance), *reply]}]


def _log_records(chance: Random, words: Words) -> list[Any]:
    held = {"content": words.new("asked"), "role": "user"}
    reply = {"index": 0, "finish_reason": "stop", "message": answer(chance, words)}
    return [
        {"spanId": "id-1", "eventName": "gen_ai.user.message", "body": _structured(held)},
        {"spanId": "id-1", "eventName": "gen_ai.choice", "body": _structured(reply)},
    ]


def _details(chance: Random, words: Words) -> list[Any]:
    """One log record or event with the whole conversation."""
    return [
        _attribute("gen_ai.input.messages", [message(chance, words, "asked", "user")], chance),
        _attribute("gen_ai.output.messages", [_parts(words, "assistant", "answered")], chance),
    ]


def otlp(chance: Random, words: Words) -> Any:
    """A batch of a span, or of log records, next to one of something else."""
    kind = chance.randrange(6)
    span: dict[str, Any] = {"traceId": _TRACE, "spanId": "id-1", "startTimeUnixNano": "1748781000000000000"}
    other = {
        "traceId": _TRACE,
        "spanId": "id-2",
        "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}],
    }
    if kind == 0:
        return {"resourceLogs": [{"scopeLogs": [{"logRecords": _log_records(chance, words)}]}]}
    if kind == 1:
        record = {
            **span,
            "eventName": "gen_ai.client.inference.operation.details",
            "attributes": _details(chance, words),
        }
        return {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    if kind == 2:
        span |= {"attributes": [], "events": _events(chance, words)}
    else:
        span |= {"attributes": (_numbered if kind == 3 else _whole)(chance, words)}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [other, span] if chance.random() < 0.4 else [span]}]}]}
