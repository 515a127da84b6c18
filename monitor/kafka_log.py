"""What the Kafka client logs: kept readable while brokers are away, and read for the reasons it hides."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

_REFUSALS = ("SaslAuthenticationFailedError", "UnsupportedSaslMechanismError", "kafka.oauth", "CERTIFICATE")
_SYMPTOMS = ("socket disconnected", "timed out", "Timeout")


class KafkaLogFilter(logging.Filter):
    """For log handlers: passes each kind of warning of the Kafka client once a period, with a count of those held back.

    While a broker is away the client logs six records a second, all of a few kinds. Its informational records
    are dropped; records of other loggers pass untouched. A kind is a logger and its message template.
    """

    def __init__(self, period_s: float = 60.0, level: int = logging.WARNING) -> None:
        super().__init__()
        self._period_s = period_s
        self._level = level
        self._lock = threading.Lock()
        self._kinds: dict[
            tuple[str, str], tuple[float, int]
        ] = {}  # kind -> (monotonic time last shown, held back since)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        if record.name != "kafka" and not record.name.startswith("kafka."):
            return True
        if record.levelno < self._level:
            return False
        # f-strings of the client carry their values in the template: cut it at the first digit
        kind = (record.name, str(record.msg)[:40].rstrip("0123456789"))
        now = time.monotonic()
        with self._lock:
            shown_at, held_back = self._kinds.get(kind, (float("-inf"), 0))
            if now - shown_at < self._period_s:
                self._kinds[kind] = (shown_at, held_back + 1)
                return False
            self._kinds[kind] = (now, 0)
        if held_back:
            record.msg = f"{record.getMessage()} ({held_back} more like this in the last {now - shown_at:.0f} s)"
            record.args = None
        # a stack trace of the client's own event loop helps nobody
        record.exc_info = None
        record.exc_text = None
        return True


class ConnectionErrors(logging.Handler):
    """While entered, remembers why connections to brokers failed.

    The client tells its caller only of a timeout; the reasons (refused, certificate, password) go to its log.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger("kafka.net")
        self.reasons: list[str] = []

    @property
    def reason(self) -> str | None:
        """The reason that tells most: a refusal by name first, then the newest that is not a mere symptom."""
        refusals = [r for r in self.reasons if any(name in r for name in _REFUSALS)]
        causes = [r for r in self.reasons if not any(symptom in r for symptom in _SYMPTOMS)]
        return next(iter([*reversed(refusals), *reversed(causes), *reversed(self.reasons)]), None)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the error that the record is about, once."""
        args = record.args if isinstance(record.args, tuple) else ()
        for error in args:
            if isinstance(error, Exception):
                reason = str(error).removeprefix("KafkaConnectionError: ")
                # "Unable to bootstrap" is the outcome, not the reason
                if reason and "Unable to bootstrap" not in reason and reason not in self.reasons:
                    self.reasons.append(reason)

    def __enter__(self) -> ConnectionErrors:
        self._logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self)
