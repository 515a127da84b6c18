"""MetricExporter: OTLP metrics, with a word about every export that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from monitor.config.sinks import OtelConfig
from monitor.telemetry.otlp import Session, options


class MetricExporter(OTLPMetricExporter):
    """Tells `failed` why an export failed; the SDK's periodic reader keeps that to itself. Raises ConfigError."""

    def __init__(self, config: OtelConfig, failed: Callable[[str], None]) -> None:
        self._own_session = Session()
        self._failed = failed
        super().__init__(session=self._own_session, **options(config, "metrics"))

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Sends one collection. Metrics are cumulative, so the next one makes up for one that is lost."""
        result = super().export(metrics_data, timeout_millis, **kwargs)
        if self._own_session.outcome.failure is not None:
            self._failed(self._own_session.outcome.failure)
        return result
