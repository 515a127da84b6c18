"""Feed: a thread that stores new alerts as they come, at least once each, and deletes old ones."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from monitor.config.sections import Config
from monitor.errors import LatentwatchError, Permanent, Retryable
from monitor.review.database import reason
from monitor.review.ingest import delete_older, store_alerts
from monitor.sources.kafka import KafkaSource

log = logging.getLogger(__name__)

_IDLE_S = 0.5
_RETRY_S = 2.0
_CLEAN_EVERY_S = 3_600.0
_DAY_US = 24 * 3_600 * 1_000_000
_STOP_S = 15


class Intake(Protocol):
    """Where alerts come from. poll and commit are called by one thread."""

    def poll(self) -> Sequence[bytes]:
        """The next alerts as JSON; none if there are none yet. Raises Retryable, Permanent or OSError."""

    def commit(self) -> None:
        """What the last poll handed out is stored. Raises Retryable."""

    def close(self) -> None:
        """Releases what it holds."""


class TopicIntake:
    """The alert topic, read in a consumer group of its own, so that the sidecar's consumers are not disturbed."""

    def __init__(self, settings: Config, topic: str, group: str) -> None:
        changes = {"topic": topic, "group_id": group, "auto_offset_reset": "earliest", "max_poll_records": 200}
        self._source = KafkaSource(settings.kafka, settings.source.changed(**changes))

    def poll(self) -> Sequence[bytes]:
        # a range that cannot be read has no value, and neither has a tombstone
        values = (getattr(record, "value", None) for record in self._source.poll())
        return [value for value in values if value is not None]

    def commit(self) -> None:
        self._source.commit()

    def close(self) -> None:
        self._source.close()


class Feed:
    """Runs until it is closed. What cannot be stored now is kept and tried again; bad records are counted."""

    def __init__(self, engine: Engine, intake: Intake, keep_days: int) -> None:
        self._engine = engine
        self._intake = intake
        self._keep_days = keep_days
        self._stop = threading.Event()
        self._clean_at = time.monotonic()
        self.trouble = ""
        """Why nothing is being read; empty if all is well."""
        self.bad = 0
        """Records so far that are not alerts that can be stored."""
        self.cleaned = 0
        """How often old alerts were looked for."""
        self._thread = threading.Thread(target=self._run, name="review-feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops after the batch in hand."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        values: Sequence[bytes] = ()
        try:
            while not self._stop.is_set():
                try:
                    values = values or self._intake.poll()
                    if values:
                        self._store(values)
                    self._intake.commit()
                    idle, values = not values, ()
                    self._clean()
                except (Permanent, Retryable, OSError, DBAPIError) as e:
                    if not self._wait_after(e):
                        return
                else:
                    self._recovered()
                    if idle:
                        self._stop.wait(_IDLE_S)
        finally:
            if not self._stop.is_set():
                self.trouble = self.trouble or "an error stopped it; see the log"
            self._intake.close()

    def _store(self, values: Sequence[bytes]) -> None:
        stored = store_alerts(self._engine, values)
        self.bad += stored.bad
        if stored.bad:
            log.warning("%d records are not alerts that can be stored, %d so far", stored.bad, self.bad)
        if stored.new:
            log.debug("%d alerts stored, %d were there already", stored.new, stored.repeated)

    def _clean(self) -> None:
        if time.monotonic() < self._clean_at:
            return
        self._clean_at = time.monotonic() + _CLEAN_EVERY_S
        before_us = time.time_ns() // 1_000 - self._keep_days * _DAY_US
        if deleted := delete_older(self._engine, before_us):
            log.info("deleted %d alerts without a verdict, stored over %d days ago", deleted, self._keep_days)
        self.cleaned += 1

    def _wait_after(self, error: Exception) -> bool:
        """Whether to try again."""
        known = isinstance(error, LatentwatchError)
        said = str(error) if known else reason(error)
        if said != self.trouble:
            log.warning("new alerts are not being read: %s", said)
        self.trouble = said
        if isinstance(error, Permanent):
            return False
        self._stop.wait(max(_RETRY_S, error.retry_after_s if isinstance(error, Retryable) else 0))
        return True

    def _recovered(self) -> None:
        if self.trouble:
            log.info("new alerts are being read again")
            self.trouble = ""
