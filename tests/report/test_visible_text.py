"""Nothing in an event's text steers a terminal or a browser."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.report.visible_text import visible, visible_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "<U+001B>[31mred"),
        ("\x9b2J", "<U+009B>2J"),
        ("bell\x07 null\x00 back\x08", "bell<U+0007> null<U+0000> back<U+0008>"),
        ("over\rwritten", "over<U+000D>written"),
        ("user\u202etxt.exe", "user<U+202E>txt.exe"),
        ("\u2066isolate\u2069", "<U+2066>isolate<U+2069>"),
        ("zero\u200bwidth \ufeff", "zero<U+200B>width <U+FEFF>"),
        ("tag\U000e0041", "tag<U+E0041>"),
        ("lone \ud800", "lone <U+D800>"),
        ("\ufffe", "<U+FFFE>"),
        ("line\u2028separator", "line<U+2028>separator"),
    ],
)
def test_characters_that_steer_or_hide_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["naïve", "e\u0301", "👨‍👩‍👧", "می‌خواهم", "नमस्ते", "日本語", "שלום", "a\tb\nc"])
def test_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_one_line_shows_where_lines_ended() -> None:
    assert visible_line("a\r\nb\tc") == "a↵ b c"


@given(st.text())
def test_no_control_or_bidi_character_is_left(text: str) -> None:
    left = [c for c in visible_line(text) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not left
    assert not set(visible(text)) & set("\x1b\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
