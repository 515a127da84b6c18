"""Made-up Avro records in a schema registry's frame, and their schemas."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import fastavro

MESSAGE = {
    "type": "record",
    "name": "Message",
    "namespace": "chat",
    "fields": [{"name": "role", "type": "string"}, {"name": "content", "type": ["null", "string"]}],
}
EVENT = {
    "type": "record",
    "name": "Event",
    "namespace": "chat",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "messages", "type": {"type": "array", "items": MESSAGE}},
        {"name": "response", "type": ["null", "string"]},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "attributes", "type": {"type": "map", "values": ["double", "bytes", "string"]}},
    ],
}
VALUE = {
    "id": "e1",
    "messages": [{"role": "user", "content": "Hi"}],
    "response": "Hello",
    "time": 1_748_781_000_123,
    "attributes": {"conversation_id": "c"},
}


def encoded(value: Any = VALUE, schema: Any = EVENT, referenced: Iterable[Any] = ()) -> bytes:
    """`value` in Avro."""
    named: dict[str, Any] = {}
    for other in referenced:
        fastavro.parse_schema(other, named)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named), value)
    return out.getvalue()


def framed(payload: bytes, schema_id: int = 7) -> bytes:
    """`payload` in Confluent's frame."""
    return b"\0" + schema_id.to_bytes(4) + payload
