"""docs/events.md: every example does what the page says, and every field of the formats is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from monitor.config.sections import EventsConfig
from monitor.errors import BadEvent, BadEventKind
from monitor.events.event import Origin, Record
from monitor.events.formats.native import FIELDS
from monitor.events.parse import EVENT_FORMATS, parse
from monitor.telemetry.names import RecordOutcome

DOCS = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
VALID = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)


def record(text: str) -> Record:
    return Record(text.encode(), Origin("t", 0, 0))


@pytest.mark.parametrize(
    ("number", "ids", "trace"),
    [
        (0, ["chat-81f2"], True),
        (1, ["chat-81f3"], False),
        (2, ["chatcmpl-7", "chatcmpl-7#1"], False),
        (3, ["evt-5"], True),
    ],
)
def test_the_examples_are_events(number: int, ids: list[str], trace: bool) -> None:
    assert len(VALID) == 4
    parsed = parse(record(VALID[number]))
    assert [e.id for e in parsed] == ids
    assert all(e.messages and e.response for e in parsed)
    assert all((e.traceparent is not None) == trace for e in parsed)


def test_the_refused_example_is_refused_with_the_message_below_it() -> None:
    found = re.search(r"```json invalid\n(.*?)```\n\n`(.*?)`", DOCS, re.DOTALL)
    assert found is not None
    with pytest.raises(BadEvent) as caught:
        parse(record(found[1]))
    assert str(caught.value) == found[2]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_native_event_has_a_row(field: str) -> None:
    assert re.search(rf"^\| `{field}` \|", DOCS, re.MULTILINE)


def test_every_format_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", DOCS[: DOCS.index("## Native")], re.MULTILINE)
    assert sorted(rows) == sorted(EVENT_FORMATS.built_in)


def test_every_kind_of_bad_event_has_a_row() -> None:
    assert rows_below("| Kind | Refused |") == list(get_args(BadEventKind))


def test_every_outcome_of_a_record_has_a_row() -> None:
    assert rows_below("| Outcome | Meaning |") == list(get_args(RecordOutcome))


def rows_below(head: str) -> list[str]:
    """The names in the first column of the table with this head."""
    return re.findall(r"^\| `(\w+)` \|", DOCS[DOCS.index(head) :].split("\n\n")[0], re.MULTILINE)


def test_the_config_of_the_registry_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert EventsConfig.model_validate(yaml.safe_load(text)["events"]).schema_registry_url


def test_examples_are_json() -> None:
    for text in VALID:
        assert isinstance(json.loads(text), dict)
