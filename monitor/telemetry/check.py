"""otlp_problems: why exports to the configured OTLP receiver would fail, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricsData

from monitor.config.sinks import OtelConfig
from monitor.errors import ConfigError
from monitor.telemetry.metric_exporter import MetricExporter
from monitor.telemetry.otlp import SignalExporter, check_sdk_enabled, endpoint, read_headers


def otlp_problems(config: OtelConfig) -> list[str]:
    """All problems of `config` with its receiver, one line each with what to do; empty if exports will arrive.

    Sends one empty export each of logs, traces and metrics, until one fails. Blocks for config.timeout_s at most.
    """
    problems: list[str] = []
    steps: tuple[Callable[[], object], ...] = (
        check_sdk_enabled,
        lambda: endpoint(config, "logs"),
        lambda: read_headers(config.headers_file),
    )
    for step in steps:
        try:
            step()
        except ConfigError as e:
            problems += e.problems
    return problems or list(_export_problems(config))[:1]


def _export_problems(config: OtelConfig) -> Iterator[str]:
    for signal, export in (("logs", _export_logs), ("traces", _export_traces), ("metrics", _export_metrics)):
        failure = export(config)
        if failure is not None:
            yield (
                f"sinks.otel.endpoint: {endpoint(config, signal)}: {failure}; check that an OTLP/HTTP receiver listens "
                "there and accepts sinks.otel.headers_file"
            )
            return


def _export_logs(config: OtelConfig) -> str | None:
    exporter = SignalExporter(config, "logs", OTLPLogExporter)
    failure = exporter.export(()).failure
    exporter.close()
    return failure


def _export_traces(config: OtelConfig) -> str | None:
    exporter = SignalExporter(config, "traces", OTLPSpanExporter)
    failure = exporter.export(()).failure
    exporter.close()
    return failure


def _export_metrics(config: OtelConfig) -> str | None:
    failures: list[str] = []
    exporter = MetricExporter(config, failures.append)
    exporter.export(MetricsData(resource_metrics=[]))
    exporter.shutdown()
    return failures[0] if failures else None
