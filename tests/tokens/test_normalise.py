"""Hidden and disguised text reads as a person reads it, and offsets still point into the original."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.event import Event, Message, Origin
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.normalise import normalised

WORDS = "never trust them"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"


@pytest.mark.parametrize(
    "text",
    [
        "\u200b".join(WORDS),
        "".join(c + "\u200b" for c in WORDS),
        "\u2060\ufeff" + WORDS + "\u00ad",
        "n\u202eever trust\u202c them",
        "never\x00 tr\x07ust them\x9f",
        "ｎｅｖｅｒ ｔｒｕｓｔ ｔｈｅｍ",
        "𝐧𝐞𝐯𝐞𝐫 𝓉𝓇𝓊𝓈𝓉 𝕥𝕙𝕖𝕞",
        "ⓝⓔⓥⓔⓡ trust them",
        "nеvеr trust thеm",  # Cyrillic e
        "never trust them".replace("e", "\u0435").replace("v", "\u03bd"),
        "".join(chr(0xE0000 + ord(c)) for c in WORDS),
        "n\ufe0fever tr\U000e0101ust them",
        "n\u200dever trust\u200c them",
    ],
)
def test_disguises(text: str) -> None:
    found = normalised(text)
    assert found is not None
    assert found.text == WORDS
    for word in WORDS.split():
        start = WORDS.index(word)
        first, last = found.original_span(start, start + len(word))
        inner = normalised(text[first:last])
        assert (text[first:last] if inner is None else inner.text) == word


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain\ttext\r\n",
        "Grüße, naïve café — “quoted” … €5",
        "Слово за слово",
        "Он сказал: hello world",
        "λόγος and μύθος",
        "你好，世界！ＯＫ？"[:6],
        "👨\u200d👩\u200d👧 ❤\ufe0f",
        "می\u200cخواهم",
        "x² + ½ ﬁne",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert normalised(text) is None


@given(st.text())
def test_positions_point_into_the_original(text: str) -> None:
    found = normalised(text)
    if found is not None:
        assert len(found.positions) == len(found.text)
        assert list(found.positions) == sorted(found.positions)
        assert normalised(found.text) is None or found.text != text
        start, end = found.original_span(0, len(found.text)) if found.text else (0, 0)
        assert 0 <= start <= end <= len(text)


@pytest.mark.parametrize("source", [None, TEMPLATE])
def test_a_segment_keeps_its_own_text_and_finds_its_own_characters(source: str | None) -> None:
    text = " \u200b " + "".join(c + "\u200b" for c in WORDS)
    event = Event("a", (Message("user", "Hi"),), text, Origin("t", 0, 0))
    rendered = ChatTemplate(source).render(event)
    segment = rendered.segments[-1]
    assert segment.text == text
    start = rendered.text.index("trust")
    first, last = segment.own_span(start, start + len("trust"))
    assert text[first:last] == "t\u200br\u200bu\u200bs\u200bt"
