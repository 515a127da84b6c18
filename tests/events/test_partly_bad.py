"""A record of several events: the good ones are events, each bad one is a fault, and neither hides the other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import BadEvent
from monitor.events.faults import Faults
from monitor.events.parse import Parsed, parse, parse_records
from tests.events.records import ORIGIN, record
from tests.events.samples import attribute, envelope, parts, span

GOOD = {"id": "good", "prompt": "Hi", "response": "Hello"}
BAD = {"id": "bad", "prompt": 5}


def read(body: Any) -> tuple[list[str], str]:
    """The ids of the events in `body`, and the paths and reasons of its faults as one."""
    parsed = parse_records([record(body)])
    return [event.id for event in parsed.events], _reason(parsed)


def _reason(parsed: Parsed) -> str:
    return str(parsed.faults[ORIGIN].as_one(bool(parsed.events))) if parsed.faults else ""


def spans(*attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """One batch with a span for each of `attributes`."""
    made = [
        span(*own, spanId=f"s{n}")["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for n, own in enumerate(attributes)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}


ASKED = attribute("gen_ai.input.messages", parts("user", "Hi"))
PICTURE = {"role": "user", "parts": [{"type": "blob", "modality": "image"}]}
BROKEN = {"key": "gen_ai.input.messages", "value": {"boolValue": True}}


@pytest.mark.parametrize(
    ("body", "ids", "reason"),
    [
        ([GOOD, BAD], ["good"], "$[1].prompt: expected a list of messages, got number (the record's other events were"),
        ([BAD, GOOD, 7], ["good"], "$[2]: 2 faults: $[2]: expected a JSON object, got number; $[0].prompt: "),
        ([BAD], [], "$[0].prompt: expected a list of messages, got number"),
        ([envelope(GOOD), envelope(BAD)], ["good"], "$[1].data.prompt: expected a list of messages"),
        (envelope([GOOD, BAD]), ["good"], "$.data[1].prompt: expected a list of messages"),
        (f"{json.dumps(GOOD)}\n{json.dumps(BAD)}\n".encode(), ["good"], "$[1].prompt: expected a list of messages"),
        (f'{json.dumps(GOOD)}\n{{"id": }}\n'.encode(), ["good"], "$[1]: not JSON: Expecting value at character 7"),
        (f'{json.dumps(GOOD)}\n{{"a": 1, "a": 2}}\n'.encode(), ["good"], "$[1]: the key 'a' is there twice"),
        (
            {"batch": [{"type": "trace-create", "body": {**GOOD, "input": "Hi"}}, 5, {"type": "x"}]},
            ["good"],
            "$.batch[1]: 2 faults: $.batch[1]: expected a Langfuse event with a body; $.batch[2]: expected",
        ),
        (spans([ASKED], [BROKEN]), ["s0"], "spans[1].gen_ai.input.messages: expected a list of messages, got boolean"),
        (
            {"resourceSpans": [*spans([ASKED])["resourceSpans"], 5, {"scopeSpans": 6}]},
            ["s0"],
            "$.resourceSpans[1]: 2 faults",
        ),
    ],
)  # fmt: skip
def test_the_good_events_are_read_and_the_bad_ones_named(body: Any, ids: list[str], reason: str) -> None:
    found, why = read(body)
    assert found == ids
    assert reason in why


def test_alerts_of_the_good_ones_keep_their_ids_once_the_bad_one_is_corrected() -> None:
    nameless = [{"prompt": "a"}, {"prompt": 5}, {"prompt": "c"}]
    assert read(nameless)[0] == ["llm.events-3-41#0", "llm.events-3-41#2"]
    assert read([nameless[0], {"prompt": "b"}, nameless[2]])[0] == [f"llm.events-3-41#{n}" for n in range(3)]
    batch = {"batch": [{"type": "span-create", "body": {"input": text}} for text in "ab"]}
    assert read(batch)[0] == ["llm.events-3-41#0", "llm.events-3-41#1"]


def test_parse_itself_refuses_a_record_that_is_partly_bad() -> None:
    with pytest.raises(BadEvent, match="expected a list of messages"):
        parse(record([GOOD, BAD]))


# ---- what holds nothing to judge


@pytest.mark.parametrize(
    "body",
    [
        spans([attribute("http.method", "GET")], []),
        spans([attribute("gen_ai.request.model", "m"), {"key": "input.value", "value": {}}]),
        {"resourceSpans": []},
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "GET /"}}]}]}]},
        {"batch": [{"type": "score-create", "body": {"value": 1}}, {"type": "trace-create", "body": {"name": "x"}}]},
        {"type": "score-create", "body": {"value": 1}},
    ],
)
def test_batches_without_text_are_no_faults(body: Any) -> None:
    assert read(body) == ([], "")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"resourceSpans": "x"}, "$.resourceSpans: expected a list, got string"),
        (spans([{"value": {"stringValue": "Hi"}}]), "attributes[0]: expected an attribute with a key"),
        ({"prompt": ""}, "no text: nobody says anything"),
        (spans([attribute("gen_ai.input.messages", [PICTURE])]), "what is there can't be read: image 1"),
    ],
)  # fmt: skip
def test_what_is_broken_or_unreadable_still_is_one(body: Any, reason: str) -> None:
    found, why = read(body)
    assert (found, reason in why) == ([], True)


# ---- bounds


def test_a_record_of_nothing_but_faults_is_not_read_to_its_end() -> None:
    found, why = read([*([1] * 1_000), GOOD])
    assert found == []
    assert why.startswith("$[0]: 100 faults: $[0]: expected a JSON object, got number; $[1]: ")
    assert why.endswith("; and 84 more; the rest of the record was not read")


def test_faults_in_batches_are_bounded_too() -> None:
    assert "100 faults" in read({"batch": [{"type": "score-create", "body": {}}, *([5] * 1_000)]})[1]
    assert "100 faults" in read(spans(*([BROKEN] for _ in range(200))))[1]


def test_one_fault_stays_as_it_is() -> None:
    faults = Faults()
    faults.add(BadEvent("no", "$.a", kind="size"))
    one = faults.as_one(judged=False)
    assert (one.reason, one.path, one.kind) == ("no", "$.a", "size")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.sampled_from(["array", "lines", "cloudevents", "langfuse", "otlp"]),
)
def test_every_good_one_is_read_and_every_bad_one_named(good: list[bool], kind: str) -> None:
    events = [{"id": f"e{n}", "prompt": "Hi" if fine else 5} for n, fine in enumerate(good)]
    body: Any = {
        "array": lambda: events,
        "lines": lambda: "\n".join(json.dumps(event) for event in [*events, events[0]]).encode(),
        "cloudevents": lambda: [envelope(event) for event in events],
        "langfuse": lambda: {
            "batch": [
                {"type": "span-create", "body": {"id": e["id"], "input": [{"content": e["prompt"]}]}} for e in events
            ]
        },
        "otlp": lambda: {
            "resourceSpans": [
                {"scopeSpans": [{"spans": [{"spanId": e["id"], "attributes": [ASKED if fine else BROKEN]}]}]}
                for e, fine in zip(events, good, strict=True)
            ]
        },
    }[kind]()
    ids, why = read(body)
    flags = [*good, good[0]] if kind == "lines" else good
    assert ids == [f"e{n % len(good)}" for n, fine in enumerate(flags) if fine]
    assert (f"{flags.count(False)} faults" in why) == (flags.count(False) > 1)
    assert bool(why) == (False in flags)
