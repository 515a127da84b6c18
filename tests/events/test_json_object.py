"""Records that are not text or not JSON, and what of them can be repaired."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.events.parse import parse
from tests.events.records import native, record, refused

BOTH = '{"prompt":"first"}\n{"prompt":"second"}\n'


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"", "json", "not JSON: Expecting value at character 0"),
        (b"   ", "json", "not JSON"),
        (b'{"id":"a"', "json", "not JSON"),
        (b'{"id":"a"} {}', "json", "Extra data"),
        (b"\x00", "json", "not JSON"),
        (b'{"id":"a","prompt":"raw \x00 byte"}', "json", "Invalid control character"),
        (b'{"id":"a","my words":1,"my words":2}', "json", "the key '<8 characters>' is there twice with different"),
        (b'{"id":"a","response":"one","response":"two"}', "json", "the key 'response' is there twice with different"),
        (
            b'{"id":"a","messages":[{"role":"user","content":"one","content":"two"}]}',
            "json",
            "the key 'content' is there",
        ),
        (b"[" * 1_000_000, "json", "nested too deeply"),
        (b'{"a":' * 200_000, "json", "nested too deeply"),
        (b'{"id":"a","prompt":"\xff"}', "encoding", "not UTF-8: byte 20"),
        ('{"id":"a","prompt":"x"}'.encode("utf-16"), "encoding", "UTF-16 is not read: write the event in UTF-8"),
        ('{"id":"a","prompt":"x"}'.encode("utf-16-be"), "encoding", "UTF-16 is not read"),
        (b'{"id":"a","prompt":"\xed\xa0\x80"}', "encoding", "not UTF-8"),  # a surrogate in CESU-8
        (b"\x00\x00\x00\x00\x01\x02\x0aab", "encoding", "a schema registry's frame around something else than JSON"),
    ],
)
def test_records_that_are_no_text_or_no_json(body: bytes, kind: str, reason: str) -> None:
    error = refused(body)
    assert (error.kind, error.path) == (kind, "$")
    assert reason in error.reason


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999", b"9" * 5_000])
def test_a_number_without_a_value_becomes_null_and_is_counted(number: bytes) -> None:
    event = native(b'{"id":"a","prompt":"x","attributes":{"n":' + number + b',"m":1.5}}')
    assert event.attributes == {"n": None, "m": 1.5}
    assert event.repaired == {"number": 1}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id":"a","prompt":"\\ud83d!"}', "\ufffd!"),
        (b'{"id":"a","prompt":"/[\\ud800-\\udbff]/"}', "/[\ufffd-\ufffd]/"),
    ],
)
def test_lone_surrogates_are_replaced_and_counted(body: bytes, found: str) -> None:
    event = native(body)
    assert event.messages[0].content == found
    assert event.repaired == {"surrogate": found.count("\ufffd")}


def test_lone_surrogates_outside_of_the_text() -> None:
    event = native(b'{"id":"\\udc4b","model":"\\ud83d","prompt":"x","attributes":{"\\ud83d":[{"a":"\\udc4b"}]}}')
    assert (event.id, event.model, event.attributes) == ("\ufffd", "\ufffd", {"\ufffd": [{"a": "\ufffd"}]})
    assert event.repaired == {"surrogate": 4}


def test_pairs_of_surrogates_and_escaped_nulls_are_text() -> None:
    event = native(b'{"id":"a","prompt":"\\ud83d\\udc4b\\u0000"}')
    assert (event.messages[0].content, event.repaired) == ("\U0001f44b\0", {})


def test_a_repeated_key_with_the_same_value_is_no_fault() -> None:
    assert native(b'{"id":"a","prompt":"x","prompt":"x"}').messages[0].content == "x"


def test_a_byte_order_mark_is_skipped() -> None:
    assert native(b'\xef\xbb\xbf{"prompt":"x"}').messages[0].content == "x"


@pytest.mark.parametrize(
    "text",
    [
        BOTH,
        "data: " + BOTH.strip().replace("\n", "\n\ndata: ") + "\n\ndata: [DONE]\n\n",
        "event: x\n" + "\n".join(f"data:{line}" for line in BOTH.splitlines()),
        json.dumps([json.loads(line) for line in BOTH.splitlines()]),
        json.dumps(BOTH.splitlines()),
    ],
)
def test_several_documents_in_a_record(text: str) -> None:
    events = parse(record(text.encode()))
    assert [event.messages[0].content for event in events] == ["first", "second"]
    assert [event.id for event in events] == ["llm.events-3-41#0", "llm.events-3-41#1"]


@pytest.mark.parametrize("value", [json.dumps({"prompt": "x"}), json.dumps(json.dumps({"prompt": "x"}))])
def test_json_in_text_of_json(value: Any) -> None:
    assert native(value).messages[0].content == "x"


def test_a_schema_registry_s_frame_is_skipped() -> None:
    assert native(b'\x00\x00\x00\x00\x07{"prompt":"x"}').messages[0].content == "x"
