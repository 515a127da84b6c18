"""One record of every kind that is not an event, with what must be said of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

SECRET = "zebrawood"
"""Stands in the text of every record here that has one, and must never be logged."""


@dataclass(frozen=True)
class BadRecord:
    """A record, the label under which it is counted, the JSON path of its fault, and a part of the reason."""

    name: str
    value: bytes | None
    kind: str
    path: str
    reason: str


def _json(**body: object) -> bytes:
    return json.dumps(body).encode()


def bad_records() -> tuple[BadRecord, ...]:
    """All of them, the one of 5 MB first."""
    return (
        BadRecord("5 MB of text", _json(id="b", response=f"{SECRET} " * 500_000), "size", "$", "events.max_bytes"),
        BadRecord("too much text", _json(id="b", response="z" * 500_000), "size", "$", "events.max_chars"),
        *small_bad_records(),
    )


def small_bad_records() -> tuple[BadRecord, ...]:
    """Those that a test can afford by the hundred."""
    event = {"specversion": "1.0", "id": "b", "source": "/b", "type": "t"}
    twice = b'{"id": "b", "response": "%s", "response": "x"}' % SECRET.encode()
    return (
        BadRecord("broken JSON", b'{"id": "b", "response": "%s' % SECRET.encode(), "json", "$", "not JSON"),
        BadRecord("not an object", b'["%s"]' % SECRET.encode(), "schema", "$[0]", "got string"),
        BadRecord("a wrong type", _json(id="b", response=SECRET, messages=5), "schema", "$.messages", "list"),
        BadRecord("a key twice", twice, "json", "$", "'response' is there twice"),
        BadRecord("no text", _json(id="b", messages=[]), "schema", "$", "no text"),
        BadRecord("no known format", _json(id="b", colour=SECRET), "schema", "$", "the keys are: colour, id"),
        BadRecord("invalid UTF-8", b'{"id": "b", "response": "\xff\xfe"}', "encoding", "$", "not UTF-8: byte 25"),
        BadRecord("null bytes", b"\x00" * 64, "encoding", "$", "schema registry"),
        BadRecord("a null byte in a string", b'{"id": "b", "response": "\x00"}', "json", "$", "control character"),
        BadRecord("deep nesting", b"[" * 200_000, "json", "$", "nested too deeply"),
        BadRecord("an empty record", b"", "json", "$", "not JSON"),
        BadRecord("a tombstone", None, "schema", "$", "tombstone"),
        BadRecord("CloudEvent without data", _json(**event), "schema", "$.data", "got null"),
        BadRecord(
            "OpenAI without text", _json(request={"messages": []}, response={"choices": []}), "schema", "$", "no text"
        ),
    )
