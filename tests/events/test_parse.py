"""Sizes, and which format reads a body."""

from __future__ import annotations

import json

import pytest

from detectors.registry import RegistryError
from monitor.errors import BadEvent
from monitor.events.event import EventLimits, Record
from monitor.events.parse import EVENT_FORMATS, parse
from tests.events.formats.test_openai_chat import pair
from tests.events.records import ORIGIN, record, refused


def test_a_tombstone() -> None:
    with pytest.raises(BadEvent, match="tombstone"):
        parse(Record(None, ORIGIN))


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        (EventLimits(max_bytes=99), "100 bytes, over events.max_bytes = 99"),
        (EventLimits(max_chars=9), "10 characters of text, over events.max_chars = 9"),
        (EventLimits(max_messages=1), "2 messages, over events.max_messages = 1"),
    ],
)
def test_limits_hold_exactly(limits: EventLimits, key: str) -> None:
    body = {
        "id": "a",
        "messages": [{"role": "u", "content": "1234"}, {"role": "u", "content": "56"}],
        "response": "7890",
    }
    body_of_100 = json.dumps(body, separators=(",", ":")).encode().ljust(100)
    assert len(body_of_100) == 100
    error = refused(body_of_100, limits=limits)
    assert (error.kind, error.reason) == ("size", key)
    parse(record(body_of_100), EventLimits(max_bytes=100, max_chars=10, max_messages=2))


@pytest.mark.parametrize(
    ("body", "recognised_by"),
    [
        ({"prompt": "x"}, ["native"]),
        ({"messages": []}, ["native"]),
        ({"response": "x"}, ["native"]),
        ({"choices": []}, ["openai"]),
        (pair(), ["openai", "native"]),
        ({"id": "a"}, []),
    ],
)
def test_formats_recognise_their_own_marks(body: dict[str, object], recognised_by: list[str]) -> None:
    assert [name for name in EVENT_FORMATS.built_in if EVENT_FORMATS.load(name).recognises(body)] == recognised_by


def test_what_no_format_recognises_is_refused_as_a_native_event() -> None:
    assert refused({"text": "x"}).reason == "an event needs an id"


def test_the_format_can_be_fixed() -> None:
    with pytest.raises(BadEvent, match=r"\$\.request: field required"):
        parse(record({"id": "a", "prompt": "x"}), wire_format="openai")
    with pytest.raises(BadEvent, match=r"\$\.response: input should be a valid string"):
        parse(record(pair()), wire_format="native")


def test_an_unknown_format_is_named_with_those_that_there_are() -> None:
    with pytest.raises(RegistryError, match="no event format is called 'avro'; there are openai, native"):
        parse(record({"id": "a", "prompt": "x"}), wire_format="avro")
