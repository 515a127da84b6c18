"""TransactionalProducer: what one batch sends, and its offsets, become visible together or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaProducer, TopicPartition, errors
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from monitor.config.sections import KafkaConfig
from monitor.errors import LatentwatchError, Permanent, Retryable
from monitor.kafka.client import failure
from monitor.kafka.connection_errors import ConnectionErrors
from monitor.kafka.producer import Outgoing, Producer, over_the_limit

_COMMIT_TIMEOUT_MS = 10_000
_ABORT_TIMEOUT_MS = 1_000
_TRANSACTION_TIMEOUT_MS = 60_000
_FENCED = (errors.ProducerFencedError, errors.InvalidProducerEpochError)
_NO_TRANSACTIONS = (errors.UnsupportedVersionError, errors.IncompatibleBrokerVersion)


class TransactionalProducer(Producer):
    """A Producer whose records wait for `commit`. Sinks and dead letters of one process share one.

    `reset` takes back all records since the last commit. Another process that opens a producer under the same
    transactional id does the same from outside: this one is then fenced and can commit nothing more.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        transactional_id: str,
        compression_type: str = "lz4",
        delivery_timeout_ms: int = 30_000,
    ) -> None:
        super().__init__(kafka, compression_type, delivery_timeout_ms)
        self._id = transactional_id
        self._timeout_ms = max(_TRANSACTION_TIMEOUT_MS, 2 * self._delivery_timeout_ms)
        self._begun_at_s: float | None = None  # monotonic; None: no transaction is open
        self._reductions: dict[bytes, int] = {}  # how often a record of this batch must be made smaller, by its hash

    @property
    def empty(self) -> bool:
        """Whether nothing was sent since the last commit."""
        return self._begun_at_s is None

    @property
    def expired(self) -> bool:
        """Whether the brokers have ended the transaction, or are about to, because it took too long."""
        begun_at_s = self._begun_at_s
        return begun_at_s is not None and time.monotonic() - begun_at_s > 0.8 * self._timeout_ms / 1000

    def open(self) -> None:
        """Ends what an earlier process left open under the same id. Raises Retryable or Permanent."""
        if self._producer is None:
            self._producer = self._open()

    def send(self, record: Outgoing) -> None:
        """Like that of Producer; nobody who reads only what is committed sees it before `commit`."""
        for _ in range(self._reductions.get(_digest(record), 0)):
            record = record.smaller() or record
        super().send(record)

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], group: ConsumerGroupMetadata) -> None:
        """Commits the records and the offsets together.

        Raises errors.CommitFailedError if the group has moved on: then nothing is committed. Raises Permanent if this
        producer is fenced, and Retryable if it is not known whether anything is committed.
        """
        self.open()
        manager: Any = self._client._transaction_manager
        with ConnectionErrors() as seen:
            try:
                self._begin()
                self._wait(manager.send_offsets_to_transaction(dict(offsets), group), _COMMIT_TIMEOUT_MS)
                self._wait(manager.begin_commit(), _COMMIT_TIMEOUT_MS)
            except errors.CommitFailedError:
                raise
            except errors.KafkaError as e:
                raise self._failure(e, "cannot commit a transaction", seen.reason) from None
        self._begun_at_s = None
        self._reductions.clear()

    def reset(self) -> None:
        """Takes back what is not committed."""
        self._begun_at_s = None
        super().reset()

    def abort(self) -> None:
        """Takes back what is not committed, at once if a broker can be reached, so that no reader waits for it."""
        self.reset()
        with contextlib.suppress(Retryable):
            self.open()

    def close(self) -> None:
        """Takes back what is not committed, so that no reader waits for it."""
        if not self.empty and self._producer is not None:
            with contextlib.suppress(errors.KafkaError):
                self._wait(self._client._transaction_manager.begin_abort(), _ABORT_TIMEOUT_MS)
        self.reset()

    @property
    def _client(self) -> Any:
        return self._producer

    def _begin(self) -> None:
        if self.empty:
            self._client.begin_transaction()
            self._begun_at_s = time.monotonic()

    def _sent(self, record: Outgoing) -> Any:
        self.open()
        try:
            self._begin()
        except errors.KafkaError as e:
            raise self._failure(e, f"cannot send to topic {record.topic}") from None
        return super()._sent(record)

    def _shrink(self, records: list[Outgoing]) -> None:
        """Finds out how small each must be, by itself. Raises Retryable, because the whole batch has to come again."""
        for record in records:
            fitting, steps = record, 0
            self.reset()
            while self._too_large([(fitting, self._sent(fitting))]):
                self.reset()
                smaller = fitting.smaller()
                if smaller is None:
                    raise over_the_limit(fitting)
                fitting, steps = smaller, steps + 1
            self._reductions[_digest(record)] = steps
        self.reset()
        raise Retryable("a record is too large for the brokers; the batch is sent again with a smaller form of it", 0)

    def _open(self, **more: Any) -> KafkaProducer:
        producer = super()._open(transactional_id=self._id, transaction_timeout_ms=self._timeout_ms, **more)
        with ConnectionErrors() as seen:
            try:
                producer.init_transactions()
            except errors.KafkaError as e:
                producer._sender.force_close()
                producer.close(timeout=1.0)
                raise self._failure(e, f"cannot begin transactions as {self._id}", seen.reason) from None
        return producer

    def _wait(self, result: Any, timeout_ms: int) -> None:
        # the client's own methods wait for ever while no broker answers
        self._client._sender.wakeup()
        if not result.wait(timeout_ms):
            raise errors.KafkaTimeoutError(f"no answer within {timeout_ms / 1000:g} s")

    def _cause(self, error: Exception) -> Exception:
        # what follows the first error only says that there was one
        first: Exception | None = None if self._producer is None else self._client._transaction_manager.last_error
        return first or error

    def _failure(self, error: Exception, doing: str, reason: str | None = None) -> LatentwatchError:
        cause = self._cause(error)
        if isinstance(cause, _FENCED):
            return Permanent(
                f"{doing}: another process has taken over the transactional id {self._id}; if both should run, give "
                "each its own delivery.transactional_id"
            )
        if isinstance(cause, _NO_TRANSACTIONS):
            return Permanent(f"{doing}: these brokers have no transactions; set delivery.guarantee: at_least_once")
        if isinstance(cause, errors.TransactionalIdAuthorizationFailedError):
            return Permanent(f"{doing}: not authorised: grant WRITE and DESCRIBE on transactional id {self._id}")
        return failure(cause, doing, reason)


def _digest(record: Outgoing) -> bytes:
    parts = (record.topic.encode(), record.key or b"", record.value or b"")
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).digest()
