import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.alerts.allow import Silenced
from monitor.alerts.set_score import SetScore
from monitor.config.drift import DriftConfig
from monitor.config.sections import Config
from monitor.drift.recorder import Interval, Recorder
from monitor.drift.snapshot import SetSnapshot
from monitor.drift.window import read_file
from monitor.drift.writer import SnapshotFile, SnapshotWriter
from monitor.engine import Evaluation
from monitor.errors import Permanent, Retryable
from monitor.sets.load import LoadedSet
from tests.alert_factory import SECRET, make_alert, make_event
from tests.feature_set_factory import make_set

SET = make_set()
LOADED = LoadedSet(Path("set.yaml"), "a" * 64, SET, SET, listed=(SET.features[0].index,))
INDEX = SET.features[0].index


class Clock:
    now_s = 7_200.0

    def __call__(self) -> float:
        return self.now_s


class Recorded:
    """A recorder with a clock, and what it closed."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.closed: list[Interval] = []
        self.config = Config(drift=DriftConfig(path=Path("unused"), **settings))
        self.recorder = Recorder(self.config, [LOADED], self.closed.append, self.clock)

    def snapshots(self) -> list[SetSnapshot]:
        return [snapshot for interval in self.closed for snapshot in interval.snapshots()]


def evaluation(*, fires: bool = False, silenced: bool = False, **changes: Any) -> Evaluation:
    alert = make_alert()
    return Evaluation(
        make_event(**changes),
        (alert.model_copy(update={"set": alert.set.model_copy(update={"id": SET.id})}),) if fires else (),
        tokens=5,
        windows=1,
        fallback=False,
        seconds=0.1,
        scores=(SetScore(SET.id, SET.category, 0.25, (INDEX,), (3.0,)),),
        silenced=(Silenced(SET.id, "entry"),) if silenced else (),
    )


def test_an_interval_ends_with_the_clock_and_holds_what_was_counted() -> None:
    recorded = Recorded()
    recorded.clock.now_s += 600
    recorded.recorder.config_loaded(recorded.config, [LOADED])  # nothing was counted: no snapshot
    recorded.recorder.add([evaluation(), evaluation(fires=True), evaluation(silenced=True)])
    recorded.recorder.tick()
    assert recorded.closed == []
    recorded.clock.now_s = 10_801
    recorded.recorder.tick()
    recorded.recorder.tick()
    (found,) = recorded.snapshots()
    assert (found.start.timestamp(), found.end.timestamp()) == (7_800, 10_800)
    assert (found.events, found.fired, found.model, found.tenant) == (3, 2, "gpt-x", None)
    assert (found.set_id, found.set_sha256) == (SET.id, "a" * 64)
    assert [(f.index, f.active) for f in found.features] == [(INDEX, 3)]


def test_a_changed_set_begins_an_interval_of_its_own() -> None:
    recorded = Recorded()
    recorded.recorder.add([evaluation()])
    recorded.clock.now_s += 10
    recorded.recorder.config_loaded(recorded.config, [replace(LOADED, sha256="b" * 64)])
    recorded.recorder.add([evaluation()])
    recorded.clock.now_s += 10
    recorded.recorder.close()
    assert [s.set_sha256[0] for s in recorded.snapshots()] == ["a", "b"]


def test_groups_are_bounded() -> None:
    recorded = Recorded(max_groups=2)
    recorded.recorder.add([evaluation(attributes={"tenant": f"t{n}"}) for n in range(10)])
    recorded.clock.now_s += 1
    recorded.recorder.close()
    counts = {s.tenant: (s.model, s.events) for s in recorded.snapshots()}
    assert counts == {"t0": ("gpt-x", 1), "t1": ("gpt-x", 1), "other": ("other", 8)}


def test_events_that_no_set_scored_are_not_counted() -> None:
    recorded = Recorded()
    recorded.recorder.add([replace(evaluation(), scores=())])
    recorded.clock.now_s += 1
    recorded.recorder.close()
    assert recorded.closed == []


def test_snapshots_hold_no_text_and_come_back_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "snapshots.jsonl"
    recorded = Recorded()
    writer = SnapshotWriter([SnapshotFile(file)])
    long_name = evaluation(model=f"{SECRET} " * 50, attributes={"tenant": f"{SECRET} " * 50})
    recorded.recorder.add([evaluation(fires=True), long_name])
    recorded.clock.now_s += 1
    recorded.recorder.close()
    writer.put(recorded.closed[0])
    writer.close()
    assert read_file(file) == recorded.snapshots()
    assert SECRET not in file.read_text()
    assert "chat-1" not in file.read_text()


def test_a_restart_removes_the_half_line_of_a_killed_process(tmp_path: Path) -> None:
    file = tmp_path / "snapshots.jsonl"
    recorded = Recorded()
    recorded.recorder.add([evaluation()])
    recorded.clock.now_s += 1
    recorded.recorder.close()
    file.write_text(recorded.snapshots()[0].to_json() + '\n{"schema": "late')
    writer = SnapshotWriter([SnapshotFile(file)])
    writer.put(recorded.closed[0])
    writer.close()
    assert len(read_file(file)) == 2


class Failing:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.written: list[SetSnapshot] = []

    def write(self, snapshots: Sequence[SetSnapshot]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.written += snapshots

    def close(self) -> None:
        pass


def test_what_could_not_be_written_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()
    recorded.recorder.add([evaluation()])
    recorded.clock.now_s += 1
    recorded.recorder.close()
    flaky, broken = Failing(Retryable("down")), Failing(Permanent("too large"))
    with caplog.at_level(logging.WARNING):
        writer = SnapshotWriter([flaky, broken], retry_s=0.01)
        writer.put(recorded.closed[0])
        while broken.errors:
            time.sleep(0.01)
        writer.close()
    assert flaky.written == recorded.snapshots()
    assert broken.written == []
    assert "drift: down; trying again" in caplog.text
    assert "a snapshot is lost: too large" in caplog.text
