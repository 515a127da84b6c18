"""The workloads have the lengths that their names promise, and are the same in every run."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.bench.sizes import BATCH, FULL, QUICK
from monitor.bench.workloads import SYSTEM_PROMPT, make_workloads, short_chats, wire
from monitor.events.event import Message, Origin, Record
from monitor.events.parse import parse
from tests.reader_model import ReaderModel, event


@pytest.mark.model
@pytest.mark.parametrize("sizes", [QUICK, FULL], ids=["quick", "full"])
def test_lengths_in_tokens(reader_model: ReaderModel, sizes: object) -> None:
    workloads = {w.name: w for w in make_workloads(["short", "long", "multi_turn"], sizes)}  # type: ignore[arg-type]
    tokens = {
        name: np.array([item.ids.size for item in reader_model.tokeniser.tokenise(workload.events)])
        for name, workload in workloads.items()
    }
    assert tokens["short"].mean() == pytest.approx(120, rel=0.15)
    assert tokens["long"].mean() == pytest.approx(1_000, rel=0.15)
    # turn by turn, every conversation grows
    turns = tokens["multi_turn"].reshape(sizes.turns, sizes.conversations)  # type: ignore[attr-defined]
    assert (np.diff(turns, axis=0) > 0).all()
    assert max(t.max() for t in tokens.values()) <= 2_048
    (prompt,) = reader_model.tokeniser.tokenise([event("", "", system=SYSTEM_PROMPT)])
    assert prompt.ids.size == pytest.approx(410, rel=0.1)


def test_every_turn_holds_the_whole_history() -> None:
    events = make_workloads(["multi_turn"], QUICK)[0].events
    first, second = events[0], events[QUICK.conversations]
    assert second.messages[: len(first.messages)] == first.messages
    assert second.messages[len(first.messages)] == Message("assistant", first.response)
    assert {e.messages[0] for e in events} == {Message("system", SYSTEM_PROMPT)}


def test_workloads_are_the_same_every_time_and_share_no_text() -> None:
    assert make_workloads(["short"], QUICK) == make_workloads(["short", "long"], QUICK)[:1]
    texts = [e.response for name in ("pipeline-0", "pipeline-1") for e in short_chats(64, name)]
    assert len(set(texts)) == len(texts)


def test_a_sample_has_whole_batches_around_the_middle() -> None:
    (workload,) = make_workloads(["multi_turn"], FULL)
    assert FULL.conversations == BATCH
    sampled = [e.id for e in workload.sample(2)]
    assert sampled == [f"multi_turn-{n}-{turn}" for turn in (1, 4) for n in range(BATCH)]
    assert workload.sample(99) == workload.events
    assert workload.spread(3) == tuple(workload.events[n] for n in (0, 16, 32))


def test_events_on_the_wire_are_read_back() -> None:
    (sent,) = short_chats(1, "wire")
    (read,) = parse(Record(wire(sent), Origin("bench", 0, 0)))
    assert (read.id, read.messages, read.response) == (sent.id, sent.messages, sent.response)
