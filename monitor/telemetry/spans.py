"""Spans: polls and events as traces; held in a bounded queue and exported on flush."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from monitor.alerts.alert import Alert
from monitor.alerts.allow import Silenced
from monitor.config.sinks import OtelConfig
from monitor.events.event import Event
from monitor.telemetry import names as names
from monitor.telemetry.alert_attributes import alert_attributes
from monitor.telemetry.label_values import event_attributes
from monitor.telemetry.otlp import ExportOutcome, SignalExporter

_BATCH = 512
_HOLD_OFF_S = 30.0
_W3C = TraceContextTextMapPropagator()


def remote_context(traceparent: str) -> Context | None:
    """The context that a W3C traceparent names; None if it is not valid."""
    context = _W3C.extract({"traceparent": traceparent}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


@dataclass(frozen=True)
class Reading:
    """How the model read one event."""

    tokens: int
    windows: int
    seconds: float
    confirmed: bool = False
    """Whether it was read a second time, in float32."""


class _Queue(SpanProcessor):
    """Ended spans, oldest first. When it is full, the oldest are dropped and counted. Thread-safe."""

    def __init__(self, limit: int, dropped: Callable[[int], None]) -> None:
        self._limit = limit
        self._dropped = dropped
        self._spans: deque[ReadableSpan] = deque()
        self._lock = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        with self._lock:
            full = len(self._spans) >= self._limit
            if full:
                self._spans.popleft()
            self._spans.append(span)
        if full:
            self._dropped(1)

    def take(self, count: int) -> Sequence[ReadableSpan]:
        """Removes the oldest ones."""
        with self._lock:
            return [self._spans.popleft() for _ in range(min(count, len(self._spans)))]

    def put_back(self, spans: Sequence[ReadableSpan]) -> None:
        """The opposite of take."""
        with self._lock:
            over = max(0, len(spans) + len(self._spans) - self._limit)
            self._spans.extendleft(reversed(spans[over:]))
        if over:
            self._dropped(over)

    def __len__(self) -> int:
        return len(self._spans)


class Spans:
    """Makes spans and exports them on `flush`, which may be called from another thread.

    Raises ConfigError for a bad endpoint or headers.
    """

    def __init__(
        self,
        config: OtelConfig,
        resource: Resource,
        version: str,
        stream: Mapping[str, str | int],
        report: Callable[[ExportOutcome, int], None],
        limit: int = 2_048,
    ) -> None:
        """`stream` goes on every span; `report` is called for every failed export and for dropped spans."""
        self._timeout_s = config.timeout_s
        self._stream = stream
        self._report = report
        self._queue = _Queue(limit, lambda n: report(ExportOutcome(), n))
        self._exporter: SignalExporter[ReadableSpan] = SignalExporter(config, "traces", OTLPSpanExporter)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("latentwatch", version, schema_url=names.SCHEMA_URL)
        self._reader_model = str(resource.attributes.get(names.READER_MODEL, "model"))
        self._batch = Context()
        self._hold_until = 0.0
        self._exporting = threading.Lock()

    def polled(self, records: int, duration_s: float) -> None:
        """Makes one span for a poll that returned records; an idle poll gets none."""
        if records == 0:
            return
        attributes = {**self._stream, names.OPERATION: "poll", names.OPERATION_TYPE: "receive"}
        self._batch = self._client_span(
            f"poll {self._stream[names.DESTINATION]}",
            Context(),
            {**attributes, names.BATCH_COUNT: records},
            duration_s,
        )

    def delivered(self, sink: str, alerts: int, duration_s: float, error_type: str | None = None) -> None:
        """Makes one span for alerts that a sink delivered, or failed to deliver, for the batch of the last poll."""
        attributes: dict[str, AttributeValue] = {names.SINK: sink, names.BATCH_COUNT: alerts}
        if error_type is not None:
            attributes[names.ERROR_TYPE] = error_type
        self._client_span(f"deliver {sink}", self._batch, attributes, duration_s)

    def committed(self, records: int, duration_s: float) -> None:
        """Makes one span for the commit of the batch of the last poll."""
        attributes = {**self._stream, names.OPERATION: "commit", names.OPERATION_TYPE: "settle"}
        name = f"commit {self._stream[names.DESTINATION]}"
        self._client_span(name, self._batch, {**attributes, names.BATCH_COUNT: records}, duration_s)

    def processed(
        self,
        event: Event,
        alerts: Sequence[Alert],
        duration_s: float,
        error_type: str | None,
        silenced: Sequence[Silenced] = (),
        chosen: Mapping[str, str] | None = None,
        reading: Reading | None = None,
    ) -> str | None:
        """Makes one span for the event, with children for the model and every alert. Returns its traceparent."""
        start, end = _interval(duration_s)
        span = self._tracer.start_span(
            f"process {event.origin.topic}",
            Context(),
            SpanKind.CONSUMER,
            attributes=self._process_attributes(event, error_type, silenced) | event_attributes(chosen or {}),
            links=_links(event.traceparent),
            start_time=start,
        )
        if error_type is not None:
            span.set_status(Status(StatusCode.ERROR))
        context = trace.set_span_in_context(span, Context())
        read_end = start
        if reading is not None:
            read_end = min(end, start + int(reading.seconds * 1e9))
            self._read(reading, context, start, read_end)
        for alert in alerts:
            self._evaluated(alert, context, read_end, end)
        span.end(end)
        return _traceparent(context)

    def flush(self, last: bool = False) -> None:
        """Exports the queue. Spans that fail stay queued, and nothing is sent for a while.

        `last` tries in any case and then drops what remains.
        """
        with self._exporting:
            self._export_queue(last)
            left = len(self._queue.take(len(self._queue))) if last else 0
        if left:
            self._report(ExportOutcome(), left)

    def close(self) -> None:
        """Exports the queue and closes the connection."""
        self.flush(last=True)
        self._exporter.close()
        self._provider.shutdown()

    def _export_queue(self, last: bool) -> None:
        now = time.monotonic()
        deadline = now + self._timeout_s
        while self._queue and (last or now >= self._hold_until) and now < deadline:
            batch = self._queue.take(_BATCH)
            outcome = self._exporter.export(batch)
            if outcome.failure is not None:
                self._queue.put_back(batch)
                self._report(outcome, 0)
                self._hold_until = time.monotonic() + (outcome.retry_after_s or _HOLD_OFF_S)
                return
            if outcome.rejected:
                self._report(outcome, outcome.rejected)
            now = time.monotonic()

    def _process_attributes(
        self, event: Event, error_type: str | None, silenced: Sequence[Silenced]
    ) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue | None] = {
            **self._stream,
            names.SPAN_KIND: "CHAIN",
            names.OPERATION: "process",
            names.OPERATION_TYPE: "process",
            names.DESTINATION: event.origin.topic,
            names.PARTITION: str(event.origin.partition),
            names.OFFSET: event.origin.offset,
            names.RESPONSE_ID: event.id,
            names.CONVERSATION_ID: event.conversation_id,
            names.REQUEST_MODEL: event.model,
            names.SILENCED: [f"{one.set_id} by {one.allowed}" for one in silenced] or None,
            names.ERROR_TYPE: error_type,
        }
        return {name: value for name, value in attributes.items() if value is not None}

    def _client_span(
        self, name: str, parent: Context, attributes: Mapping[str, AttributeValue], duration_s: float
    ) -> Context:
        start, end = _interval(duration_s)
        span = self._tracer.start_span(name, parent, SpanKind.CLIENT, attributes=attributes, start_time=start)
        if names.ERROR_TYPE in attributes:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)
        return trace.set_span_in_context(span, Context())

    def _read(self, reading: Reading, context: Context, start: int, end: int) -> None:
        attributes: dict[str, AttributeValue] = {
            names.READ_TOKENS: reading.tokens,
            names.READ_WINDOWS: reading.windows,
            names.CONFIRMED_BY_FLOAT32: reading.confirmed,
            names.READER_MODEL: self._reader_model,
        }
        name = f"read {self._reader_model}"
        self._tracer.start_span(name, context, SpanKind.INTERNAL, attributes=attributes, start_time=start).end(end)

    def _evaluated(self, alert: Alert, context: Context, start: int, end: int) -> None:
        attributes = {names.SPAN_KIND: "GUARDRAIL", **alert_attributes(alert)}
        if alert.content is not None:
            attributes |= {names.INPUT_VALUE: alert.content.prompt, names.OUTPUT_VALUE: alert.content.text}
        # sets are evaluated together, so the spans of all have the same times
        span = self._tracer.start_span(
            f"evaluate {alert.set.id}", context, SpanKind.INTERNAL, attributes=attributes, start_time=start
        )
        span.end(end)


def _interval(duration_s: float) -> tuple[int, int]:
    end = time.time_ns()
    return end - max(0, int(duration_s * 1e9)), end


def _traceparent(context: Context) -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier.get("traceparent")


def _links(traceparent: str | None) -> list[Link]:
    context = remote_context(traceparent) if traceparent is not None else None
    return [] if context is None else [Link(trace.get_current_span(context).get_span_context())]
