"""Twice as long a record takes twice as many steps: no place in it makes the parser go over the rest again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from monitor.errors import BadEvent
from monitor.events.event import EventLimits, Record
from monitor.events.parse import EVENT_FORMATS, parse
from tests.events.samples import SAMPLES
from tests.fuzz.case import ORIGIN

_SHORT, _LONG = 60, 240
_LIMITS = EventLimits(max_bytes=1 << 30, max_chars=1 << 30, max_messages=1 << 30)
_CALL = {"index": 0, "function": {"name": "run", "arguments": "{}"}}
_CALLS = {"id": "a", "choices": [{"index": 0, "delta": {"tool_calls": [_CALL]}}]}
_DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
_TURN = {"role": "user", "content": "x"}
VALID: dict[str, Any] = {
    "calls in two pieces": [_CALLS, _CALLS],
    "blocks of a stream": [{"type": "message_start", "message": {"role": "assistant", "content": []}}, _DELTA],
    "turns in both places": {"request": {"messages": [_TURN]}, "messages": [_TURN], "response": "x"},
}
VALID |= {s.name: s.body for s in SAMPLES if not isinstance(s.body, bytes) and s.turns is not None}


def _steps(body: Any) -> int:
    """How many lines of Python run while the record is parsed."""
    record, count = Record(json.dumps(body).encode(), ORIGIN), 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += 1
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        parse(record, _LIMITS)
    except BadEvent:
        pass
    finally:
        sys.settrace(before)
    return count


def _lists(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, list) and value:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _lists(inner, (*path, key))


def _repeated(value: Any, path: tuple[Any, ...], times: int) -> Any:
    """`value` with the list at `path` that many times as long; what is numbered in it goes on counting."""
    if not path:
        return [_numbered(item, i) for i in range(times) for item in value]
    copy = value.copy()
    copy[path[0]] = _repeated(value[path[0]], path[1:], times)
    return copy


def _numbered(item: Any, number: int) -> Any:
    if not isinstance(item, dict):
        return item
    return {**item, **{key: number for key in ("index", "output_index") if key in item}}


@pytest.mark.parametrize("name", VALID)
def test_steps_grow_with_the_length_of_every_list(name: str) -> None:
    for name_of_format in EVENT_FORMATS.built_in:
        EVENT_FORMATS.load(name_of_format)
    for path in _lists(VALID[name]):
        short, long = (_steps(_repeated(VALID[name], path, times)) for times in (_SHORT, _LONG))
        assert long <= short * (_LONG / _SHORT) * 1.02, path
