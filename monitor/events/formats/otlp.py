"""OTLP spans and log records of GenAI calls, as the Collector's Kafka exporter writes them.

Marks: `resourceSpans` or `resourceLogs`.

Source: OpenTelemetry semantic conventions for generative AI (1.37 and those before it); OpenInference; OTLP 1.x JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.formats import otlp_attributes as attrs
from monitor.events.json_object import JsonObject, json_type, key_names
from monitor.events.said import Said

T = TypeVar("T", Message, str)
_GROUPS = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))
_FIELDS = {"resourceSpans", "resourceLogs"}
_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


def recognises(data: JsonObject) -> bool:
    """Whether these are spans or log records; an empty field of theirs in another record means nothing."""
    return any(data.get(key) for key in _FIELDS) or (bool(data) and data.keys() <= _FIELDS)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """One event for each span that holds a conversation, and for the log records of each such span.

    Spans without any are those of other services, or of calls whose content is not captured: there is nothing to judge.
    """
    if not recognises(data):
        raise BadEvent("expected resourceSpans or resourceLogs", context.path)
    found: list[Event] = []
    for path, span, records in _spans(data, context):
        if context.faults.full:
            break
        try:
            draft = _draft(span, records, path, Said())
            if not draft.silent:
                found += draft.events(replace(context, path=path))
        except BadEvent as fault:
            context.faults.add(fault)
    if not found and (others := [key for key, value in data.items() if value and key not in _FIELDS]):
        raise BadEvent(f"no text in the spans, and other fields next to them: {key_names(others)}", context.path)
    return tuple(found)


def _spans(data: JsonObject, context: Context) -> Iterator[tuple[str, JsonObject, list[JsonObject]]]:
    """Each span with its own events; log records without their span, put together by its id."""
    for where, span in _items(data, _GROUPS[0], context):
        yield where, span, [event for _, event in _objects(span.get("events"), f"{where}.events", context)]
    logs: dict[object, tuple[str, list[JsonObject]]] = {}
    for where, record in _items(data, _GROUPS[1], context):
        logs.setdefault(str(record.get("spanId") or where), (where, []))[1].append(record)
    for where, records in logs.values():
        yield where, records[0], records


def _items(data: JsonObject, names: tuple[str, str, str], context: Context) -> Iterator[tuple[str, JsonObject]]:
    found = iter([(context.path, data)])
    for name in names:
        found = _inside(found, name, context)
    return found


def _inside(holders: Iterable[tuple[str, JsonObject]], name: str, context: Context) -> Iterator[tuple[str, JsonObject]]:
    for path, holder in holders:
        yield from _objects(holder.get(name), f"{path}.{name}", context)


def _objects(value: object, path: str, context: Context) -> Iterator[tuple[str, JsonObject]]:
    """The objects in a list; what is none is a fault of the record."""
    if value is not None and not isinstance(value, list):
        context.faults.add(BadEvent(f"expected a list, got {json_type(value)}", path))
        return
    for i, item in enumerate(value or ()):
        if isinstance(item, dict):
            yield f"{path}[{i}]", item
        else:
            context.faults.add(BadEvent(f"expected an object, got {json_type(item)}", f"{path}[{i}]"))


def _draft(span: JsonObject, records: list[JsonObject], path: str, said: Said) -> Draft:
    found = attrs.read(span.get("attributes"), f"{path}.attributes")
    messages, answers = _conversation(found, said, path)
    rest, known = dict(found), {*messages, *answers}
    for record in records:
        of_record = attrs.read(record.get("attributes"), f"{path}.attributes")
        name = str(record.get("name") or record.get("eventName") or of_record.get("event.name"))
        more, said_there = _of_record(name, attrs.value(record.get("body")), of_record, said, path)
        # several records may hold the whole conversation
        messages += _unknown(more, known)
        answers += _unknown(said_there, known)
        rest.update({key: value for key, value in of_record.items() if key not in rest})
    trace, span_id = span.get("traceId"), span.get("spanId")
    return Draft(
        messages=messages,
        answers=[Answer(answer) for answer in answers],
        ids=(rest.get("gen_ai.response.id"), span_id),
        times=(span.get("startTimeUnixNano"), span.get("timeUnixNano"), span.get("observedTimeUnixNano")),
        models=tuple(rest.get(key) for key in ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name")),
        attributes=({key: rest[key] for key in ("gen_ai.conversation.id", "session.id") if key in rest},),
        traceparent=f"00-{trace}-{span_id}-01",
        said=said,
    )


def _unknown(items: list[T], known: set[Any]) -> list[T]:
    """Those that are not known yet; then they are."""
    new = [item for item in items if item not in known]
    known.update(new)
    return new


def _conversation(found: Mapping[str, Any], said: Said, path: str) -> tuple[list[Message], list[str]]:
    """The turns and answers that attributes hold, in the newest convention that was used."""
    system = said.text(attrs.decoded(found.get("gen_ai.system_instructions")), path)
    messages = [Message("system", system)] if system else []
    for key in (
        "gen_ai.input.messages",
        "gen_ai.prompt",
        "llm.input_messages",
        "input.value",
        "traceloop.entity.input",
    ):
        turns = said.messages(attrs.turns(found, key), f"{path}.{key}", "user")
        if any(turn.content for turn in turns):
            messages += turns
            break
    for key in (
        "gen_ai.output.messages",
        "gen_ai.completion",
        "llm.output_messages",
        "output.value",
        "traceloop.entity.output",
    ):
        answers = [turn.content for turn in said.messages(attrs.turns(found, key), f"{path}.{key}", "assistant")]
        if any(answers):
            return messages, answers
    return messages, []


def _of_record(
    name: str, body: Any, found: Mapping[str, Any], said: Said, path: str
) -> tuple[list[Message], list[str]]:
    """What an event of a span, or a log record, says."""
    held = {**(body if isinstance(body, dict) else {"content": body} if body else {}), **found}
    if name in _ROLES:
        role = held.get("role") or _ROLES[name]
        return [said.message({**_turn(held), "role": role}, path)], []
    if name == "gen_ai.choice":
        message = attrs.decoded(held.get("message"))
        message = _turn(message if isinstance(message, dict) else {**held, "content": message or held.get("content")})
        return [], [said.text({**message, "role": "assistant"}, path)]
    return _conversation(found, said, path) if name.startswith("gen_ai.") else ([], [])


def _turn(held: Mapping[str, Any]) -> JsonObject:
    return {key: attrs.decoded(value) for key, value in held.items()}
