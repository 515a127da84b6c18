"""KafkaHealth: whether a group member can read its topic right now, and if not, why."""

from __future__ import annotations

import time
from uuid import UUID

from kafka import KafkaConsumer
from kafka.structs import MemberState

from monitor.config.sections import SourceConfig
from monitor.errors import Retryable


class KafkaHealth:
    """Asks a consumer what it does not tell by itself: it stays silent while brokers are down or the topic is gone."""

    def __init__(self, consumer: KafkaConsumer, source: SourceConfig) -> None:
        self._consumer = consumer
        self._topic = source.topic
        self._quiet_s = source.session_timeout_ms / 1000
        self._opened_at_s = time.monotonic()
        # the public metric counts heartbeats that were sent; what matters is those that were answered
        self._heartbeat = consumer._coordinator.heartbeat
        metrics = {(name.group, name.name): metric for name, metric in consumer.metrics(raw=True).items()}
        self._connections = metrics[("consumer-metrics", "connection-count")]
        self._topic_id: UUID | None = None

    def connected(self) -> bool:
        """Whether a broker has answered lately."""
        return self._connections.value() > 0 and not self.silent()

    def joined(self) -> bool:
        """Whether this is a settled member of the group."""
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def silent(self) -> bool:
        """No heartbeat was answered for a session timeout, though the member should get answers."""
        if not self.joined() and self._connections.value() > 0:
            # a join lasts as long as the slowest member takes to come; there are no heartbeats meanwhile
            return False
        answered_at_s = max(self._heartbeat.last_receive, self._heartbeat.last_reset, self._opened_at_s)
        return bool(time.monotonic() - answered_at_s > self._quiet_s)

    def topic_problem(self) -> Retryable | None:
        """Why the topic cannot be read, as the brokers last told; None when nothing is wrong."""
        cluster = self._consumer._cluster
        if self._topic in cluster.unauthorized_topics:
            cluster.request_update()  # the client itself would ask again after a minute
            return unauthorized_topic(self._topic)
        # the client keeps asking for a topic that the brokers do not know
        asked = cluster._last_successful_refresh_ms / 1000 > self._opened_at_s
        if asked and cluster.need_update and cluster.partitions_for_topic(self._topic) is None:
            return Retryable(f"topic {self._topic} does not exist", kind="topic_missing")
        return None

    def topic_was_replaced(self) -> bool:
        """Whether the topic was deleted and created again since the last call, so that offsets start over."""
        now = self._consumer._cluster.topic_id(self._topic)
        if now is None or not now.int:  # old brokers have no ids; a missing topic has the id 0
            return False
        before, self._topic_id = self._topic_id, now
        return before is not None and before != now


def unauthorized_topic(topic: str) -> Retryable:
    """Access may be granted while the process waits."""
    return Retryable(f"not authorised to read topic {topic}: grant READ and DESCRIBE on it", kind="topic_unauthorized")
