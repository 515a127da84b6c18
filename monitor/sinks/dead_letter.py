"""KafkaDeadLetters: records that are not events, byte for byte, with the reason in headers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from monitor.config.sections import KafkaConfig
from monitor.errors import BadEvent
from monitor.events.event import Record
from monitor.kafka.producer import Outgoing, Producer

_FIRST_CUT_BYTES = 900_000  # brokers take 1 MiB by default
_MAX_REASON_CHARS = 2_000


@dataclass(frozen=True)
class _Form:
    """How much of a record is sent."""

    value_bytes: int | None = None
    original_headers: bool = True
    key: bool = True


class KafkaDeadLetters:
    """DeadLetters on a Kafka topic. Key, value and headers are those of the record, with these headers added:

    latentwatch-reason, -path, -topic, -partition, -offset and -time. A value that is too large for the broker is cut,
    with its length and hash in latentwatch-original-bytes and -original-sha256; if that is not enough, headers and
    key are dropped and named in latentwatch-dropped. Kafka clients cannot send a record without key and value: it
    gets an empty value and latentwatch-value: null. docs/events.md has the whole format.
    """

    def __init__(self, kafka: KafkaConfig, topic: str, transaction: Producer | None = None) -> None:
        """With a `transaction`, the records become visible when it is committed."""
        self._topic = topic
        self._producer = transaction or Producer(kafka)

    def add(self, record: Record, error: BadEvent) -> None:
        """Takes one record; waits for delivery when a thousand are in flight. Raises Retryable or Permanent."""
        added = (
            ("latentwatch-reason", error.reason[:_MAX_REASON_CHARS]),
            ("latentwatch-path", error.path[:_MAX_REASON_CHARS]),
            ("latentwatch-topic", record.origin.topic),
            ("latentwatch-partition", str(record.origin.partition)),
            ("latentwatch-offset", str(record.origin.offset)),
            ("latentwatch-time", datetime.now(UTC).isoformat(timespec="milliseconds")),
        )
        # a JSON path may quote a key with lone surrogates
        headers = tuple((name, text.encode(errors="backslashreplace")) for name, text in added)
        self._producer.send(self._outgoing(record, headers, _Form()))

    def flush(self) -> None:
        """Returns when all in-sync replicas have every record added so far. Raises Retryable or Permanent."""
        self._producer.flush()

    def reset(self) -> None:
        """Forgets records in flight and connects again."""
        self._producer.reset()

    def close(self) -> None:
        """Frees everything. Does not flush."""
        self._producer.close()

    def _outgoing(self, record: Record, added: tuple[tuple[str, bytes], ...], form: _Form) -> Outgoing:
        value = record.value
        headers = (*record.headers, *added) if form.original_headers else added
        if value is not None and form.value_bytes is not None:
            headers += (
                ("latentwatch-original-bytes", str(len(value)).encode()),
                ("latentwatch-original-sha256", hashlib.sha256(value).hexdigest().encode()),
            )
            value = value[: form.value_bytes]
        dropped = [n for n, kept in (("headers", form.original_headers), ("key", form.key)) if not kept]
        if dropped:
            headers += (("latentwatch-dropped", ",".join(dropped).encode()),)
        key = record.key if form.key else None
        if value is None and key is None:
            value = b""
            headers += (("latentwatch-value", b"null"),)
        return Outgoing(self._topic, value, partial(self._smaller, record, added, form), key, headers)

    def _smaller(self, record: Record, added: tuple[tuple[str, bytes], ...], form: _Form) -> Outgoing | None:
        length = (
            len(record.value or b"") if form.value_bytes is None else min(form.value_bytes, len(record.value or b""))
        )
        if length > 0:
            form = _Form(_FIRST_CUT_BYTES if length > _FIRST_CUT_BYTES else length // 2)
        elif form.original_headers and record.headers:
            form = _Form(form.value_bytes, original_headers=False)
        elif form.key and record.key is not None:
            form = _Form(form.value_bytes, original_headers=False, key=False)
        else:
            return None
        return self._outgoing(record, added, form)
