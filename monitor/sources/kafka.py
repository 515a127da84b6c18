"""KafkaSource: events of one topic, shared with the other members of a consumer group."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition, errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import LatentwatchError, Retryable, Rewound
from monitor.events.event import Record
from monitor.events.position import Position
from monitor.events.unread_range import UnreadRange
from monitor.kafka.client import failure, open_client
from monitor.kafka.connection_errors import ConnectionErrors
from monitor.kafka.kept_joins import KeptJoins
from monitor.kafka.transaction import TransactionalProducer
from monitor.kafka.unread_log import UnreadLog
from monitor.kafka.unread_ranges import UnreadRanges
from monitor.sources.kafka_health import KafkaHealth, unauthorized_topic
from monitor.sources.kafka_positions import KafkaPositions
from monitor.sources.received import received

_log = logging.getLogger(__name__)

_MAX_BLOCK_MS = 1_000
_COMMIT_TIMEOUT_MS = 10_000
_CLOSE_TIMEOUT_MS = 3_000
_REJOIN_MS = 100
_REJOIN_ATTEMPTS = 10
# what a commit raises when partitions moved: their new owner reads again from the last commit
_MOVED = (
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
)


class KafkaSource:
    """A Source. Joins the group at the first poll and commits exactly what it handed out.

    poll and commit come from one thread; `unready`, `connected`, `assigned` and `positions` may be asked from any.
    """

    exhausted = False

    def __init__(
        self, kafka: KafkaConfig, source: SourceConfig, transaction: TransactionalProducer | None = None
    ) -> None:
        """With a `transaction`, offsets are committed in it, together with what was sent."""
        self._kafka = kafka
        self._source = source
        self._transaction = transaction
        self._consumer: KafkaConsumer | None = None
        self._health: KafkaHealth | None = None
        self._joins: KeptJoins | None = None
        self._unread: UnreadRanges | None = None
        self._trouble = ""
        self._next: dict[TopicPartition, OffsetAndMetadata] = {}  # handed out, not yet committed
        self._committed: dict[TopicPartition, int] = {}
        self._begun: dict[TopicPartition, int] = {}  # the first offset that was handed out since the last commit
        self._lost = False  # whether a partition with records in the transaction has moved
        self._held: list[Any] = []  # fetched while only keeping alive; handed out by the next poll
        self._failure: Exception | None = None
        self._unread_log = UnreadLog()
        self._measure: KafkaPositions | None = None
        self._positions: Sequence[Position] | None = None
        self.lost_commits = 0
        """Partitions that moved between handing out and commit; their new owner reads again."""

    @property
    def unready(self) -> str:
        """See Source."""
        if self._trouble:
            return self._trouble
        if not self.connected:
            return f"no broker of {self._kafka.bootstrap_servers} answers"
        return "" if self.assigned else "waiting for partitions"

    @property
    def connected(self) -> bool:
        """Whether a broker has answered lately."""
        health = self._health
        return health is not None and health.connected()

    @property
    def assigned(self) -> bool:
        """Whether this is a settled member of the group; with more members than partitions it may have none to read."""
        health = self._health
        return health is not None and health.joined()

    def poll(self) -> Sequence[Record | UnreadRange]:
        """See Source. The first call, and those after a failure, may take some seconds to connect."""
        try:
            found = self._poll()
        except LatentwatchError as e:
            self._trouble, self._positions = str(e), None
            raise
        self._trouble = ""
        return found

    def _poll(self) -> Sequence[Record | UnreadRange]:
        consumer = self._consumer or self._open()
        health = self._health
        try:
            if self._failure is not None:
                raise self._failure
            if not self._held:
                longest_ms = min(self._source.poll_timeout_ms, _MAX_BLOCK_MS)
                # a poll without records lasts its whole timeout, even if the member joined meanwhile
                self._fetch(consumer, longest_ms if self.assigned else min(longest_ms, _REJOIN_MS))
                self._fill(consumer)
        except Exception as e:
            self._drop()
            raise self._unavailable(e, f"cannot read topic {self._source.topic}") from e
        if health is not None and health.topic_was_replaced():
            self._start_over(consumer)
        if not self._held and health is not None:
            if health.silent():
                self._drop()
                raise Retryable(f"no broker of {self._kafka.bootstrap_servers} answers", kind="broker_down")
            if (problem := health.topic_problem()) is not None:
                raise problem
        found, self._held = self._held, []
        self._note_positions(consumer)
        self._note_ends()
        for record in found:
            self._begun.setdefault(TopicPartition(record.topic, record.partition), record.offset)
            if isinstance(record.value, UnreadRange):
                self._unread_log.add(record.value)
        return [received(record) for record in found]

    def keep_alive(self) -> None:
        """See Source. Takes part in rebalances without handing anything out; failures wait for the next poll."""
        consumer = self._consumer
        if consumer is None or self._failure is not None:
            return
        try:
            paused = set(consumer.assignment())
            consumer.pause(*paused)
            try:
                # a partition that arrives in this very call is not paused: what it brings is held
                self._fetch(consumer, 0 if self.assigned else _REJOIN_MS)
            finally:
                consumer.resume(*(paused & consumer.assignment()))
            self._note_ends()
        except errors.KafkaError as e:
            self._failure = e

    def commit(self) -> None:
        """See Source. While the group is rebalancing, the offsets still ours go with the next commit.

        Raises Rewound if what was sent in the transaction cannot be committed.
        """
        consumer = self._consumer
        sent = self._transaction is not None and not self._transaction.empty
        if consumer is None or not (self._next or sent):
            return
        for _ in range(_REJOIN_ATTEMPTS):
            # a rebalance that is about to end would refuse the commit, and what is done would be done again
            if self.assigned or not self.connected:
                break
            self.keep_alive()
        if sent and self._transaction is not None:
            self._commit_transaction(consumer, self._transaction)
        elif not self._next or not self._commit_offsets(consumer):
            return
        self._committed.update((partition, place.offset) for partition, place in self._next.items())
        self._next.clear()
        self._begun.clear()
        self._lost = False

    def _commit_offsets(self, consumer: KafkaConsumer) -> bool:
        """Returns False if the group is rebalancing."""
        with ConnectionErrors() as seen:
            try:
                consumer.commit(dict(self._next), timeout_ms=_COMMIT_TIMEOUT_MS)
            except _MOVED as e:
                _log.info("offsets not committed yet, the group is rebalancing: %s", e)
                return False
            except errors.KafkaError as e:
                raise self._unavailable(
                    e, f"cannot commit offsets of group {self._source.group_id}", seen.reason
                ) from e
        return True

    def _commit_transaction(self, consumer: KafkaConsumer, transaction: TransactionalProducer) -> None:
        reason = f"partitions of {self._source.topic} moved to another member"
        if transaction.expired:
            reason = "another destination was down for longer than a transaction may last"
        elif not self._lost:
            try:
                transaction.commit(self._next, consumer.group_metadata())
            except errors.CommitFailedError:
                pass
            except Retryable as e:
                # only the brokers know what is committed: they are asked after the member has joined again
                transaction.reset()
                self._drop()
                raise Rewound(str(e)) from e
            else:
                return
        transaction.abort()
        self._rewind(consumer)
        raise Rewound(reason)

    def _rewind(self, consumer: KafkaConsumer) -> None:
        """Hands out once more what was handed out since the last commit."""
        ours = {p: offset for p, offset in self._begun.items() if p in consumer.assignment()}
        for partition, offset in ours.items():
            consumer.seek(partition, offset)
        self._held = [r for r in self._held if TopicPartition(r.topic, r.partition) not in ours]
        if self._unread is not None:
            self._unread.forget(ours)
        self._next.clear()
        self._begun.clear()
        self._lost = False

    def positions(self) -> Sequence[Position] | None:
        """See Source. None without a topic, without a broker, and until this is a member of the group."""
        return self._positions

    def close(self) -> None:
        """See Source."""
        self._drop()

    def forget(self, partitions: set[TopicPartition]) -> None:
        """These partitions are no longer ours: nothing of them may be committed or handed out."""
        for partition in partitions:
            if self._next.pop(partition, None) is not None:
                self.lost_commits += 1
                _log.info("%s-%d moved before its commit; its new owner reads again", *partition)
            self._committed.pop(partition, None)
            self._lost |= self._begun.pop(partition, None) is not None
        self._held = [r for r in self._held if TopicPartition(r.topic, r.partition) not in partitions]
        if self._unread is not None:
            self._unread.forget(partitions)

    def _open(self) -> KafkaConsumer:
        source = self._source
        if self._transaction is not None:
            # what a process that died left open hides the offsets at which to begin
            self._transaction.open()
        consumer = open_client(
            KafkaConsumer,
            self._kafka,
            group_id=source.group_id,
            enable_auto_commit=False,
            auto_offset_reset=source.auto_offset_reset,
            isolation_level=source.isolation_level,
            # partitions that stay are read on while others move, and keep their place
            partition_assignment_strategy=[CooperativeStickyAssignor()],
            max_poll_records=source.max_poll_records,
            max_poll_interval_ms=source.max_poll_interval_ms,
            session_timeout_ms=source.session_timeout_ms,
            heartbeat_interval_ms=source.heartbeat_interval_ms,
            fetch_max_wait_ms=min(500, self._kafka.request_timeout_ms - 1),
            allow_auto_create_topics=False,
            # a batch that the brokers took must not break the connection, whatever its size
            **({} if "receive_message_max_bytes" in self._kafka.options else {"receive_message_max_bytes": 2**31 - 1}),
        )
        health = KafkaHealth(consumer, source)
        consumer.subscribe([source.topic], listener=_Moves(self))
        # a member that joins before it knows the topic's partitions is given none, and has to join once more
        with contextlib.suppress(errors.KafkaError):
            consumer._net.run(consumer._manager.wait_for, consumer._cluster.request_update(), _MAX_BLOCK_MS)
        self._consumer, self._health, self._joins = consumer, health, KeptJoins(consumer)
        self._unread, self._measure = UnreadRanges(consumer), KafkaPositions(consumer)
        return consumer

    def _drop(self) -> None:
        consumer, self._consumer, self._health, self._joins = self._consumer, None, None, None
        self._unread = self._measure = None
        self._next.clear()
        self._begun.clear()
        self._lost = False
        self._committed.clear()
        self._held, self._failure, self._positions = [], None, None
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=_CLOSE_TIMEOUT_MS)
            except errors.KafkaError as e:
                _log.info("left the group uncleanly: %s", e)

    def _fetch(self, consumer: KafkaConsumer, timeout_ms: int) -> None:
        # kafka-python 3.0.12 leaves an empty one here, and keeps back what came for a paused partition until it is None
        if not consumer._fetcher._next_partition_records:
            consumer._fetcher._next_partition_records = None
        with self._joins.polling() if self._joins is not None else contextlib.nullcontext():
            left = max(1, self._source.max_poll_records - len(self._held))
            batches: Mapping[TopicPartition, Sequence[Any]] = consumer.poll(timeout_ms=timeout_ms, max_records=left)
        for records in batches.values():
            self._held.extend(records)

    def _fill(self, consumer: KafkaConsumer) -> None:
        """Waits a moment for more records: one batch of several costs less than one of each."""
        limit, until = self._source.max_poll_records, time.monotonic() + self._source.max_wait_ms / 1000
        while self._held and len(self._held) < limit and (left := until - time.monotonic()) > 0:
            before = len(self._held)
            self._fetch(consumer, max(1, int(left * 1000)))
            if len(self._held) == before:
                return

    def _note_positions(self, consumer: KafkaConsumer) -> None:
        """What the next commit holds: positions, as records may be followed by markers of transactions."""
        for partition in consumer.assignment():
            place: OffsetAndMetadata | None = consumer._subscription.assignment[partition].position
            if place is None or (self._unread is not None and self._unread.pending(partition)):
                continue  # what was stepped over is committed once it was handed out
            if place.offset > self._committed.get(partition, -1):
                self._next[partition] = OffsetAndMetadata(place.offset, "", place.leader_epoch)

    def _start_over(self, consumer: KafkaConsumer) -> None:
        """The topic is a new one of the same name, of which nothing has been read."""
        _log.warning("topic %s was deleted and created again; reading it from its beginning", self._source.topic)
        if partitions := consumer.assignment():
            self.forget(partitions)
            consumer.seek_to_beginning(*partitions)

    def _unavailable(self, error: Exception, doing: str, reason: str | None = None) -> LatentwatchError:
        """Like `failure`, but permissions may be granted while we wait."""
        if isinstance(error, errors.TopicAuthorizationFailedError):
            return unauthorized_topic(self._source.topic)
        if isinstance(error, errors.GroupAuthorizationFailedError):
            group = self._source.group_id
            return Retryable(f"not authorised to join group {group}: grant READ on it", kind="group_unauthorized")
        return failure(error, doing, reason)

    def _note_ends(self) -> None:
        known = self._measure is not None and self.assigned and self.connected
        self._positions = self._measure.measured(self._held) if self._measure is not None and known else None


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the source of partitions that go; called inside its own poll and close."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Before they go to another member."""
        self._source.forget(set(revoked))

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing to do: the consumer goes to their committed offsets."""
