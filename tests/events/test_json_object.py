"""Records that are not text, not JSON or not Unicode."""

from __future__ import annotations

import pytest

from tests.events.records import native, refused


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"", "json", "not JSON: Expecting value at character 0"),
        (b"   ", "json", "not JSON"),
        (b'{"id":"a"', "json", "not JSON"),
        (b'{"id":"a"} {}', "json", "Extra data"),
        (b"\x00", "json", "not JSON"),
        (b'{"id":"a","prompt":"raw \x00 byte"}', "json", "Invalid control character"),
        (b"\xef\xbb\xbf{}", "json", "BOM"),
        (b'{"id":"a","prompt":NaN}', "json", "NaN is not JSON"),
        (b'{"id":"a","prompt":"x","attributes":{"n":-Infinity}}', "json", "-Infinity is not JSON"),
        (b'{"id":"a","prompt":"x","attributes":{"n":' + b"9" * 5_000 + b"}}", "json", "digits"),
        (b"[" * 100_000, "json", "nested too deeply"),
        (b'{"a":' * 100_000, "json", "nested too deeply"),
        (b'{"id":"a","prompt":"\xff"}', "encoding", "not UTF-8: byte 20"),
        ('{"id":"a","prompt":"x"}'.encode("utf-16"), "encoding", "not UTF-8"),
        (b'{"id":"a","prompt":"\xed\xa0\x80"}', "encoding", "not UTF-8"),  # a surrogate in CESU-8
        (b'{"id":"a","prompt":"\\ud83d"}', "encoding", "lone surrogate"),
        (b'{"id":"a","prompt":"x","model":"\\ud83d"}', "encoding", "lone surrogate"),
        (b'{"id":"a","prompt":"x","attributes":{"conversation_id":"\\ud83d"}}', "encoding", "lone surrogate"),
        (b'{"id":"a","prompt":"x","attributes":{"a":[{"\\ud83d":1}]}}', "encoding", "lone surrogate"),
    ],
)
def test_records_that_are_no_text_or_no_json(body: bytes, kind: str, reason: str) -> None:
    error = refused(body)
    assert (error.kind, error.path) == (kind, "$")
    assert reason in error.reason


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"id":"\\udc4b","prompt":"x"}', "$.id"),
        (b'{"id":"a","messages":[{"role":"\\ud83d","content":"x"}]}', "$.messages[0].role"),
    ],
)
def test_lone_surrogates_in_short_fields_are_named_with_their_path(body: bytes, path: str) -> None:
    assert refused(body).path == path


def test_pairs_of_surrogates_and_escaped_nulls_are_text() -> None:
    assert native(b'{"id":"a","prompt":"\\ud83d\\udc4b\\u0000"}').messages[0].content == "\U0001f44b\0"
