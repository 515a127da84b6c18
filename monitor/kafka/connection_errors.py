"""ConnectionErrors: the reasons that the Kafka client writes only to its log."""

from __future__ import annotations

import logging
from types import TracebackType

_REFUSALS = ("SaslAuthenticationFailedError", "UnsupportedSaslMechanismError", "kafka.oauth", "CERTIFICATE")
_SYMPTOMS = ("socket disconnected", "timed out", "Timeout")


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
        """The most telling reason: a refusal by name first, then the newest that is not only a symptom."""
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
