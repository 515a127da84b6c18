"""What is one call becomes one event, although it comes in several records of one poll."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.event import Event, EventLimits, Origin, Record
from monitor.events.parse import Parsed, parse_records
from tests.alert_factory import TRACEPARENT
from tests.events.records import OTHER_TRACEPARENT
from tests.events.samples import envelope

KIND = "org.kubeflow.serving.inference"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ANSWERED = {"id": "r", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}]}


def chunk(text: Any, stream: str = "s", index: int = 0, **delta: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": text, **delta}, "finish_reason": None}
    return {"id": stream, "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def half(kind: str, data: Any, **changes: Any) -> dict[str, Any]:
    return envelope(data, id="call-1", type=f"{KIND}.{kind}", **changes)


def records(*bodies: Any) -> list[Record]:
    """One record for each body, in one partition."""
    return [Record(json.dumps(body).encode(), Origin("t", 0, n)) for n, body in enumerate(bodies)]


def polled(*bodies: Any, **settings: Any) -> Parsed:
    return parse_records(records(*bodies), **settings)


def said(parsed: Parsed) -> list[tuple[str, str]]:
    return [(event.id, event.response) for event in parsed.events]


def offsets(event: Event) -> list[int]:
    return [origin.offset for origin in event.origins]


# ---- pieces of streams


def test_pieces_are_joined_by_their_id() -> None:
    parsed = polled(chunk("Hel"), {"prompt": "else"}, chunk("lo"), {"id": "s", "object": "x.chunk", "choices": []})
    assert said(parsed) == [("s", "Hello"), ("t-0-1", "")]
    assert offsets(parsed.events[0]) == [0, 2, 3]
    assert not parsed.faults


def test_the_first_piece_s_envelope_counts() -> None:
    pieces = [envelope(chunk("a"), traceparent=TRACEPARENT), envelope(chunk("b"), traceparent=OTHER_TRACEPARENT)]
    (event,) = polled(*pieces).events
    assert (event.id, event.response, event.traceparent) == ("s", "ab", TRACEPARENT)


def test_two_streams_and_two_choices_interleaved() -> None:
    parsed = polled(
        chunk("a1", "a"), chunk("b1", "b"), chunk("a2", "a", index=1), chunk("b2", "b"), chunk("a3", "a"),
    )  # fmt: skip
    assert said(parsed) == [("a", "a1a3"), ("a#1", "a2"), ("b", "b1b2")]


def test_pieces_in_arrays_lines_and_records_of_their_own() -> None:
    assert said(polled([chunk("a"), chunk("b")], chunk("c"))) == [("s", "abc")]
    lines = "\n".join(json.dumps(chunk(text)) for text in "ab").encode()
    mixed = [Record(lines, Origin("t", 0, 0)), Record(json.dumps(chunk("c")).encode(), Origin("t", 0, 1))]
    assert said(parse_records(mixed)) == [("s", "abc")]


def test_tool_calls_are_put_together() -> None:
    def call(**function: str) -> dict[str, Any]:
        return chunk(None, tool_calls=[{"index": 0, "function": function}])

    parsed = polled(call(name="run", arguments='{"cmd": "l'), call(arguments='s"}'))
    assert said(parsed) == [("s", "run\ncmd: ls")]


def test_a_piece_that_is_there_twice_is_read_twice() -> None:
    """Two equal pieces may be two equal tokens."""
    assert said(polled(chunk("ha"), chunk("ha"))) == [("s", "haha")]


def test_pieces_of_one_partition_keep_their_order_and_others_go_by_time() -> None:
    def piece(text: str, partition: int, offset: int, time_ms: int | None) -> Record:
        return Record(json.dumps(chunk(text)).encode(), Origin("t", partition, offset), time_ms=time_ms)

    timed = [piece("a", 1, 7, 10), piece("c", 1, 8, 30), piece("b", 0, 3, 20), piece("d", 0, 4, 40)]
    assert said(parse_records(timed)) == [("s", "abcd")]
    skewed = [piece("b", 0, 3, 99), piece("c", 0, 4, 5), piece("a", 1, 7, 50)]
    assert said(parse_records(skewed)) == [("s", "abc")]
    untimed = [piece("a", 0, 3, None), piece("b", 0, 4, None), piece("c", 1, 7, None)]
    assert said(parse_records(untimed)) == [("s", "abc")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({**chunk("x"), "choices": {"0": {}}}, "expected a list of choices"),
        ({**chunk("x"), "choices": [5]}, "expected a choice"),
        (chunk(5), "expected text or a list of parts"),
    ],
)
def test_a_bad_piece_is_refused_alone(bad: Any, reason: str) -> None:
    parsed = polled(chunk("Hel"), bad, chunk("lo"))
    assert said(parsed) == [("s", "Hello")]
    assert [origin.offset for origin in parsed.faults] == [1]
    assert reason in parsed.faults[Origin("t", 0, 1)].first.reason


def test_text_and_parts_in_one_stream_are_both_read() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
    assert said(polled(chunk("a"), chunk(parts), chunk("b"), chunk("c"))) == [("s", "a\nHm.\nbc")]


def test_pieces_that_are_too_large_together_are_judged_as_they_are() -> None:
    parsed = polled(chunk("12345"), chunk("67890"), limits=EventLimits(max_chars=9))
    assert said(parsed) == [("s", "12345"), ("s", "67890")]
    assert not parsed.faults


def test_only_so_many_bytes_wait_to_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = records(*(chunk(text) for text in "abcd"))
    monkeypatch.setattr("monitor.events.joins._MAX_HELD_BYTES", 2 * len(sent[0].value or b""))
    assert said(parse_records(sent)) == [("s", "ab"), ("s", "c"), ("s", "d")]


def test_a_silent_piece_alone_is_nothing_to_judge() -> None:
    parsed = polled(chunk("", role="assistant"), chunk(None, "other"))
    assert (parsed.events, parsed.faults) == ((), {})


def test_pieces_without_an_id_are_joined_in_their_record_only() -> None:
    bare = {"choices": [{"delta": {"content": "a"}}]}
    assert [text for _, text in said(polled([bare, bare], bare))] == ["aa", "a"]


def test_a_fixed_format_that_is_no_api_reads_each_body_by_itself() -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    parsed = polled(half("request", asked), half("response", {"response": "Yo"}), wire_format="native")
    assert said(parsed) == [("call-1#request", ""), ("call-1", "Yo")]


# ---- requests and responses that come apart


@pytest.mark.parametrize("wire_format", ["auto", "openai"])
def test_request_and_response_of_one_call_are_one_event(wire_format: str) -> None:
    for bodies in (
        [half("request", ASKED), half("response", ANSWERED)],
        [half("response", ANSWERED), half("request", ASKED)],
    ):
        parsed = polled({"request": ASKED, "response": "else"}, *bodies, wire_format=wire_format)
        _, event = parsed.events
        assert (event.id, event.messages[0].content, event.response) == ("call-1", "Hi", "Hello")
        assert sorted(offsets(event)) == [1, 2]


def test_each_half_alone_is_judged_under_the_shared_id() -> None:
    assert said(polled(half("request", ASKED))) == [("call-1#request", "")]
    assert said(polled(half("response", ANSWERED))) == [("call-1", "Hello")]


def test_binary_mode_and_streamed_responses() -> None:
    def headers(kind: str) -> tuple[tuple[str, bytes], ...]:
        return (("ce_specversion", b"1.0"), ("ce_id", b"call-1"), ("ce_type", f"{KIND}.{kind}".encode()))

    stream = "".join(f"data: {json.dumps(chunk(text))}\n\n" for text in ("Hel", "lo")) + "data: [DONE]\n\n"
    sent = [(b"%s" % json.dumps(ASKED).encode(), "request"), (stream.encode(), "response")]
    halves = [Record(value, Origin("t", n, 5), headers=headers(kind)) for n, (value, kind) in enumerate(sent)]
    (event,) = parse_records(halves).events
    assert (event.id, event.messages[0].content, event.response) == ("call-1", "Hi", "Hello")
    assert {origin.partition for origin in event.origins} == {0, 1}


def test_a_half_that_was_delivered_twice_is_read_once() -> None:
    parsed = polled(half("request", ASKED), half("request", ASKED), half("response", ANSWERED))
    (event,) = parsed.events
    assert sorted(offsets(event)) == [0, 1, 2]


def test_different_halves_of_one_id_stay_apart() -> None:
    other = {**ASKED, "messages": [{"role": "user", "content": "Bye"}]}
    parsed = polled(half("request", ASKED), half("request", other), half("response", ANSWERED))
    assert [event.id for event in parsed.events] == ["call-1#request", "call-1#request", "call-1"]


def test_a_half_that_is_not_read_does_not_refuse_the_other() -> None:
    parsed = polled(half("request", {"inputs": [{"data": [1]}]}), half("response", ANSWERED))
    assert said(parsed) == [("call-1", "Hello")]
    assert offsets(parsed.events[0]) == [1]
    assert [origin.offset for origin in parsed.faults] == [0]


def test_every_delivery_of_a_half_that_is_not_read_is_refused() -> None:
    unread = half("request", {"inputs": [{"data": [1]}]})
    parsed = polled(unread, unread, half("response", ANSWERED), half("response", ANSWERED))
    assert [sorted(offsets(event)) for event in parsed.events] == [[2, 3]]
    assert [origin.offset for origin in parsed.faults] == [0, 1]


def test_a_failed_call_has_its_prompt_judged_with_its_error() -> None:
    (event,) = polled(half("request", ASKED), half("response", {"error": "no memory"})).events
    assert (event.id, event.messages[0].content, event.response) == ("call-1", "Hi", "")


# ---- whatever the order, and however a redelivery splits it


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[tuple[str, int], str]]:
    """Pieces of several streams with several choices in any interleaving, and what each choice says."""
    texts: dict[tuple[str, int], str] = {}
    queues: list[list[dict[str, Any]]] = []
    for stream in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        for index in range(draw(st.integers(1, 2))):
            words = [f"<{stream}{index}.{n}>" for n in range(draw(st.integers(1, 4)))]
            texts[stream, index] = "".join(words)
            queues.append([chunk(word, stream, index) for word in words])
    order: list[dict[str, Any]] = []
    while any(queues):
        order.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    return order, texts


@settings(max_examples=150, deadline=None)
@given(streams())
def test_any_interleaving_gives_every_choice_whole(
    drawn: tuple[list[dict[str, Any]], dict[tuple[str, int], str]],
) -> None:
    pieces, texts = drawn
    parsed = polled(*pieces)
    assert not parsed.faults
    assert sorted(event.response for event in parsed.events) == sorted(texts.values())
    assert {origin.offset for event in parsed.events for origin in event.origins} == set(range(len(pieces)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nothing_is_lost_however_polls_split_it_and_whatever_is_between(data: st.DataObject) -> None:
    pieces, texts = data.draw(streams())
    noise: list[Any] = [
        5,
        [],
        {"prompt": 1},
        chunk(7, "a"),
        chunk(None, "b"),
        half("request", ASKED),
        half("response", ANSWERED),
    ]
    bodies = data.draw(st.permutations([*pieces, *data.draw(st.lists(st.sampled_from(noise), max_size=4))]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(bodies)), max_size=2)))
    whole = records(*bodies)
    found, refused = [], set[Origin]()
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        parsed = parse_records(whole[start:end])
        found += parsed.events
        refused |= set(parsed.faults)
        assert _origins(parsed.events).isdisjoint(parsed.faults)
    read = "\n".join(event.response for event in found)
    assert all(word in read for text in texts.values() for word in text.replace("><", "> <").split())
    silent = {record.origin for record, body in zip(whole, bodies, strict=True) if body == chunk(None, "b")}
    assert _origins(found) | refused | silent == {record.origin for record in whole}


def _origins(events: Sequence[Event]) -> set[Origin]:
    return {origin for event in events for origin in event.origins}
