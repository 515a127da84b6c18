"""SnapshotWriter: writes closed intervals to a file or a topic, in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from monitor.config.sections import Config
from monitor.drift.recorder import Interval
from monitor.drift.snapshot import SCHEMA, SetSnapshot
from monitor.errors import LatentwatchError, Retryable
from monitor.sinks.jsonl import LineFile, remove_unfinished_line

if TYPE_CHECKING:
    from monitor.kafka.producer import Outgoing

log = logging.getLogger(__name__)

_WAITING = 4
"""Most intervals that wait for a destination that is down."""
_RETRY_S = 5.0
_SHUTDOWN_S = 5.0


class Destination(Protocol):
    """Where snapshots go."""

    def write(self, snapshots: Sequence[SetSnapshot]) -> None:
        """Returns when all are delivered. Raises Retryable or Permanent if not; some may be delivered even then."""

    def close(self) -> None:
        """Frees everything."""


class SnapshotFile:
    """Appends lines. A half line that a killed process left is removed at the start."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if the file cannot be written."""
        self._lines = LineFile(path, True, "drift.path")
        if path.is_file():
            remove_unfinished_line(path)

    def write(self, snapshots: Sequence[SetSnapshot]) -> None:
        self._lines.reset()
        for snapshot in snapshots:
            self._lines.append(snapshot.to_json())
        self._lines.flush()

    def close(self) -> None:
        self._lines.close()


class SnapshotTopic:
    """Produces one record for each line, with the set's id as its key and the header latentwatch-schema."""

    def __init__(self, config: Config, topic: str) -> None:
        from monitor.kafka.producer import Producer

        self._topic = topic
        self._producer = Producer(config.kafka)

    def write(self, snapshots: Sequence[SetSnapshot]) -> None:
        try:
            for snapshot in snapshots:
                self._producer.send(self._outgoing(snapshot))
            self._producer.flush()
        except LatentwatchError:
            self._producer.reset()
            raise

    def close(self) -> None:
        self._producer.close()

    def _outgoing(self, snapshot: SetSnapshot) -> Outgoing:
        from monitor.kafka.producer import Outgoing

        value, headers = snapshot.to_json().encode(), (("latentwatch-schema", SCHEMA.encode()),)
        return Outgoing(self._topic, value, lambda: None, snapshot.set_id.encode(), headers)


def open_destinations(config: Config) -> list[Destination]:
    """Those of the config. Raises ConfigError if a file cannot be written."""
    found: list[Destination] = []
    if config.drift.path is not None:
        found.append(SnapshotFile(config.drift.path))
    if config.drift.topic is not None:
        found.append(SnapshotTopic(config, config.drift.topic))
    return found


class SnapshotWriter:
    """Keeps a destination that is slow or down away from the loop.

    An interval that cannot be delivered is tried again. If too many wait, new ones are dropped, and the log says so.
    """

    def __init__(self, destinations: Sequence[Destination], retry_s: float = _RETRY_S) -> None:
        self._destinations = destinations
        self._retry_s = retry_s
        self._waiting: queue.Queue[Interval | None] = queue.Queue(_WAITING + 1)  # and the mark of the end
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def put(self, interval: Interval) -> None:
        """Takes an interval; never waits."""
        if self._waiting.qsize() >= _WAITING:
            log.warning("drift: the snapshot of %s is dropped, because %d others wait", interval.start, _WAITING)
        else:
            self._waiting.put_nowait(interval)

    def close(self) -> None:
        """Delivers what waits, with one attempt and for five seconds at most."""
        self._closing.set()
        self._waiting.put_nowait(None)
        self._thread.join(_SHUTDOWN_S)
        if self._thread.is_alive():
            log.warning("drift: the last snapshot may not be delivered")
            return
        for destination in self._destinations:
            destination.close()

    def _run(self) -> None:
        while (interval := self._waiting.get()) is not None:
            try:
                snapshots = list(interval.snapshots())
                for destination in self._destinations:
                    self._deliver(destination, snapshots)
            except Exception:
                log.exception("drift: the snapshot of %s is lost", interval.start)

    def _deliver(self, destination: Destination, snapshots: Sequence[SetSnapshot]) -> None:
        while True:
            try:
                destination.write(snapshots)
            except Retryable as e:
                if self._closing.is_set():
                    log.warning("drift: the last snapshot is lost: %s", e)
                    return
                log.warning("drift: %s; trying again in %g s", e, self._retry_s)
                self._closing.wait(self._retry_s)
            except LatentwatchError as e:
                log.error("drift: a snapshot is lost: %s", e)
                return
            else:
                return
