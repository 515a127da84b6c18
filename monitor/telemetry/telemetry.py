"""Telemetry: where the runtime reports what it does; metrics always, spans and OTLP if enabled."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar, get_args

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector

from monitor.alerts.alert import Alert
from monitor.alerts.allow import Silenced
from monitor.config.sinks import OtelConfig
from monitor.errors import RefusalKind, RetryableKind
from monitor.events.event import REPAIR_KINDS, UNREAD_PART_KINDS, Event, RepairKind, UnreadPartKind
from monitor.events.unread_range import UnreadKind
from monitor.telemetry import names as names
from monitor.telemetry.metric_exporter import MetricExporter
from monitor.telemetry.otlp import ExportOutcome
from monitor.telemetry.spans import Spans

_log = logging.getLogger(__name__)

_SHUTDOWN_S = 3.0

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Stream:
    """What is being read, for the messaging attributes; `system` is kafka, http or file."""

    topic: str = "llm.events"
    group_id: str = "latentwatch"
    client_id: str = "latentwatch"
    system: str = "kafka"

    def attributes(self) -> dict[str, str]:
        """The attributes of every metric and span about messages."""
        return {
            names.SYSTEM: self.system,
            names.DESTINATION: self.topic,
            names.GROUP: self.group_id,
            names.CLIENT_ID: self.client_id,
        }


def _harmless(method: Callable[P, R]) -> Callable[P, R | None]:
    """Makes `method` log its exceptions and return None: a failure to report must not stop the work."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return method(*args, **kwargs)
        except Exception as e:  # noqa: BLE001
            _log.warning("telemetry: %s failed: %s", method.__name__, type(e).__name__)
            return None

    return call


class Telemetry:
    """Metrics in `registry` always; spans and OTLP metrics if the config enables them.

    No method raises. Only `flush_spans` and `shutdown` block: for config.timeout_s and for three seconds at most.

    Raises ConfigError for a bad endpoint or headers file.
    """

    def __init__(
        self,
        config: OtelConfig,
        version: str,
        model: Mapping[str, str | int],
        stream: Stream | None = None,
    ) -> None:
        """`model` holds resource attributes of the reader, such as names.READER_MODEL."""
        self.config = config
        self.version = version
        self.resource = Resource.create(
            {"service.name": config.service_name, "service.version": version, **model, **config.resource_attributes}
        )
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._stream = (stream or Stream()).attributes()
        self._lag: int | None = None
        self._queue = 0
        self._held: Callable[[], tuple[int, int]] | None = None
        self._cached_tokens: Callable[[], int] = lambda: 0
        self._config_sha256: str | None = None
        self._config_loaded_at = 0.0
        self._config_refused = False
        # nothing is collected for this registry before the first scrape
        readers: list[MetricReader] = [PrometheusMetricReader(registry=self.registry, scope_info_enabled=False)]
        self._spans: Spans | None = None
        if config.enabled:
            self._spans = Spans(config, self.resource, version, self._stream, self._span_outcome)
            exporter = MetricExporter(config, lambda failure: self.export_failed("metrics", failure))
            readers.append(
                PeriodicExportingMetricReader(exporter, config.metrics_interval_s * 1e3, config.timeout_s * 1e3)
            )
        self._meters = MeterProvider(readers, self.resource, shutdown_on_exit=False)
        self._make_instruments()

    def _make_instruments(self) -> None:
        meter = self._meters.get_meter("latentwatch", self.version)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        gauges = {
            names.LAG.name: self._observe_lag,
            names.QUEUE.name: self._observe_queue,
            names.INTAKE_HELD.name: self._observe_held,
            names.INTAKE_HELD_SIZE.name: self._observe_held_size,
            names.CONFIG_INFO.name: self._observe_config,
            names.CONFIG_LOADED.name: self._observe_config_time,
            names.CONFIG_REFUSED.name: self._observe_config_refused,
        }
        for row in names.METRICS:
            if row is names.TOKENS_CACHED:
                meter.create_observable_counter(row.name, [self._observe_cached], row.unit, row.description)
            elif row.kind == "counter":
                self._counters[row.name] = meter.create_counter(row.name, row.unit, row.description)
            elif row.kind == "histogram":
                self._histograms[row.name] = meter.create_histogram(
                    row.name, row.unit, row.description, explicit_bucket_boundaries_advisory=names.SECONDS
                )
            else:
                meter.create_observable_gauge(row.name, [gauges[row.name]], row.unit, row.description)
        # counters start at 0, because a rate needs a point before the first failure
        for signal in ("logs", "traces", "metrics") if self.config.enabled else ():
            self._add(names.EXPORT_FAILURES, 0, {names.SIGNAL: signal})
            self._add(names.EXPORT_DROPPED, 0, {names.SIGNAL: signal})
        for kind in get_args(UnreadKind):
            self._add(names.SOURCE_UNREAD, 0, {names.ERROR_TYPE: kind})
        for outcome in get_args(names.RecordOutcome):
            self._add(names.RECORDS, 0, {names.RECORD_OUTCOME: outcome})
        for kind in get_args(RetryableKind):
            self._add(names.SOURCE_FAILURES, 0, {names.ERROR_TYPE: kind})
        for row in (names.TOKENS, names.CONFIRMED, names.TEMPLATE_FALLBACKS, names.WINDOWS, names.COMMITS):
            self._add(row, 0, {})
        for outcome in ("applied", "unchanged", "refused"):
            self._add(names.RELOADS, 0, {names.RELOAD_OUTCOME: outcome})
        self._count_parts(names.UNREAD_PARTS, dict.fromkeys(UNREAD_PART_KINDS, 0))
        self._count_parts(names.REPAIRED, dict.fromkeys(REPAIR_KINDS, 0))

    # ---- the loop

    @_harmless
    def polled(self, records: int, duration_s: float) -> None:
        """A poll returned."""
        attributes = {**self._stream, names.OPERATION: "poll"}
        self._add(names.CONSUMED, records, attributes)
        self._record(names.OPERATION_DURATION, duration_s, attributes)
        if self._spans is not None:
            self._spans.polled(records, duration_s)

    @_harmless
    def bad_event(self, reason_kind: str) -> None:
        """A record was dead-lettered. `reason_kind` becomes a label, so it comes from a short fixed list."""
        self._add(names.BAD_EVENTS, 1, {names.ERROR_TYPE: reason_kind})

    @_harmless
    def records(self, outcome: names.RecordOutcome, n: int) -> None:
        """Records were committed."""
        self._add(names.RECORDS, n, {names.RECORD_OUTCOME: outcome})

    @_harmless
    def unread(self, kind: UnreadKind, offsets: int) -> None:
        """Records of a range of offsets could not be read; their place was dead-lettered."""
        self._add(names.SOURCE_UNREAD, offsets, {names.ERROR_TYPE: kind})

    @_harmless
    def source_failed(self, kind: RetryableKind) -> None:
        """A poll failed and is tried again."""
        self._add(names.SOURCE_FAILURES, 1, {names.ERROR_TYPE: kind})

    @_harmless
    def template_fallback(self) -> None:
        """The chat template refused a conversation; it was read as plain text, turn after turn."""
        self._add(names.TEMPLATE_FALLBACKS, 1, {})

    @_harmless
    def confirmed(self) -> None:
        """An event came near a threshold, and the float32 reader decided."""
        self._add(names.CONFIRMED, 1, {})

    @_harmless
    def sampled_out(self, rule: str) -> None:
        """An event was not read, because the rule samples."""
        self._add(names.SAMPLED_OUT, 1, {names.RULE: rule})

    @_harmless
    def watch_cache(self, cached_tokens: Callable[[], int]) -> None:
        """`cached_tokens` returns how many tokens the prefix cache has saved so far; called at every collection."""
        self._cached_tokens = cached_tokens

    @_harmless
    def watch_intake(self, held: Callable[[], tuple[int, int]]) -> None:
        """`held` returns how many requests the HTTP intake holds, and their bytes; called at every collection."""
        self._held = held
        self._add(names.INTAKE_ACCEPTED, 0, {})
        for kind in get_args(RefusalKind):
            self._add(names.INTAKE_REFUSED, 0, {names.ERROR_TYPE: kind})

    @_harmless
    def intake_accepted(self) -> None:
        """The HTTP intake accepted a request."""
        self._add(names.INTAKE_ACCEPTED, 1, {})

    @_harmless
    def intake_refused(self, kind: RefusalKind) -> None:
        """The HTTP intake refused a request."""
        self._add(names.INTAKE_REFUSED, 1, {names.ERROR_TYPE: kind})

    @_harmless
    def read(self, tokens: int, windows: int, duration_s: float) -> None:
        """The model read one event."""
        self._add(names.TOKENS, tokens, {})
        self._add(names.WINDOWS, windows, {})
        self._record(names.READ_DURATION, duration_s, {})

    @_harmless
    def processed(
        self,
        event: Event,
        alerts: Sequence[Alert],
        duration_s: float,
        error_type: str | None = None,
        silenced: Sequence[Silenced] = (),
    ) -> str | None:
        """An event was evaluated. Returns the traceparent of its span; None if spans are off.

        Counts the `silenced` alerts, but not the others: see `alert`.
        """
        attributes = {**self._stream, names.OPERATION: "process"}
        if error_type is not None:
            attributes[names.ERROR_TYPE] = error_type
        self._record(names.PROCESS_DURATION, duration_s, attributes)
        self._count_parts(names.UNREAD_PARTS, event.unread)
        self._count_parts(names.REPAIRED, event.repaired)
        for one in silenced:
            self._add(names.ALERTS_SILENCED, 1, {names.SET_ID: one.set_id, names.ALLOWED: one.allowed})
        if self._spans is None:
            return None
        return self._spans.processed(event, alerts, duration_s, error_type, silenced)

    @_harmless
    def alert(self, alert: Alert) -> None:
        """An alert was made."""
        labels = {names.SET_ID: alert.set.id, names.CATEGORY: alert.set.category, names.SEVERITY: alert.severity}
        self._add(names.ALERTS, 1, labels)

    @_harmless
    def feature_active(self, set_id: str, feature_index: int) -> None:
        """A curated feature contributed to an alert."""
        self._add(names.FEATURE_ACTIVE, 1, {names.SET_ID: set_id, names.FEATURE_INDEX: str(feature_index)})

    @_harmless
    def lag(self, n: int | None) -> None:
        """Records that the source has not returned yet; None removes the metric."""
        self._lag = n

    @_harmless
    def queue(self, n: int) -> None:
        """Records polled and not yet committed."""
        self._queue = n

    @_harmless
    def sink_flushed(self, sink: str, alerts: int, duration_s: float) -> None:
        """A sink delivered alerts."""
        self._add(names.SINK_ALERTS, alerts, {names.SINK: sink})
        self._record(names.SINK_DURATION, duration_s, {names.SINK: sink})

    @_harmless
    def sink_failed(self, sink: str) -> None:
        """A sink could not take or flush alerts, or the dead letters their records."""
        self._add(names.SINK_FAILURES, 1, {names.SINK: sink})

    @_harmless
    def sink_dropped(self, sink: str, alerts: int) -> None:
        """A sink will never get these alerts."""
        self._add(names.SINK_DROPPED, alerts, {names.SINK: sink})
        if sink == "otel":
            self.export_dropped("logs", alerts)

    @_harmless
    def sink_opened(self, sink: str) -> None:
        """A destination is in use. Its counters start at 0."""
        for row in (names.SINK_ALERTS, names.SINK_FAILURES, names.SINK_DROPPED):
            self._add(row, 0, {names.SINK: sink})

    @_harmless
    def committed(self) -> None:
        """The offsets of a batch were committed."""
        self._add(names.COMMITS, 1, {})

    @_harmless
    def config_loaded(self, sha256: str) -> None:
        """A configuration is in use."""
        self._config_sha256, self._config_loaded_at = sha256, time.time()

    @_harmless
    def reloaded(self, outcome: str) -> None:
        """A reload ended: applied, unchanged or refused."""
        self._config_refused = outcome == "refused"
        self._add(names.RELOADS, 1, {names.RELOAD_OUTCOME: outcome})

    # ---- exports

    @_harmless
    def export_failed(self, signal: str, failure: str) -> None:
        """An OTLP export of logs, traces or metrics failed."""
        self._add(names.EXPORT_FAILURES, 1, {names.SIGNAL: signal})
        _log.warning("sinks.otel: %s not exported: %s", signal, failure)

    @_harmless
    def export_dropped(self, signal: str, items: int) -> None:
        """Log events or spans were dropped."""
        self._add(names.EXPORT_DROPPED, items, {names.SIGNAL: signal})

    @_harmless
    def flush_spans(self) -> None:
        """Exports the queued spans; does nothing for a while after a failure."""
        if self._spans is not None:
            self._spans.flush()

    @_harmless
    def shutdown(self) -> None:
        """Exports spans and metrics one last time and closes everything; /metrics is empty from then on.

        Takes three seconds at most; what the receiver does not have by then is lost.
        """
        spans, self._spans = self._spans, None
        if spans is None:
            self._meters.shutdown()
            return

        # at the same time and with a limit, because a receiver that is down would hold up the exit twice
        def close_meters() -> None:
            self._meters.shutdown(timeout_millis=_SHUTDOWN_S * 1e3)

        steps = [threading.Thread(target=_harmless(step), daemon=True) for step in (spans.close, close_meters)]
        give_up_at_s = time.monotonic() + _SHUTDOWN_S
        for step in steps:
            step.start()
        for step in steps:
            step.join(max(0.0, give_up_at_s - time.monotonic()))

    def _span_outcome(self, outcome: ExportOutcome, dropped: int) -> None:
        if outcome.failure is not None:
            self.export_failed("traces", outcome.failure)
        if dropped:
            self.export_dropped("traces", dropped)

    # ---- instruments

    def _add(self, row: names.Name, amount: int, attributes: Mapping[str, str]) -> None:
        self._counters[row.name].add(amount, attributes)

    def _count_parts(self, row: names.Name, counts: Mapping[UnreadPartKind, int] | Mapping[RepairKind, int]) -> None:
        for kind, count in counts.items():
            self._add(row, count, {names.PART_KIND: kind})

    def _record(self, row: names.Name, seconds: float, attributes: Mapping[str, str]) -> None:
        self._histograms[row.name].record(seconds, attributes)

    def _observe_lag(self, _: CallbackOptions) -> Iterable[Observation]:
        return [] if self._lag is None else [Observation(self._lag)]

    def _observe_cached(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._cached_tokens())]

    def _observe_queue(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._queue)]

    def _observe_held(self, _: CallbackOptions) -> Iterable[Observation]:
        return [] if self._held is None else [Observation(self._held()[0])]

    def _observe_held_size(self, _: CallbackOptions) -> Iterable[Observation]:
        return [] if self._held is None else [Observation(self._held()[1])]

    def _observe_config(self, _: CallbackOptions) -> Iterable[Observation]:
        # observed, not set: a gauge that was set would show the old hash forever
        return [] if self._config_sha256 is None else [Observation(1, {names.CONFIG_SHA256: self._config_sha256})]

    def _observe_config_time(self, _: CallbackOptions) -> Iterable[Observation]:
        return [] if self._config_sha256 is None else [Observation(self._config_loaded_at)]

    def _observe_config_refused(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(int(self._config_refused))]
