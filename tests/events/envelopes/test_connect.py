"""Kafka Connect's JSON with schemas."""

from __future__ import annotations

import json

from tests.events.records import native, refused

BODY = {"id": "a", "prompt": "x"}
SCHEMA = {"type": "struct", "fields": [{"field": "id", "type": "string"}]}


def test_the_payload_is_the_body() -> None:
    assert native({"schema": SCHEMA, "payload": BODY}) == native(BODY)
    assert native({"schema": None, "payload": json.dumps(BODY)}) == native(BODY)


def test_faults_are_inside_the_payload() -> None:
    assert refused({"schema": SCHEMA, "payload": {"prompt": 5}}).path == "$.payload.prompt"


def test_other_fields_next_to_a_schema_make_no_envelope() -> None:
    assert native({"schema": "s", **BODY}).messages[0].content == "x"
