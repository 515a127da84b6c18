"""Producer: records count as sent once every in-sync replica has them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaProducer, errors

from monitor.config.sections import KafkaConfig
from monitor.errors import LatentwatchError, Permanent, Retryable
from monitor.kafka.client import failure, open_client
from monitor.kafka.connection_errors import ConnectionErrors

_MAX_PENDING = 1_000
_MAX_PENDING_BYTES = 16_000_000
_LINGER_MS = 5
_MAX_BLOCK_MS = 5_000
_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)


@dataclasses.dataclass(frozen=True)
class Outgoing:
    """One record to send. `smaller` makes the record to send instead if the broker finds it too large, or None."""

    topic: str
    value: bytes | None
    smaller: Callable[[], Outgoing | None]
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Producer:
    """An idempotent producer with acks=all and a bounded number of records in flight.

    Connects at the first send. As with a Sink, the caller resets and sends again after a failed flush.
    """

    def __init__(self, kafka: KafkaConfig, compression_type: str = "lz4", delivery_timeout_ms: int = 30_000) -> None:
        self._kafka = kafka
        self._compression_type = None if compression_type == "none" else compression_type
        self._delivery_timeout_ms = max(delivery_timeout_ms, 2 * _LINGER_MS)
        self._producer: KafkaProducer | None = None
        self._pending: list[tuple[Outgoing, Any]] = []
        self._pending_bytes = 0

    def send(self, record: Outgoing) -> None:
        """Buffers one record; waits for delivery if too many are in flight. Raises Retryable or Permanent."""
        size = len(record.value or b"") + sum(len(value) for _, value in record.headers)
        if self._pending and (len(self._pending) >= _MAX_PENDING or self._pending_bytes + size > _MAX_PENDING_BYTES):
            self.flush()
        self._pending.append((record, self._sent(record)))
        self._pending_bytes += size

    def flush(self) -> None:
        """Returns once every record sent so far is delivered, in a smaller form if necessary."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if pending and self._producer is not None:
            # what waits for more records goes at once; each record's own future tells whether it was delivered
            with contextlib.suppress(errors.KafkaError):
                self._producer.flush(timeout=_LINGER_MS / 1000)
        if large := self._too_large(pending):
            self._shrink(large)

    def _shrink(self, records: list[Outgoing]) -> None:
        """Delivers records of which at least one is too large."""
        for record in records:
            self._send_one(record)

    def _send_one(self, record: Outgoing) -> None:
        """Delivers one record in the largest form that the broker takes."""
        smaller: Outgoing | None = record
        while smaller is not None:
            # A record that is too large breaks an idempotent producer: all records in flight and all that follow fail
            # with the same error. To find the one at fault, each is sent by itself, by a new producer.
            self.reset()
            record = smaller
            if not self._too_large([(record, self._sent(record))]):
                return
            smaller = record.smaller()
        self.reset()
        raise over_the_limit(record)

    def _sent(self, record: Outgoing) -> Any:
        if self._producer is None:
            self._producer = self._open()
        asked_at_s = time.monotonic()
        with ConnectionErrors() as seen:
            try:
                return self._producer.send(
                    record.topic, value=record.value, key=record.key, headers=list(record.headers)
                )
            except errors.KafkaTimeoutError as e:
                # the client waits for a topic that the brokers say they don't have
                if self._producer._metadata._last_successful_refresh_ms / 1000 > asked_at_s:
                    reason = f"cannot send to topic {record.topic}: it does not exist; create it, or correct the name"
                    raise Retryable(reason, kind="topic_missing") from None
                reason = seen.reason or "the brokers do not answer"
                raise self._failure(e, f"cannot send to topic {record.topic}", reason) from None
            except (errors.KafkaError, ValueError) as e:
                raise self._failure(e, f"cannot send to topic {record.topic}") from None

    def _too_large(self, sent: list[tuple[Outgoing, Any]]) -> list[Outgoing]:
        """Waits for delivery. Returns the records that the broker may have found too large."""
        if not sent or self._producer is None:
            return []
        doing = f"cannot send to topic {sent[0][0].topic}"
        failed: list[Outgoing] = []
        give_up_at_s = time.monotonic() + self._delivery_timeout_ms / 1000 + 1
        with ConnectionErrors() as seen:
            for record, future in sent:
                # the client's flush() fails after a batch was split because it was too large
                try:
                    future.get(timeout=max(0.0, give_up_at_s - time.monotonic()))
                except errors.KafkaError as e:
                    if not isinstance(self._cause(e), _TOO_LARGE):
                        raise self._failure(e, doing, seen.reason) from None
                    failed.append(record)
        return failed

    def reset(self) -> None:
        """Drops what is not delivered yet; the next send connects again.

        An idempotent producer does not recover once a broker has forgotten it, so the old one is never kept.
        """
        self._pending, self._pending_bytes = [], 0
        producer, self._producer = self._producer, None
        if producer is not None:
            # close() would first wait for the records that are to be dropped
            producer._sender.force_close()
            producer._sender.join(1.0)
            producer.close(timeout=1.0)

    def close(self) -> None:
        """Closes the connection. Does not flush."""
        self.reset()

    def _cause(self, error: Exception) -> Exception:
        """What made a record fail."""
        return error

    def _failure(self, error: Exception, doing: str, reason: str | None = None) -> LatentwatchError:
        return failure(error, doing, reason)

    def _open(self, **more: Any) -> KafkaProducer:
        return open_client(
            KafkaProducer,
            self._kafka,
            acks="all",
            enable_idempotence=True,
            compression_type=self._compression_type,
            linger_ms=_LINGER_MS,
            max_block_ms=_MAX_BLOCK_MS,
            delivery_timeout_ms=self._delivery_timeout_ms,
            request_timeout_ms=min(self._kafka.request_timeout_ms, self._delivery_timeout_ms - _LINGER_MS),
            # only the broker's limit applies; a request is bounded by what may be pending
            max_request_size=2**31 - 1,
            allow_auto_create_topics=False,
            **more,
        )


def over_the_limit(record: Outgoing) -> Permanent:
    """For a record that is too large in its smallest form."""
    return Permanent(
        f"cannot send to topic {record.topic}: even the smallest form ({len(record.value or b'')} bytes) is over "
        "the broker's limit; raise max.message.bytes of the topic"
    )
