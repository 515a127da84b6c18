"""MetricExporter: exports metrics over OTLP and reports every export that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from monitor.config.sinks import OtelConfig
from monitor.telemetry.otlp import Session, options


class MetricExporter(OTLPMetricExporter):
    """Calls `failed` with the reason if an export fails; the SDK's periodic reader hides it. Raises ConfigError."""

    def __init__(self, config: OtelConfig, failed: Callable[[str], None]) -> None:
        self._own_session = Session()
        self._failed = failed
        super().__init__(session=self._own_session, **options(config, "metrics"))

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Sends one collection. Metrics are cumulative, so the next export makes up for a lost one."""
        result = super().export(metrics_data, timeout_millis, **kwargs)
        if self._own_session.outcome.failure is not None:
            self._failed(self._own_session.outcome.failure)
        return result
