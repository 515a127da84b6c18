"""SinkStatus: what became of each attempt to deliver, in metrics, health checks and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.errors import LatentwatchError, Retryable

if TYPE_CHECKING:  # imports the OpenTelemetry SDK, which most sinks do without
    from monitor.telemetry.health import Health
    from monitor.telemetry.telemetry import Telemetry


def reason_of(error: Exception) -> str:
    """What may be shown of an error."""
    return str(error) if isinstance(error, LatentwatchError) else type(error).__name__


class SinkStatus:
    """Reports about every destination by name. Thread-safe; no method raises.

    A destination that is required and fails makes the process not ready, because nothing is committed until it works
    again. Another one only adds a warning to /readyz.
    """

    def __init__(self, telemetry: Telemetry, health: Health) -> None:
        self._telemetry = telemetry
        self._health = health

    def delivered(self, name: str, alerts: int, duration_s: float, required: bool = True) -> None:
        """An attempt succeeded."""
        self._telemetry.sink_flushed(name, alerts, duration_s, in_batch=required)
        self._set(name, "", required)

    def failed(self, name: str, error: Exception, alerts: int, duration_s: float, required: bool = True) -> None:
        """An attempt failed. What errors of the project say is shown; those of others may hold text of events."""
        error_type = error.kind if isinstance(error, Retryable) else type(error).__name__
        self._telemetry.sink_failed(name, alerts, duration_s, error_type, in_batch=required)
        self._set(name, reason_of(error), required)

    def dropped(self, name: str, alerts: int) -> None:
        """So many alerts will never get there."""
        self._telemetry.sink_dropped(name, alerts)

    def _set(self, name: str, reason: str, required: bool) -> None:
        if required:
            self._health.set_ready(f"sink {name}", not reason, reason)
        else:
            self._health.set_warning(f"sink {name}", reason)
