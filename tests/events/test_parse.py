"""Sizes, and which format reads a body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.registry import RegistryError
from monitor.errors import BadEvent
from monitor.events.event import EventLimits, Record
from monitor.events.parse import EVENT_FORMATS, parse, recognised
from tests.events.records import ORIGIN, record, refused
from tests.events.samples import SAMPLES, Sample


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


def test_a_record_of_a_hundred_megabytes_is_refused_by_its_size_alone() -> None:
    error = refused(b'{"id": "a", "response": "' + b"x" * 100_000_000)
    assert (error.kind, error.reason) == ("size", "100000025 bytes, over events.max_bytes = 1048576")


def first_to_recognise(data: dict[str, Any]) -> str:
    """The format that recognises a body, if every format is asked."""
    found = (name for name in EVENT_FORMATS.built_in if EVENT_FORMATS.load(name).recognises(data))
    return next(found, "native")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_format_that_is_meant_recognises_a_body_first(sample: Sample) -> None:
    value = sample.body
    if sample.format is None:
        return
    data = value if isinstance(value, dict) else json.loads(value)
    assert recognised(data) == first_to_recognise(data) == sample.format


BODIES = [sample.body for sample in SAMPLES if isinstance(sample.body, dict)]
VALUES = st.sampled_from([value for body in BODIES for value in body.values()]) | st.sampled_from(BODIES)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({key for body in BODIES for key in body})), VALUES, max_size=4))
def test_recognising_by_keys_finds_the_same_format_as_asking_all(data: dict[str, Any]) -> None:
    assert recognised(data) == first_to_recognise(data)


def test_every_format_has_a_sample() -> None:
    assert {sample.format for sample in SAMPLES} >= set(EVENT_FORMATS.built_in)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_fixed_format_reads_the_same(sample: Sample) -> None:
    if sample.format is not None and sample.turns is not None:
        assert parse(sample.record, wire_format=sample.format) == parse(sample.record)


def test_what_no_format_recognises_is_refused_with_its_keys() -> None:
    assert refused({"text": "x", "level": "INFO"}).reason == "not a format that is read; the keys are: level, text"


def test_the_format_can_be_fixed() -> None:
    with pytest.raises(BadEvent, match="expected request and response, or a response"):
        parse(record({"id": "a", "prompt": "x"}), wire_format="openai")


def test_an_unknown_format_is_named_with_those_that_there_are() -> None:
    with pytest.raises(RegistryError, match="no event format is called 'avro'; there are activations, otlp, langfuse"):
        parse(record({"id": "a", "prompt": "x"}), wire_format="avro")
