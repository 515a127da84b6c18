"""Telemetry: where the runtime reports what it does; metrics always, spans and OTLP if enabled."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ParamSpec, TypeVar, get_args

from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector

from monitor.alerts.abstention import Abstention
from monitor.alerts.alert import Alert
from monitor.alerts.allow import Silenced
from monitor.alerts.set_score import SetScore
from monitor.config.sections import Config
from monitor.config.sinks import OtelConfig
from monitor.errors import BadEventKind, RefusalKind, RetryableKind
from monitor.events.event import Event, RepairKind, UnreadPartKind
from monitor.events.position import Position
from monitor.events.unread_range import UnreadKind
from monitor.sets.load import LoadedSet
from monitor.telemetry import names as names
from monitor.telemetry.gauges import Gauges
from monitor.telemetry.label_values import LabelValues
from monitor.telemetry.metric_exporter import MetricExporter
from monitor.telemetry.otlp import ExportOutcome
from monitor.telemetry.spans import Reading, Spans, remote_context
from monitor.telemetry.zero_series import alert_series, common_series, configured_series

_log = logging.getLogger(__name__)
_SHUTDOWN_S = 2.0

P = ParamSpec("P")
R = TypeVar("R")
NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Stream:
    """What is being read, for the messaging attributes; `system` is kafka, http or file."""

    topic: str = "llm.events"
    group_id: str = "latentwatch"
    client_id: str = "latentwatch"
    system: str = "kafka"
    server: str = ""
    """The first host:port of the brokers; empty without Kafka."""

    def attributes(self) -> dict[str, str | int]:
        """The attributes of every metric and span about messages."""
        host, _, port = self.server.rpartition(":")
        return {
            names.SYSTEM: self.system,
            names.DESTINATION: self.topic,
            names.GROUP: self.group_id,
            names.CLIENT_ID: self.client_id,
            **({names.SERVER_ADDRESS: host.strip("[]"), names.SERVER_PORT: int(port)} if port.isdecimal() else {}),
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

    No method raises. Only `flush_spans` and `shutdown` block: for config.timeout_s and for two seconds at most.

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
        self._gauges = Gauges(model)
        self._alert_series: list[Mapping[str, str]] = []
        self._feature_metrics = True
        self._attributes = LabelValues(self._start_alerts)
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
        meter = self._meters.get_meter("latentwatch", self.version, names.SCHEMA_URL)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        observed = self._gauges.callbacks()
        for row in names.METRICS:
            if row.name in observed:
                create = meter.create_observable_counter if row.kind == "counter" else meter.create_observable_gauge
                create(row.name, [observed[row.name]], row.unit, row.description)
            elif row.kind == "counter":
                self._counters[row.name] = meter.create_counter(row.name, row.unit, row.description)
            else:
                self._histograms[row.name] = meter.create_histogram(
                    row.name, row.unit, row.description, explicit_bucket_boundaries_advisory=row.buckets
                )
        for row, attributes in common_series():
            self._add(row, 0, attributes)
        for signal in ("logs", "traces", "metrics") if self.config.enabled else ():
            self._add(names.EXPORT_FAILURES, 0, {names.SIGNAL: signal})
            self._add(names.EXPORT_DROPPED, 0, {names.SIGNAL: signal})

    # ---- the loop

    @_harmless
    def polled(self, records: int, duration_s: float, error_type: RetryableKind | None = None) -> None:
        """A poll returned, or failed for a reason of this kind."""
        attributes = {**self._stream, names.OPERATION: "poll"}
        self._add(names.CONSUMED, records, attributes)
        if records:
            self._gauges.happened(names.LAST_EVENT)
        if error_type is not None:
            attributes[names.ERROR_TYPE] = error_type
            self._add(names.SOURCE_FAILURES, 1, {names.ERROR_TYPE: error_type})
        self._record(names.OPERATION_DURATION, duration_s, attributes)
        if self._spans is not None:
            self._spans.polled(records, duration_s)

    @_harmless
    def bad_event(self, reason_kind: BadEventKind) -> None:
        """A record was dead-lettered."""
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
    def template_fallback(self) -> None:
        """The chat template refused a conversation; it was read as plain text, turn after turn."""
        self._add(names.TEMPLATE_FALLBACKS, 1, {})

    @_harmless
    def sampled_out(self, rule: str) -> None:
        """An event was not read, because the rule samples."""
        self._add(names.SAMPLED_OUT, 1, {names.RULE: rule})

    @_harmless
    def watch_cache(self, cached_tokens: Callable[[], int]) -> None:
        """`cached_tokens` returns how many tokens the prefix cache has saved so far; called at every collection."""
        self._gauges.cached_tokens = cached_tokens

    @_harmless
    def watch_source(self, positions: Callable[[], Sequence[Position] | None]) -> None:
        """`positions` is that of a Source; called at every collection, in a thread of its own."""
        self._gauges.positions = positions

    @_harmless
    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """`ready` returns whether /readyz succeeds; called at every collection."""
        self._gauges.ready = ready

    @_harmless
    def watch_intake(self, held: Callable[[], tuple[int, int]]) -> None:
        """`held` returns how many requests the HTTP intake holds, and their bytes; called at every collection."""
        self._gauges.held = held
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
    def processed(
        self,
        event: Event,
        alerts: Sequence[Alert],
        duration_s: float,
        error_type: str | None = None,
        silenced: Sequence[Silenced] = (),
        chosen: Mapping[str, str] = NO_ATTRIBUTES,
        reading: Reading | None = None,
        scores: Iterable[SetScore] = (),
        abstentions: Iterable[Abstention] = (),
    ) -> str | None:
        """An event was evaluated. Returns the traceparent of its span; None if spans are off.

        Counts the `silenced` alerts, not the others: see `alert`. `chosen` are attributes that the config chooses.
        """
        traceparent = None
        if self._spans is not None:
            traceparent = self._spans.processed(event, alerts, duration_s, error_type, silenced, chosen, reading)
        # over OTLP, histograms have the event's span as an exemplar
        context = None if traceparent is None else remote_context(traceparent)
        attributes = {**self._stream, names.OPERATION: "process"}
        if error_type is not None:
            attributes[names.ERROR_TYPE] = error_type
        else:
            self._add(names.JUDGED, 1, self._attributes.labels(chosen))
        self._record(names.PROCESS_DURATION, duration_s, attributes, context)
        if reading is not None:
            self._read(reading)
        self._count_parts(names.UNREAD_PARTS, event.unread)
        self._count_parts(names.REPAIRED, event.repaired)
        for one in silenced:
            self._add(names.ALERTS_SILENCED, 1, {names.SET_ID: one.set_id, names.ALLOWED: one.allowed})
        for abstention in abstentions:
            self._add(names.ABSTENTIONS, 1, {names.SET_ID: abstention.set_id, names.LANGUAGE: abstention.language})
        for score in scores:
            self._scored(score, context)
        return traceparent

    @_harmless
    def alert(self, alert: Alert) -> None:
        """An alert was made."""
        labels = {names.SET_ID: alert.set.id, names.CATEGORY: alert.set.category, names.SEVERITY: alert.severity}
        self._add(names.ALERTS, 1, {**labels, **self._attributes.labels(alert.event.attributes)})
        self._gauges.happened(names.LAST_ALERT)

    @_harmless
    def queue(self, n: int) -> None:
        """Records polled and not yet committed."""
        self._gauges.queue = n

    @_harmless
    def sink_flushed(self, sink: str, alerts: int, duration_s: float, in_batch: bool = True) -> None:
        """A sink delivered alerts; `in_batch`: as a part of the batch of the last poll, whose trace then says so."""
        self._add(names.SINK_ALERTS, alerts, {names.SINK: sink})
        self._record(names.SINK_DURATION, duration_s, {names.SINK: sink})
        if alerts and in_batch and self._spans is not None:
            self._spans.delivered(sink, alerts, duration_s)

    @_harmless
    def sink_failed(self, sink: str, alerts: int, duration_s: float, error_type: str, in_batch: bool = True) -> None:
        """A sink could not take or flush alerts, or the dead letters their records; `in_batch` as in sink_flushed."""
        self._add(names.SINK_FAILURES, 1, {names.SINK: sink})
        if in_batch and self._spans is not None:
            self._spans.delivered(sink, alerts, duration_s, error_type)

    @_harmless
    def sink_dropped(self, sink: str, alerts: int) -> None:
        """A sink will never get these alerts."""
        self._add(names.SINK_DROPPED, alerts, {names.SINK: sink})
        if sink == "otel":
            self.export_dropped("logs", alerts)

    @_harmless
    def committed(self, records: int, duration_s: float, ages_s: Iterable[float] = ()) -> None:
        """A batch was committed, with records that were so old then."""
        self._add(names.COMMITS, 1, {})
        if self._spans is not None:
            self._spans.committed(records, duration_s)
        self._gauges.happened(names.LAST_COMMIT)
        for age_s in ages_s:
            self._record(names.EVENT_AGE, age_s, {})

    @_harmless
    def config_loaded(self, config: Config, sets: Sequence[LoadedSet]) -> None:
        """A configuration is in use, with these feature sets."""
        self._gauges.config_loaded(config.sha256(), sets)
        self._feature_metrics = config.health.feature_metrics
        for row, attributes in configured_series(config, sets):
            self._add(row, 0, attributes)
        self._alert_series = list(alert_series(config, sets))
        for labels in ({}, *self._attributes.combinations()):
            self._start_alerts(labels)
        if self._feature_metrics:
            for loaded in sets:
                self._gauges.active(loaded.set.id, loaded.listed, 0)

    @_harmless
    def reloaded(self, outcome: str) -> None:
        """A reload ended: applied, unchanged or refused."""
        self._gauges.config_refused = outcome == "refused"
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

        Takes two seconds at most; what the receiver does not have by then is lost.
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

    def _add(self, row: names.Name, amount: int, attributes: Mapping[str, str | int]) -> None:
        self._counters[row.name].add(amount, attributes)

    def _start_alerts(self, labels: Mapping[str, str]) -> None:
        for series in self._alert_series:
            self._add(names.ALERTS, 0, {**series, **labels})

    def _count_parts(self, row: names.Name, counts: Mapping[UnreadPartKind, int] | Mapping[RepairKind, int]) -> None:
        for kind, count in counts.items():
            self._add(row, count, {names.PART_KIND: kind})

    def _record(
        self, row: names.Name, value: float, attributes: Mapping[str, str | int], context: Context | None = None
    ) -> None:
        self._histograms[row.name].record(value, attributes, context)

    def _read(self, reading: Reading) -> None:
        self._add(names.TOKENS, reading.tokens, {})
        self._add(names.WINDOWS, reading.windows, {})
        self._add(names.CONFIRMED, int(reading.confirmed), {})
        self._record(names.READ_DURATION, reading.seconds, {})

    def _scored(self, score: SetScore, context: Context | None) -> None:
        labels = {names.SET_ID: score.set_id, names.CATEGORY: score.category}
        self._record(names.SCORE, score.score, labels, context)
        if self._feature_metrics:
            self._gauges.active(score.set_id, score.active)
