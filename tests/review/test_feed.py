"""Feed: alerts of a growing file and of a topic are stored, at least once each, whatever fails in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor.config.sections import Config, KafkaConfig, SourceConfig
from monitor.errors import ConfigError, Permanent, Retryable
from monitor.review.feed import Feed, TopicIntake
from monitor.review.filters import Filters
from monitor.review.growing_file import GrowingFile
from monitor.review.listing import count
from tests.brokers import AnyBroker
from tests.review.stored_alerts import numbered, store
from tests.topics import fill, new_topic


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.02)


def line(n: int) -> bytes:
    return numbered(n).to_json().encode() + b"\n"


def test_a_growing_file_is_read_on_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b"one\n\ntwo\nthr")
    file = GrowingFile(path)
    assert file.poll() == [b"one\n", b"two\n"]
    assert file.poll() == [b"one\n", b"two\n"]  # not committed
    file.commit()
    assert file.poll() == []
    with path.open("ab") as more:
        more.write(b"ee\n")
    assert file.poll() == [b"three\n"]
    file.commit()
    path.write_bytes(b"new\n")
    assert file.poll() == [b"new\n"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        GrowingFile(tmp_path / "alerts.jsonl")


def test_a_file_is_stored_as_it_grows(sqlite: Engine, tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(line(1) + b"nonsense\n" + line(2))
    feed = Feed(sqlite, GrowingFile(path), keep_days=90)
    try:
        wait_for(lambda: count(sqlite, Filters()) == 2)
        with path.open("ab") as more:
            more.write(line(3))
        wait_for(lambda: count(sqlite, Filters()) == 3)
        assert feed.bad == 1
    finally:
        feed.close()


class Troubled:
    """An intake that fails before and after it hands out one alert."""

    def __init__(self) -> None:
        self.polled = self.committed = 0
        self.closed = False

    def poll(self) -> Sequence[bytes]:
        self.polled += 1
        if self.polled == 1:
            raise Retryable("no broker answers", retry_after_s=0)
        if self.polled > 3:
            raise Permanent("not authorised")
        return [line(1)] if self.polled == 2 else []

    def commit(self) -> None:
        self.committed += 1
        if self.committed == 1:
            raise Retryable("the broker went down")

    def close(self) -> None:
        self.closed = True


def test_trouble_passes_or_is_told(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.review.feed._RETRY_S", 0.01)
    intake = Troubled()
    feed = Feed(sqlite, intake, keep_days=90)
    wait_for(lambda: intake.closed)
    assert feed.trouble == "not authorised"
    assert count(sqlite, Filters()) == 1
    assert intake.committed == 3  # the batch again, and the empty one
    feed.close()


class Broken(Troubled):
    """An intake with a bug."""

    def poll(self) -> Sequence[bytes]:
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_told_on_the_page_too(sqlite: Engine) -> None:
    intake = Broken()
    feed = Feed(sqlite, intake, keep_days=90)
    wait_for(lambda: intake.closed)
    assert feed.trouble == "an error stopped it; see the log"


def test_old_alerts_are_deleted_when_it_starts(sqlite: Engine, tmp_path: Path) -> None:
    store(sqlite, [numbered(1)], now_us=1_000)
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b"")
    feed = Feed(sqlite, GrowingFile(path), keep_days=1)
    try:
        wait_for(lambda: feed.cleaned)
        assert count(sqlite, Filters()) == 0
    finally:
        feed.close()


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_a_topic_is_read_in_its_own_group_and_again_after_a_crash(embedded_broker: AnyBroker, sqlite: Engine) -> None:
    topic = new_topic(embedded_broker)
    fill(embedded_broker, topic, [line(n) for n in range(5)])
    settings = Config(
        kafka=KafkaConfig(bootstrap_servers=embedded_broker.bootstrap_servers),
        source=SourceConfig(session_timeout_ms=4_000, heartbeat_interval_ms=300, poll_timeout_ms=200),
    )
    # one that read and never committed
    crashed = TopicIntake(settings, topic, "review")
    wait_for(crashed.poll)
    crashed.close()
    feed = Feed(sqlite, TopicIntake(settings, topic, "review"), keep_days=90)
    try:
        wait_for(lambda: count(sqlite, Filters()) == 5)
        fill(embedded_broker, topic, [line(9), b"nonsense"])
        wait_for(lambda: count(sqlite, Filters()) == 6)
        assert feed.trouble == ""
    finally:
        feed.close()
