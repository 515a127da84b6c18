"""OTLP as the Collector's Kafka exporter writes it."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from monitor.events.envelopes.otlp_protobuf import from_protobuf
from monitor.events.parse import parse
from tests.events.records import record, refused
from tests.events.samples import SAMPLES, TRACE

SPAN_ID = "00f067aa0ba902b7"
SPANS = ["otlp span", "otlp span with numbered attributes", "openinference span", "otlp span events"]


def body(name: str) -> Any:
    """The sample with ids that are ids."""
    found = copy.deepcopy(next(sample.body for sample in SAMPLES if sample.name == name))
    for items in (found.get("resourceSpans"), found.get("resourceLogs")):
        for item in (
            i for r in items or () for s in (r.get("scopeSpans") or r["scopeLogs"]) for g in s.values() for i in g
        ):
            item["spanId"] = SPAN_ID
    return found


def as_protobuf(kind: Any, found: Any) -> bytes:
    """Protobuf's own JSON has ids in base64."""
    for items in (found.get("resourceSpans"), found.get("resourceLogs")):
        for item in (
            i for r in items or () for s in (r.get("scopeSpans") or r["scopeLogs"]) for g in s.values() for i in g
        ):
            for key in {"traceId", "spanId"} & item.keys():
                item[key] = base64.b64encode(bytes.fromhex(item[key])).decode()
    made: bytes = ParseDict(found, kind()).SerializeToString()
    return made


@pytest.mark.parametrize(("kind", "name"), [*((TracesData, name) for name in SPANS), (LogsData, "otlp log records")])
def test_protobuf_reads_as_json_does(kind: Any, name: str) -> None:
    raw = as_protobuf(kind, body(name))
    assert parse(record(raw)) == parse(record(body(name)))


def test_the_span_is_the_parent() -> None:
    (event,) = parse(record(as_protobuf(TracesData, body("otlp span"))))
    assert (event.id, event.traceparent) == (SPAN_ID, f"00-{TRACE}-{SPAN_ID}-01")


@pytest.mark.parametrize("raw", [b"\n", b"\n\x02ab", b"\n\xff\xff", b"\n not JSON"])
def test_what_is_neither_is_refused_as_json(raw: bytes) -> None:
    assert from_protobuf(raw) is None
    assert refused(raw).kind in ("json", "encoding")
