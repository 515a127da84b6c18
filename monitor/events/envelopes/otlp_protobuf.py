"""OTLP in protobuf, the default of the Collector's Kafka exporter, as the object that OTLP's JSON has.

Source: opentelemetry-proto 1.x, TracesData and LogsData.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from monitor.events.json_object import JsonObject

_KINDS = ((TracesData, "resourceSpans", "scopeSpans", "spans"), (LogsData, "resourceLogs", "scopeLogs", "logRecords"))
_SPAN_ID_BYTES = 8


def from_protobuf(raw: bytes) -> JsonObject | None:
    """The spans or log records in `raw`; None if it is nothing of the kind."""
    for message, resources, scopes, items in _KINDS:
        try:
            found: JsonObject = MessageToDict(message.FromString(raw))
        except (DecodeError, ValueError, RecursionError):
            continue
        inner = [item for r in found.get(resources, ()) for s in r.get(scopes, ()) for item in s.get(items, ())]
        # both messages look alike; the id's place tells which one it is
        if inner and any(_has_span_id(item) for item in inner):
            for item in inner:
                _with_hex_ids(item)
            return found
    return None


def _has_span_id(item: dict[str, Any]) -> bool:
    try:
        return len(base64.b64decode(item.get("spanId", ""))) == _SPAN_ID_BYTES
    except ValueError:
        return False


def _with_hex_ids(item: dict[str, Any]) -> None:
    for key in ("traceId", "spanId", "parentSpanId"):
        if key in item:
            item[key] = base64.b64decode(item[key]).hex()
