"""Inspections: what a record is understood as, in data, as JSON, and on a terminal of 80 columns."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from monitor.config.mapping import MappingConfig
from monitor.events.envelopes.confluent import Decoder
from monitor.events.event import REPAIR_KINDS, UNREAD_PART_KINDS, EventLimits, Origin, Record
from monitor.events.unread_range import UnreadRange
from monitor.report.inspection import WHY_REPAIRED, WHY_UNREAD, Inspection, Inspector, of_unread
from monitor.report.inspection_lines import InspectionLines
from tests.events.samples import ANSWER, ASK, SAMPLES, USER, chat, envelope, native

READERS = {"user": ("bias",), "response": ("bias", "unsafe_code")}


def inspected(body: Any, body_format: Any = "auto") -> Inspection:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Inspector(EventLimits(), body_format, READERS).inspect(Record(value, Origin("in.jsonl", 0, 7)))


def lines(found: Inspection, *, width: int = 80, with_text: bool = True, of_topic: bool = False) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, _environ={}).print(InspectionLines(found, with_text, of_topic), highlight=False)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.format and s.turns], ids=lambda sample: sample.name)
def test_nothing_of_the_samples_is_left_out(sample: Any) -> None:
    found = inspected(sample.body)
    assert found.formats == (sample.format,)
    assert [item for item in found.left_out if not item.is_label] == []
    assert sum(len(item.segments) for item in found.events) == len(sample.turns) + bool(sample.response)


@pytest.mark.parametrize(
    ("body", "envelopes"),
    [
        (native(), ()),
        (envelope(native()), ("CloudEvents",)),
        (envelope(json.dumps(native())), ("CloudEvents", "text of JSON")),
        ([native(), native(id="b")], ("an array",)),
        ({"schema": {}, "payload": native()}, ("Kafka Connect",)),
        (b"\0\0\0\0\1" + json.dumps(native()).encode(), ("a schema registry's frame",)),
    ],
)
def test_envelopes_are_named(body: Any, envelopes: tuple[str, ...]) -> None:
    assert inspected(body).envelopes == envelopes


def test_a_whole_record_on_a_terminal() -> None:
    body = {
        "id": "a",
        "model": "m",
        "messages": [
            *USER,
            {"role": "narrator", "content": [{"type": "text", "text": "It is dark."}, {"type": "image_url"}]},
        ],
        "response": ANSWER,
        "note": "left by someone",
        "kind": "chat",
        "attributes": {"tenant": "acme"},
    }
    assert lines(inspected(body)) == [
        "in.jsonl:7: format native",
        "  event a, model m, tenant acme",
        "    user                     20 chars  How do I bake bread?",
        "    other, role narrator     11 chars  It is dark.",
        "    response                 33 chars  Mix flour, water,↵ salt and yeast.",
        "    other: no feature set reads this segment",
        "    not read: 1 image: a picture holds no text",
        "    repaired: 1 role: a role that is not known; the segment is other",
        "  left out, in no segment:",
        "    $.note: the format native does not read it",
        "      15 chars  left by someone",
        "    short values without spaces, such as ids and names (3):",
        "    $.messages[1].content[0].type, $.messages[1].content[1].type, $.kind",
    ]


def test_what_a_mapping_leaves_out_is_shown() -> None:
    mapping = MappingConfig(messages="$.turns", response="$.answer")  # type: ignore[arg-type]
    body = {"turns": USER, "answer": ANSWER, "later": [{"role": "user", "content": "And rye bread?"}]}
    found = inspected(body, mapping.event_format())
    assert (found.formats, [(item.path, item.why) for item in found.left_out]) == (
        ("mapping",),
        [("$.later[0].content", "no path of the mapping leads there")],
    )


def test_a_bad_record_says_why() -> None:
    assert lines(inspected({"level": "INFO"})) == [
        "in.jsonl:7",
        "  bad event (schema): $: not a format that is read; the keys are: level",
    ]
    assert lines(inspected({"ai": {}}))[0] == "in.jsonl:7: format kong"
    assert lines(inspected(b"nope"), of_topic=True)[0] == "in.jsonl-0 offset 7"


def test_a_record_that_is_partly_bad_shows_both() -> None:
    found = inspected([native(), {"level": "INFO"}])
    assert ([item.event.id for item in found.events], len(found.bad)) == (["id-1"], 1)
    shown = "\n".join(lines(found))
    assert "bad event (schema): $[1]: not a format that is read" in shown
    assert ASK in shown


def test_a_record_without_anything_to_judge_says_so() -> None:
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "GET /", "attributes": []}]}]}]}
    assert lines(inspected(spans)) == [
        "in.jsonl:7: format otlp",
        "  nothing to judge: nobody says anything here",
    ]


def test_framed_records_are_decoded_by_the_registrys_schemas() -> None:
    class Registry:
        def decoders(self, ids: Collection[int]) -> dict[int, Decoder]:
            assert ids == {7}
            return {7: lambda payload, _: {"prompt": payload.decode()}}

    inspector = Inspector(EventLimits(), "auto", READERS, Registry())
    found = inspector.inspect(Record(b"\0\0\0\0\7AB", Origin("t", 0, 0)))
    assert [segment.text for segment in found.events[0].segments] == ["AB"]
    assert found.envelopes == ("a schema registry's frame",)


def test_offsets_that_cannot_be_read() -> None:
    found = of_unread(UnreadRange("t", 1, 5, 9, "codec", "unknown codec"))
    assert lines(found, of_topic=True) == [
        "t-1 offset 5",
        "  bad event (unreadable): $: t-1 offsets 5 to 9: unknown codec",
    ]


def test_an_event_without_a_response_says_so() -> None:
    assert "    no response" in lines(inspected({"prompt": ASK}))


def test_several_answers_are_several_events() -> None:
    body = chat(content=ANSWER)
    body["response"]["choices"].append({"index": 1, "message": {"content": "Bake it."}})
    shown = lines(inspected(body))
    assert shown[0] == "in.jsonl:7: format openai, 2 events"
    assert [line for line in shown if line.startswith("  event")] == [
        "  event id-1, model m",
        "  event id-1#1, model m",
    ]


NASTY = "\x1b[2J\x1b]0;title\x07 \u202eevil\u2066 \U000e0041 [bold]x[/bold] " + "wide 字 " * 40


@pytest.mark.parametrize("width", [40, 80])
def test_nothing_in_a_record_steers_the_terminal_or_breaks_the_width(width: int) -> None:
    body = {
        "id": NASTY,
        "model": NASTY,
        "messages": [{"role": NASTY[:60], "content": NASTY}],
        "response": NASTY,
        "note": "left " + NASTY,
        "attributes": {NASTY: NASTY},
        NASTY: "words too many",
    }
    for found in (inspected(body), inspected({NASTY: 1}), inspected(body, _MISSING)):
        shown = lines(found, width=width)
        text = "\n".join(shown)
        assert not {"\x1b", "\x07", "\u202e", "\u2066", "\U000e0041"} & set(text)
        assert max(map(cell_len, shown)) <= width
    assert "[bold]" in text


_MISSING = MappingConfig(messages="$.nope").event_format()  # type: ignore[arg-type]


def test_text_is_shown_only_if_wanted() -> None:
    body = native(note="a left out text")
    assert not any(ASK in line or "left out text" in line for line in lines(inspected(body), with_text=False))
    made = json.dumps(inspected(body).to_json(with_text=False))
    assert ASK not in made
    assert "left out text" not in made


def test_json() -> None:
    body = native(note="a left out text", messages=[{"role": "robot", "content": ASK}])
    assert inspected(body).to_json(with_text=True) == {
        "topic": "in.jsonl",
        "partition": 0,
        "offset": 7,
        "formats": ["native"],
        "envelopes": [],
        "events": [
            {
                "id": "id-1",
                "time": None,
                "model": None,
                "attributes": {},
                "segments": [
                    {"segment": "other", "index": 0, "role": "robot", "read_by": [], "characters": 20, "text": ASK},
                    {
                        "segment": "response",
                        "index": 0,
                        "role": "assistant",
                        "read_by": ["bias", "unsafe_code"],
                        "characters": 33,
                        "text": ANSWER,
                    },
                ],
                "unread": {},
                "repaired": {"role": 1},
            }
        ],
        "left_out": [
            {"path": "$.note", "why": "the format native does not read it", "characters": 15, "text": "a left out text"}
        ],
        "bad": [],
    }
    (bad,) = inspected(b"{").to_json(with_text=True)["bad"]
    assert (bad["kind"], bad["path"]) == ("json", "$")


def test_every_kind_has_its_reason() -> None:
    assert tuple(WHY_UNREAD) == UNREAD_PART_KINDS
    assert tuple(WHY_REPAIRED) == REPAIR_KINDS
