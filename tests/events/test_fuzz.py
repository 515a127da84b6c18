"""Whatever arrives is parsed or refused with BadEvent; no other error leaves the parser."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerts.alert import AlertEvent, AlertOrigin
from monitor.errors import BadEvent
from monitor.events.event import REPAIR_KINDS, UNREAD_PART_KINDS, Event, EventLimits, Origin, Record
from monitor.events.parse import parse, parse_records
from tests.events.samples import SAMPLES

ORIGIN = Origin("t", 0, 0)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["traceparent", "ce_specversion", "ce_id", "ce_time", "other"]), st.binary(max_size=20)),
    max_size=3,
)


def check(value: bytes | None, headers: Any = ()) -> None:
    with suppress(BadEvent):
        for event in parse(Record(value, ORIGIN, headers=tuple(headers)), EventLimits(max_bytes=10_000)):
            _deliverable(event)


def _deliverable(event: Event) -> None:
    """What is parsed can be put into an alert and encoded."""
    origin = AlertOrigin(topic="t", partition=0, offset=0)
    AlertEvent(id=event.id, time=event.time, model=event.model, origin=origin).model_dump_json()
    json.dumps([event.response, [[m.role, m.content] for m in event.messages]], ensure_ascii=False).encode()
    json.dumps([event.id, event.model, event.attributes], ensure_ascii=False).encode()
    assert set(event.unread) <= set(UNREAD_PART_KINDS)
    assert set(event.repaired) <= set(REPAIR_KINDS)


@given(st.none() | st.binary(max_size=200), HEADERS)
def test_any_bytes(value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    check(value, headers)


@given(JSON, HEADERS)
def test_any_json(value: Any, headers: list[tuple[str, bytes]]) -> None:
    check(json.dumps(value).encode(), headers)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, inner in steps for p in _places(inner, (*path, key)))]


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


VALID: list[Any] = [sample.body for sample in SAMPLES if not isinstance(sample.body, bytes)]


@settings(max_examples=400)
@given(st.data())
def test_any_json_in_any_place_of_a_valid_event(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(VALID))
    for _ in range(data.draw(st.integers(1, 3))):
        whole = _replaced(whole, data.draw(st.sampled_from(_places(whole))), data.draw(JSON))
    check(json.dumps(whole).encode())


@settings(max_examples=200)
@given(st.data())
def test_any_poll_gives_events_and_faults_of_its_records(data: st.DataObject) -> None:
    records = []
    for n in range(data.draw(st.integers(1, 4))):
        whole = data.draw(st.sampled_from(VALID))
        if data.draw(st.booleans()):
            whole = _replaced(whole, data.draw(st.sampled_from(_places(whole))), data.draw(JSON))
        records.append(Record(json.dumps(whole).encode(), Origin("t", 0, n)))
    parsed = parse_records(records, EventLimits(max_chars=data.draw(st.sampled_from([60, 10_000]))))
    for event in parsed.events:
        _deliverable(event)
    origins = {origin for event in parsed.events for origin in event.origins} | set(parsed.faults)
    assert origins <= {record.origin for record in records}


def test_nesting_of_any_depth() -> None:
    for depth in (*range(1, 1_100, 3), *range(900, 1_010)):
        check(b'{"id":"a","prompt":"x","attributes":{"a":' + b"[" * depth + b"]" * depth + b"}}")
