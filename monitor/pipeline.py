"""Pipeline: the loop from source to sinks."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from monitor.alerts.alert import Alert
from monitor.engine import Engine, Evaluation
from monitor.errors import BadEvent, Permanent, Retryable, Rewound
from monitor.events.envelopes.confluent import Decoder, Schemas, schema_ids
from monitor.events.event import Event, EventLimits, Origin, Record
from monitor.events.event_format import EventFormat
from monitor.events.faults import Faults
from monitor.events.parse import Parsed, parse_records
from monitor.events.unread_range import UnreadRange
from monitor.sinks.batch import Batch
from monitor.sinks.optional import OptionalSink
from monitor.sinks.sink import DeadLetters, Sink, Skipped
from monitor.sinks.status import SinkStatus
from monitor.sources.overload import OVERLOAD, Overload
from monitor.sources.source import Source
from monitor.telemetry.health import Health
from monitor.telemetry.names import RecordOutcome
from monitor.telemetry.spans import Reading
from monitor.telemetry.telemetry import Telemetry

log = logging.getLogger(__name__)

# With this many unreadable events in a row, the fault is not in the events
_BROKEN_AFTER = 10
_LONGEST_BACKOFF_S = 2.0  # work goes on within seconds of a broker's return
_LONGEST_PAUSE_S = 30.0  # if a destination asks for it
_DOUBLINGS = 10  # the longest pause is reached earlier, and a float overflows after a thousand
_LOGGED_ATTEMPTS = 4
_LOGGED_EVERY = 15  # of the attempts after them, about one a minute


@dataclass
class Totals:
    """What a run has done so far."""

    records: int = 0
    events: int = 0
    bad: int = 0
    """Records that were dead-lettered."""
    partly: int = 0
    """Those of them that were judged as well, apart from what is bad in them."""
    empty: int = 0
    """Records with nothing to judge, such as batches of other services' spans."""
    unread: int = 0
    """Offsets whose records could not be read."""
    alerts: int = 0
    tokens: int = 0
    silenced: int = 0
    """Alerts that the allow-list kept back."""
    abstained: int = 0
    """Segments that a set did not score because of their language, counted for each set."""
    sampled_out: int = 0
    """Events that a rule chose not to read; they are among `events`."""


@dataclass(frozen=True)
class Delivery:
    """How events are parsed and where results go."""

    sinks: Sequence[Sink]
    dead_letters: DeadLetters
    limits: EventLimits
    wire_format: str | EventFormat
    schemas: Schemas | None = None
    """Decodes records in a schema registry's frame; None: only JSON is read there."""
    together: Sequence[Sink | DeadLetters | Skipped] = ()
    """Those of them that deliver in the transaction in which the source commits."""
    overload: Overload | None = None
    """Decides what is skipped when too much waits; None: nothing is."""
    skipped: Skipped | None = None
    """Where the places of skipped records go, so that they can be read later."""


class Pipeline:
    """Polls, parses, evaluates, delivers and commits, in this order, for each batch of records.

    The commit comes last, after sinks and dead letters have flushed. So a process that dies at any point has committed
    only what is delivered, and the next process reads the rest again. No alert is lost; one may be delivered twice,
    always with the same id. In a transaction, what is delivered counts only with the commit, so none is doubled.
    """

    def __init__(
        self,
        source: Source,
        engine: Engine,
        delivery: Delivery,
        telemetry: Telemetry,
        health: Health,
        stop: threading.Event,
        on_batch: Callable[[Totals], None] = lambda _: None,
        between_batches: Callable[[], None] = lambda: None,
        on_evaluated: Callable[[Sequence[Evaluation]], None] = lambda _: None,
    ) -> None:
        """`stop` ends the loop after the current batch; `on_batch` is called after every commit.

        `between_batches` is called before each poll; it may change what the engine evaluates with. `on_evaluated` is
        called with all evaluations of a batch, also those without alerts, before it is delivered.
        """
        self._source = source
        self._engine = engine
        self._delivery = delivery
        self._telemetry = telemetry
        self._health = health
        self._status = SinkStatus(telemetry, health)
        self._stop = stop
        self._on_batch = on_batch
        self._between_batches = between_batches
        self._on_evaluated = on_evaluated
        self._unreadable = 0
        self._not_ready = ""
        self.totals = Totals()
        telemetry.watch_source(source.positions)

    def run(self) -> Totals:
        """Runs until the source is exhausted or `stop` is set. Raises Permanent if going on is pointless."""
        if not self._source.unready:  # else the first poll finds out
            self._report_readiness()
        while not self._stop.is_set() and not self._source.exhausted:
            self._between_batches()
            polled = self._poll()
            records = [item for item in polled if isinstance(item, Record)]
            self._report_readiness()  # before the first batch, which may take a minute
            if polled:
                self._process_batch(records, [item for item in polled if isinstance(item, UnreadRange)])
            else:
                # what has no records for us, such as the end of a transaction, is committed too
                self._commit()
                for sink in self._delivery.sinks:
                    if isinstance(sink, OptionalSink):  # the trace of the last batch ended with its commit
                        sink.flush()
            self._health.progress()
        return self.totals

    def _poll(self) -> Sequence[Record | UnreadRange]:
        started = time.perf_counter()
        try:
            polled = self._source.poll()
        except Retryable as e:
            self._telemetry.polled(0, time.perf_counter() - started, e.kind)
            self._pause(e, 0)
            return ()
        records = sum(isinstance(item, Record) for item in polled)
        self._telemetry.polled(records, time.perf_counter() - started)
        return polled

    def _report_readiness(self) -> None:
        reason = self._source.unready
        self._health.set_ready("consumer", not reason, reason)
        if reason != self._not_ready:
            self._not_ready = reason
            log.log(logging.WARNING if reason else logging.INFO, "consumer: %s", reason or "ready")

    def _process_batch(self, records: Sequence[Record], unread: Sequence[UnreadRange]) -> None:
        self._telemetry.queue(len(records))
        parsed = self._parse(records)
        if parsed is None:
            return  # stopped while the schema registry was down: nothing is committed, all is read again
        faults = dict(parsed.faults)
        chosen, skipped = self._divided(records, parsed.events)
        evaluations = [*self._evaluate(chosen, faults), *map(_not_read, skipped)]
        self._on_evaluated(evaluations)
        alerts = [alert for evaluation in evaluations for alert in self._record_telemetry(evaluation)]
        judged = {origin for e in evaluations if not e.sampled_out for origin in e.event.origins}
        sampled = {origin for e in evaluations if e.sampled_out for origin in e.event.origins}
        bad = [(r, faults[r.origin].as_one(r.origin in judged)) for r in records if r.origin in faults]
        letters = [*bad, *(item.dead_letter() for item in unread)]
        self._note_failures(records, unread)
        to = self._delivery
        batch = Batch(to.sinks, to.dead_letters, alerts, letters, self._status, to.together)
        if to.skipped is not None and to.overload is not None and skipped:
            places = [origin for event in skipped for origin in event.origins]
            batch.skip(to.skipped, places, to.overload.reason, to.overload.sampling)
        if not self._retry(batch.deliver, batch.reset):
            return  # stopped while a destination was down: nothing is committed, all is read again
        started = time.perf_counter()
        if not self._commit():
            return
        seconds, now_s = time.perf_counter() - started, time.time()
        self._count(evaluations, bad, unread)
        ages_s = [max(0.0, now_s - r.time_ms / 1000) for r in records if r.time_ms is not None]
        self._telemetry.committed(len(records), seconds, ages_s)
        at = [r.origin for r in records]
        self._count_records(Counter(_outcome(o in judged, o in faults, o in sampled) for o in at))
        self._on_batch(self.totals)

    def _parse(self, records: Sequence[Record]) -> Parsed | None:
        """The events in `records`; None if stopped while the schema registry is down."""
        schemas, decoders = self._delivery.schemas, dict[int, Decoder]()
        ids = schema_ids(records) if schemas is not None else ()
        if schemas is not None and ids and not self._retry(lambda: decoders.update(schemas.decoders(ids))):
            return None
        return parse_records(records, self._delivery.limits, self._delivery.wire_format, decoders)

    def _divided(self, records: Sequence[Record], events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
        """The events that are read, and those that are skipped because too much waits."""
        overload = self._delivery.overload
        if overload is None:
            return list(events), []
        lags = [position.lag or 0 for position in self._source.positions() or ()]
        times_ms = [record.time_ms for record in records if record.time_ms is not None]
        overload.update(sum(lags), time.time() - min(times_ms) / 1000 if times_ms else None)
        reason = f"{overload.reason}; reading {overload.sampling:g} of the events" if overload.reason else ""
        self._health.set_warning("overload", reason)
        chosen = overload.chosen(events)
        return (
            [event for place, event in enumerate(events) if place in chosen],
            [event for place, event in enumerate(events) if place not in chosen],
        )

    def _evaluate(self, events: Sequence[Event], faults: dict[Origin, Faults]) -> list[Evaluation]:
        try:
            done = list(self._engine.evaluate(events, self._between_groups))
            self._unreadable = 0 if done else self._unreadable
        except BadEvent:
            pass  # the loop below finds out which event it is
        except Exception:
            log.exception("a batch of %d events could not be read; trying them one by one", len(events))
        else:
            return done
        done = []
        for event in events:
            started = time.perf_counter()
            try:
                done += self._engine.evaluate([event], self._between_groups)
                self._unreadable = 0
            except BadEvent as e:
                _add_fault(faults, event, e)
                self._telemetry.processed(event, (), time.perf_counter() - started, e.kind)
            except Exception as e:
                log.exception("event at %s could not be read", event.origin)
                self._unreadable += 1
                if self._unreadable >= _BROKEN_AFTER:
                    raise Permanent(f"the reader failed on {self._unreadable} events in a row: {e}") from e
                _add_fault(faults, event, BadEvent(f"{type(e).__name__}: {e}", kind="unreadable"))
                self._telemetry.processed(event, (), time.perf_counter() - started, "unreadable")
        return done

    def _between_groups(self) -> None:
        self._source.keep_alive()
        self._health.progress()

    def _note_failures(self, records: Sequence[Record], unread: Sequence[UnreadRange]) -> None:
        """Readiness tells of data that cannot be read, and of a reader that fails, until something goes well again."""
        undecodable = f"not read: {unread[-1]}" if unread and not records else ""
        self._health.set_ready("records", not undecodable, undecodable)
        failing = f"the reader failed on the last {self._unreadable} events" if self._unreadable else ""
        self._health.set_ready("reader", not failing, failing)

    def _retry(self, step: Callable[[], None], before_retry: Callable[[], None] = lambda: None) -> bool:
        """Repeats `step` with growing pauses while it raises Retryable. Returns False if stopped before it succeeds."""
        attempt = 0
        while True:
            try:
                step()
            except Retryable as e:
                if not self._pause(e, attempt):
                    return False
                attempt += 1
            else:
                if attempt:
                    log.info("recovered (failed attempts: %d)", attempt)
                return True
            try:
                before_retry()
            except Retryable as e:
                log.warning("still down: %s", e)

    def _commit(self) -> bool:
        """Returns False if stopped before it succeeded, or if all is read again."""
        try:
            return self._retry(self._source.commit)
        except Rewound as e:
            log.warning("transaction not committed, its records are read again: %s", e)
            return False

    def _pause(self, error: Retryable, attempt: int) -> bool:
        """Waits before the next attempt and stays in the consumer group. Returns False if stopped meanwhile."""
        backoff_s = min(0.5 * 2 ** min(attempt, _DOUBLINGS), _LONGEST_BACKOFF_S)
        pause_s = min(max(error.retry_after_s, backoff_s), _LONGEST_PAUSE_S)
        if attempt < _LOGGED_ATTEMPTS or attempt % _LOGGED_EVERY == 0:
            log.warning("%s; trying again in %.1f s", error, pause_s)
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0:
            if self._stop.wait(min(left, 1.0)):
                return False
            try:
                self._source.keep_alive()
            except Retryable as e:
                log.debug("the source fails as well: %s", e)
            self._report_readiness()
            self._health.progress()
        return not self._stop.is_set()

    def _record_telemetry(self, evaluation: Evaluation) -> list[Alert]:
        """Records metrics and spans of one event. Returns its alerts with the span that they belong to."""
        telemetry = self._telemetry
        if evaluation.sampled_out:
            telemetry.sampled_out(evaluation.sampled_out)
            return []
        traceparent = telemetry.processed(
            evaluation.event,
            evaluation.alerts,
            evaluation.seconds,
            silenced=evaluation.silenced,
            chosen=evaluation.attributes,
            reading=Reading(
                evaluation.tokens, evaluation.windows, evaluation.read_seconds, confirmed=evaluation.confirmed
            ),
            scores=evaluation.scores,
            abstentions=evaluation.abstentions,
        )
        if evaluation.fallback:
            telemetry.template_fallback()
        for alert in evaluation.alerts:
            telemetry.alert(alert)
        return [alert.within(traceparent) for alert in evaluation.alerts]

    def _count(
        self,
        evaluations: Sequence[Evaluation],
        bad: Sequence[tuple[Record, BadEvent]],
        unread: Sequence[UnreadRange],
    ) -> None:
        self._telemetry.queue(0)
        for _, error in bad:
            self._telemetry.bad_event(error.kind)
        for item in unread:
            self._telemetry.unread(item.kind, item.offsets)
            self.totals.unread += item.offsets
        self.totals.events += len(evaluations)
        self.totals.silenced += sum(len(e.silenced) for e in evaluations)
        self.totals.abstained += sum(len(e.abstentions) for e in evaluations)
        self.totals.sampled_out += sum(bool(e.sampled_out) for e in evaluations)
        self.totals.tokens += sum(e.tokens for e in evaluations)
        self.totals.alerts += sum(len(e.alerts) for e in evaluations)

    def _count_records(self, outcomes: Mapping[RecordOutcome, int]) -> None:
        """Each record counts under one outcome, so that their sum and the unread offsets are all that was consumed."""
        for outcome, records in outcomes.items():
            self._telemetry.records(outcome, records)
            self.totals.records += records
        partly = outcomes.get("partly_judged", 0)
        self.totals.partly += partly
        self.totals.bad += outcomes.get("dead_lettered", 0) + partly
        self.totals.empty += outcomes.get("nothing_to_judge", 0)


def _not_read(event: Event) -> Evaluation:
    return Evaluation(event, (), tokens=0, windows=0, fallback=False, seconds=0, sampled_out=OVERLOAD)


def _outcome(judged: bool, bad: bool, sampled_out: bool) -> RecordOutcome:
    if bad:
        return "partly_judged" if judged else "dead_lettered"
    if judged:
        return "judged"
    return "sampled_out" if sampled_out else "nothing_to_judge"


def _add_fault(faults: dict[Origin, Faults], event: Event, fault: BadEvent) -> None:
    for origin in event.origins:
        faults.setdefault(origin, Faults()).add(fault)
