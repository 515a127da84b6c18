"""Loading: the steps of a start, counted for the log and for /readyz."""

from __future__ import annotations

import logging

from monitor.telemetry.health import Health

log = logging.getLogger(__name__)


class Loading:
    """Tells the log and the health checks which step of how many a start is at. Use from one thread."""

    def __init__(self, health: Health, steps: int) -> None:
        """`steps` is how often `step` will be called."""
        self._health = health
        self._steps = steps
        self._step = 0

    def step(self, what: str) -> None:
        """The next step begins. `what` is shown, so it must hold no text of events."""
        self._step += 1
        self.detail(what)

    def detail(self, what: str) -> None:
        """The current step goes on with `what`."""
        log.info("%s", what)
        self._health.loading(f"{self._step} of {self._steps}: {what}")

    def done(self) -> None:
        """Everything is loaded."""
        self._health.loaded()
