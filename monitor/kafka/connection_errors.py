"""ConnectionErrors: the reasons that the Kafka client only logs."""

from __future__ import annotations

import logging
from types import TracebackType

_REFUSALS = ("SaslAuthenticationFailedError", "UnsupportedSaslMechanismError", "kafka.oauth", "CERTIFICATE")
_IN_WORDS = (
    ("certificate has expired", "the certificate of the broker has expired"),
    ("is not valid for", "the certificate of the broker is for another host name"),
    ("self-signed certificate", "the certificate of the broker is not signed by an authority in kafka.ssl_cafile"),
    ("unable to get local issuer", "the certificate of the broker is not signed by an authority in kafka.ssl_cafile"),
    ("SaslAuthenticationFailedError", "the broker refuses the login; check kafka.sasl_username and its password"),
)
_SYMPTOMS = ("socket disconnected", "timed out", "Timeout")


def in_words(reason: str) -> str:
    """The reason of a client as its user would say it, followed by its own text."""
    return next((f"{words} ({reason})" for sign, words in _IN_WORDS if sign in reason), reason)


class ConnectionErrors(logging.Handler):
    """A context manager that remembers why connections to brokers failed.

    The client only raises a timeout; it logs the reason (refused, certificate, password).
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger("kafka.net")
        self.reasons: list[str] = []

    @property
    def reason(self) -> str | None:
        """The most telling reason: a named refusal first, then the newest that is more than a symptom."""
        refusals = [r for r in self.reasons if any(name in r for name in _REFUSALS)]
        causes = [r for r in self.reasons if not any(symptom in r for symptom in _SYMPTOMS)]
        return next(iter([*reversed(refusals), *reversed(causes), *reversed(self.reasons)]), None)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the error that the record is about, once."""
        args = record.args if isinstance(record.args, tuple) else ()
        for error in args:
            if isinstance(error, Exception):
                reason = str(error).removeprefix("KafkaConnectionError: ")
                # "Unable to bootstrap" is the result, not the reason
                if reason and "Unable to bootstrap" not in reason and reason not in self.reasons:
                    self.reasons.append(reason)

    def __enter__(self) -> ConnectionErrors:
        self._logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self)
