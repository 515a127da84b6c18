"""Engine: an event much longer than a group is read in parts, and all of it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.activations.reader import Chunk
from monitor.activations.tokens import Tokenised
from monitor.activations.windows import WindowPlanner
from monitor.config import AlertsConfig
from monitor.engine import Engine
from monitor.errors import BadEvent
from monitor.events import Event
from tests.alert_factory import make_event


class CountingReader:
    """One feature: the token's own number."""

    max_tokens = None
    cached_tokens = 0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        self.calls.append(sum(chunk.tokens.size for chunk in chunks))
        return [chunk.tokens[:, None].astype(np.float32) for chunk in chunks]

    def remember(self, tokens: NDArray[np.int32]) -> Any:
        raise AssertionError("there is no constant start")


class NumberTokeniser:
    """An event's id says how many tokens it has."""

    def tokenise(self, events: Sequence[Event]) -> list[Tokenised]:
        return [_tokenised(event, int(event.id)) for event in events]


def _tokenised(event: Event, count: int) -> Tokenised:
    numbers = np.arange(count, dtype=np.int32)
    return Tokenised(event, numbers, numbers, numbers + 1, (), (), fallback=False)


@pytest.mark.parametrize(("sizes", "parts"), [([10], 1), ([1_000], 10), ([10, 1_000, 10], 12), ([50, 50, 50], 2)])
def test_no_part_is_larger_than_a_group_and_each_is_told(sizes: list[int], parts: int) -> None:
    reader = CountingReader()
    planner = WindowPlanner(reader, [], window_tokens=100, overlap_tokens=0)
    engine = Engine([], cast(Any, NumberTokeniser()), planner, reader, [0], AlertsConfig(), "0", group_tokens=100)
    told: list[None] = []
    done = list(engine.evaluate([make_event(str(n)) for n in sizes], lambda: told.append(None)))
    assert [e.tokens for e in done] == sizes
    assert len(reader.calls) == len(told) == parts
    assert max(reader.calls) <= 100
    assert sum(reader.calls) == sum(sizes)


def test_an_event_of_too_many_tokens_is_refused_before_anything_is_read() -> None:
    reader = CountingReader()
    planner = WindowPlanner(reader, [], window_tokens=100, overlap_tokens=0)
    engine = Engine([], cast(Any, NumberTokeniser()), planner, reader, [0], AlertsConfig(), "0", max_tokens=99)
    assert len(list(engine.evaluate([make_event("99")]))) == 1
    reader.calls.clear()
    with pytest.raises(BadEvent, match=r"100 tokens, over events\.max_tokens = 99") as raised:
        list(engine.evaluate([make_event("5"), make_event("100")]))
    assert raised.value.kind == "size"
    assert reader.calls == []


def test_a_long_event_keeps_the_order_of_its_tokens() -> None:
    reader = CountingReader()
    planner = WindowPlanner(reader, [], window_tokens=64, overlap_tokens=16)
    engine = Engine([], cast(Any, NumberTokeniser()), planner, reader, [0], AlertsConfig(), "0", group_tokens=100)
    ((values,), (windows,)) = engine._read([_tokenised(make_event(), 1_000)], planner, reader, lambda: None)
    assert values[:, 0].tolist() == list(range(1_000))
    assert windows > 10
