"""OtelSink: alerts as OpenTelemetry log events, delivered by `flush`."""

from __future__ import annotations

import copy
import logging
from typing import ClassVar

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource

from monitor.alerts.alert import Alert
from monitor.config.sinks import OtelConfig
from monitor.errors import ConfigError, Retryable
from monitor.sinks.sink import SinkContext
from monitor.telemetry import names as names
from monitor.telemetry.alert_attributes import alert_attributes
from monitor.telemetry.otlp import SignalExporter, check_sdk_enabled
from monitor.telemetry.spans import remote_context
from monitor.telemetry.telemetry import Telemetry

_log = logging.getLogger(__name__)

_MAX_RECORDS = 512
# Receivers refuse large requests (the Collector above 20 MiB), and captured text makes them large.
_MAX_TEXT_CHARS = 2_000_000


class _Buffer(LogRecordProcessor):
    """Records that have not been exported yet."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self.records: list[ReadableLogRecord] = []

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        record = copy.copy(log_record.log_record)
        record.context = Context()  # ids and flags are copied already; do not keep the rest alive
        self.records.append(
            ReadableLogRecord(
                record,
                log_record.resource or self._resource,
                log_record.instrumentation_scope,
                limits=log_record.limits,
            )
        )

    def shutdown(self) -> None:
        self.records.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        return not self.records


class OtelSink:
    """Sends each alert as a log event `gen_ai.evaluation.result`.

    The SDK's batch processors silently drop what they cannot deliver. Here alerts wait in a bounded buffer, and `flush`
    exports them itself. An `add` that finds the buffer full exports it first. Both block for at most config.timeout_s;
    `flush` then also exports spans.

    A partial success counts as delivered, because OTLP forbids sending the batch again; refused alerts are counted.
    """

    name = "otel"
    config_type: ClassVar[type[OtelConfig]] = OtelConfig

    def __init__(self, config: OtelConfig, telemetry: Telemetry) -> None:
        """Raises ConfigError for a bad endpoint or headers file, or if the environment disables the SDK."""
        check_sdk_enabled()
        self._config = config
        self._telemetry = telemetry
        self._exporter = _exporter(config)
        self._buffer = _Buffer(telemetry.resource)
        self._text_chars = 0
        self._provider = LoggerProvider(telemetry.resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(self._buffer)
        self._logger = self._provider.get_logger("latentwatch", telemetry.version, names.SCHEMA_URL)

    @classmethod
    def open(cls, config: OtelConfig, context: SinkContext) -> OtelSink:
        """The sink of a config. Raises ConfigError for a bad endpoint or headers file."""
        return cls(config, context.telemetry)

    def add(self, alert: Alert) -> None:
        """Takes one alert. Raises Retryable if the buffer is full and an export of it fails."""
        text_chars = 0 if alert.content is None else len(alert.content.prompt) + len(alert.content.text)
        if self._buffer.records and (
            len(self._buffer.records) >= _MAX_RECORDS or self._text_chars + text_chars > _MAX_TEXT_CHARS
        ):
            self._export()
        self._text_chars += text_chars
        self._logger.emit(self._record(alert))

    def flush(self) -> None:
        """Exports all alerts, then the queued spans. Raises Retryable if the export of alerts fails."""
        self._export()
        self._telemetry.flush_spans()

    def reset(self) -> None:
        """Drops the alerts in the buffer, reads the headers file again and reconnects."""
        self._clear()
        try:
            exporter = _exporter(self._config)
        except ConfigError as e:  # a Secret that is being replaced right now; the old token may still work
            _log.warning("%s; keeping the headers read before", e)
            return
        self._exporter.close()
        self._exporter = exporter

    def close(self) -> None:
        """Closes the connection. Does not flush."""
        self._clear()
        self._exporter.close()
        self._provider.shutdown()

    def _export(self) -> None:
        records = self._buffer.records
        if not records:
            return
        outcome = self._exporter.export(tuple(records))
        if outcome.failure is not None:
            self._telemetry.export_failed("logs", outcome.failure)
            raise Retryable(
                f"sinks.otel: {len(records)} alerts not delivered: {outcome.failure}", outcome.retry_after_s or 1.0
            )
        if outcome.rejected:
            _log.error("sinks.otel: the receiver refused %d of %d alerts", outcome.rejected, len(records))
            self._telemetry.sink_dropped(self.name, outcome.rejected)
        self._clear()

    def _clear(self) -> None:
        self._buffer.records.clear()
        self._text_chars = 0

    def _record(self, alert: Alert) -> LogRecord:
        contexts = (remote_context(parent) for parent in (alert.traceparent, alert.process_traceparent) if parent)
        attributes = alert_attributes(alert)
        if alert.content is not None:
            attributes |= {names.CONTENT_PROMPT: alert.content.prompt, names.CONTENT_TEXT: alert.content.text}
        grave = alert.severity in ("high", "critical")
        return LogRecord(
            timestamp=int(alert.time.timestamp() * 1e9),
            context=next((context for context in contexts if context is not None), Context()),
            severity_number=SeverityNumber.ERROR if grave else SeverityNumber.WARN,
            severity_text="ERROR" if grave else "WARN",
            body=alert.message,
            attributes=attributes,
            event_name=names.RESULT.name,
        )


def _exporter(config: OtelConfig) -> SignalExporter[ReadableLogRecord]:
    return SignalExporter(config, "logs", OTLPLogExporter)
