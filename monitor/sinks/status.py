"""SinkStatus: what became of each attempt to deliver, in metrics, health checks and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imports the OpenTelemetry SDK, which most sinks do without
    from monitor.telemetry.health import Health
    from monitor.telemetry.telemetry import Telemetry


class SinkStatus:
    """Reports about every destination by name. Thread-safe; no method raises.

    A destination that is required and fails makes the process not ready, because nothing is committed until it works
    again. Another one only adds a warning to /readyz.
    """

    def __init__(self, telemetry: Telemetry, health: Health) -> None:
        self._telemetry = telemetry
        self._health = health

    def opened(self, name: str) -> None:
        """The destination is in use."""
        self._telemetry.sink_opened(name)

    def delivered(self, name: str, alerts: int, duration_s: float, required: bool = True) -> None:
        """An attempt succeeded."""
        self._telemetry.sink_flushed(name, alerts, duration_s)
        self._set(name, "", required)

    def failed(self, name: str, reason: str, required: bool = True) -> None:
        """An attempt failed. `reason` is shown, so it must hold no text of events."""
        self._telemetry.sink_failed(name)
        self._set(name, reason, required)

    def dropped(self, name: str, alerts: int) -> None:
        """So many alerts will never get there."""
        self._telemetry.sink_dropped(name, alerts)

    def _set(self, name: str, reason: str, required: bool) -> None:
        if required:
            self._health.set_ready(f"sink {name}", not reason, reason)
        else:
            self._health.set_warning(f"sink {name}", reason)
