"""left_out: finds every text of a body that no segment holds, and only those."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.report.left_out import MAX_VALUES, LeftOut, left_out


def paths(body: Any, *segments: str, used: tuple[str, ...] = ()) -> list[str]:
    return [item.path for item in left_out(body, "$", segments, used, "why")]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"a": "said"}, []),
        ({"a": "not in it"}, ["$.a"]),
        ({"a": [{"b": "said"}, {"c d": "lost words"}]}, ["$.a[1]['c d']"]),
        ({"a": " said \n"}, []),
        ({"a": "", "b": 5, "c": None, "d": True}, []),
        ({"a": "the id"}, []),
        ({"a": json.dumps({"b": "said", "c": "lost words"})}, ["$.a.c"]),
        ({"a": "{not json"}, ["$.a"]),
        ({"a": "data:image/png;base64,AAAA"}, []),  # counted as an image
    ],
)
def test_texts_that_no_segment_holds(body: Any, found: list[str]) -> None:
    assert paths(body, "what is said here", "more", used=("the id",)) == found


def test_why_it_is_left_out() -> None:
    body = {"tools": [{"function": {"description": "Finds a file"}}], "note": "a note"}
    assert [(item.path, item.why) for item in left_out(body, "$.x", (), (), "why")] == [
        ("$.x.tools[0].function.description", "a definition: nobody says it"),
        ("$.x.note", "why"),
    ]


def test_ids_and_times_are_told_from_text() -> None:
    texts = {"chatcmpl-7": True, "2025-06-01T12:30:00Z": True, "two words": False, "größer": False, "x" * 81: False}
    assert {text: LeftOut("$", text, "").is_label for text in texts} == texts


def test_it_is_bounded() -> None:
    assert len(paths(["lost words"] * (MAX_VALUES + 10))) == MAX_VALUES
    deep: Any = "lost words"
    for _ in range(900):
        deep = [deep]
    assert paths(deep) == []
