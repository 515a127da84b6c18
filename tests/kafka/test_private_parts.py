"""What latentwatch uses of kafka-python beyond its public interface: this fails when an upgrade changes it.

docs/decisions/0011-private-parts-of-kafka-python.md says what each is used for.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import kafka
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.consumer.fetcher import CompletedFetch, ConsumerRecord, Fetcher
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl import get_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.producer.transaction_manager import TransactionalRequestResult, TransactionManager
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatch

from monitor.demo.broker import EmbeddedBroker
from tests.topics import new_topic

DECISION = Path(__file__).parents[2] / "docs" / "decisions" / "0011-private-parts-of-kafka-python.md"


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.fixture(scope="module")
def consumer(embedded_broker: EmbeddedBroker) -> Iterator[Any]:
    topic = new_topic(embedded_broker)
    made = KafkaConsumer(
        bootstrap_servers=embedded_broker.bootstrap_servers, group_id="g", auto_offset_reset="earliest"
    )
    made.subscribe([topic])
    for _ in range(10):
        made.poll(timeout_ms=3_000)
        if made.assignment() and made._subscription.assignment[next(iter(made.assignment()))].position is not None:
            break
    yield made
    made.close()


def test_the_version_is_the_one_that_was_read() -> None:
    assert kafka.__version__.startswith("3.0."), "read the decision record again before you allow another version"
    assert DECISION.exists()


# ---- fetching: monitor/kafka/unread_ranges.py, monitor/kafka/readable_batches.py


def test_the_fetcher_parses_by_methods_that_can_be_replaced(consumer: Any) -> None:
    fetcher = consumer._fetcher
    assert parameters(fetcher._parse_fetched_data) == ["completed_fetch"]
    source = inspect.getsource(Fetcher)
    assert "self._parse_fetched_data(" in source
    assert "self.PartitionRecords(fetch_offset, tp, records," in source
    assert fetcher._subscriptions is consumer._subscription
    assert {"fetch_max_bytes", "max_partition_fetch_bytes"} <= set(fetcher.config)
    assert "if self._next_partition_records is None:" in inspect.getsource(Fetcher.fetched_records)
    assert CompletedFetch._fields == (
        "topic_partition", "fetched_offset", "response_version", "partition_data", "metric_aggregator",
    )  # fmt: skip
    assert {"topic", "partition", "leader_epoch", "offset", "value"} <= set(ConsumerRecord._fields)


def test_partition_records_unpack_by_a_generator_that_can_be_extended() -> None:
    unpack = Fetcher.PartitionRecords._unpack_records
    assert inspect.isgeneratorfunction(unpack)
    assert parameters(unpack) == ["self", "tp", "records", "key_deserializer", "value_deserializer"]
    # all that it asks of `records`
    assert inspect.getsource(unpack).count("records.") == inspect.getsource(unpack).count("records.next_batch()")
    made = Fetcher.PartitionRecords(0, ("t", 0), MemoryRecords(b""))
    assert made.next_fetch_offset == 0
    assert made.leader_epoch == -1
    assert list(made.record_iterator) == []


def test_batches_keep_their_place_when_a_record_fails() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    builder.append(0, 0, b"k", b"v", [("name", b"")])
    raw = bytes(builder.build())
    records = MemoryRecords(raw + raw)
    assert bytes(records._next_slice) == raw
    records._cache_next()
    assert bytes(records._next_slice) == raw
    records._cache_next()
    assert records._next_slice is None
    batch = DefaultRecordBatch(raw)
    assert DefaultRecordBatch.HEADER_STRUCT.size == 61
    assert (batch.last_offset, batch.compression_type, bool(batch.validate_crc())) == (0, 0, True)
    assert (batch._pos, batch._decompressed) == (61, False)
    iter(batch)
    assert batch._decompressed
    batch._buffer[-2] = 0xFF  # the last letter of the header's name
    with pytest.raises(UnicodeDecodeError):
        batch._read_msg()
    batch._buffer[-2] = ord("e")
    assert batch._read_msg().headers == [("name", b"")]
    assert LegacyRecordBatch.RECORD_OVERHEAD_V0 == 14


# ---- membership: monitor/kafka/kept_joins.py, monitor/sources/kafka_health.py, monitor/sources/kafka.py


def test_joins_can_be_kept(consumer: Any) -> None:
    assert inspect.iscoroutinefunction(consumer._coordinator._do_join_and_sync_async)
    assert parameters(consumer._coordinator._do_join_and_sync_async) == []
    assert "self._do_join_and_sync_async" in inspect.getsource(
        inspect.getmodule(type(consumer._coordinator).__mro__[1])
    )  # type: ignore[arg-type]
    assert callable(consumer._net.sleep)


def test_health_can_be_asked(consumer: Any) -> None:
    heartbeat = consumer._coordinator.heartbeat
    assert isinstance(heartbeat.last_receive, float)
    assert isinstance(heartbeat.last_reset, float)
    names = {(name.group, name.name): metric for name, metric in consumer.metrics(raw=True).items()}
    assert names[("consumer-metrics", "connection-count")].value() >= 1
    assert consumer.group_metadata().state is not None


def test_the_cluster_knows_topics(consumer: Any) -> None:
    cluster = consumer._cluster
    (topic,) = consumer.subscription()
    assert cluster.unauthorized_topics == set()
    assert cluster.need_update in (True, False)
    assert cluster._last_successful_refresh_ms > 0
    assert cluster.partitions_for_topic(topic) == {0}
    assert cluster.partitions_for_topic("none") is None
    assert cluster.topic_id(topic) is None or isinstance(cluster.topic_id(topic), UUID)
    assert callable(consumer._net.run)
    assert callable(consumer._manager.wait_for)
    consumer._net.run(consumer._manager.wait_for, cluster.request_update(), 5_000)


def test_positions_have_an_epoch(consumer: Any) -> None:
    (partition,) = consumer.assignment()
    place = consumer._subscription.assignment[partition].position
    assert place.offset == consumer.position(partition)
    assert isinstance(place.leader_epoch, int)


# ---- producer, admin client, login, log


def test_a_producer_can_be_closed_without_waiting(embedded_broker: EmbeddedBroker) -> None:
    producer = KafkaProducer(bootstrap_servers=embedded_broker.bootstrap_servers)
    assert parameters(producer._sender.force_close) == []
    producer._sender.force_close()
    producer._sender.join(5.0)
    assert not producer._sender.is_alive()
    producer.close(timeout=1.0)


def test_transactions_can_be_waited_for_with_a_limit() -> None:
    manager = TransactionManager(transactional_id="t")
    assert manager.last_error is None
    assert parameters(manager.begin_commit) == parameters(manager.begin_abort) == []
    assert parameters(manager.send_offsets_to_transaction) == ["offsets", "group_metadata"]
    assert parameters(TransactionalRequestResult.wait) == ["self", "timeout_ms"]
    # the public methods do the same and wait for ever
    for method in (KafkaProducer.commit_transaction, KafkaProducer.send_offsets_to_transaction):
        source = inspect.getsource(method)
        assert "self._sender.wakeup()" in source
        assert "result.wait()" in source


def test_a_producer_knows_when_the_brokers_last_said_which_topics_there_are(embedded_broker: EmbeddedBroker) -> None:
    before_s = time.monotonic()
    producer = KafkaProducer(bootstrap_servers=embedded_broker.bootstrap_servers)
    producer.partitions_for(new_topic(embedded_broker))
    assert before_s < producer._metadata._last_successful_refresh_ms / 1000 < time.monotonic()
    producer.close(timeout=1.0)


def test_the_admin_client_can_ask_one_broker(embedded_broker: EmbeddedBroker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=embedded_broker.bootstrap_servers)
    try:
        assert inspect.iscoroutinefunction(admin._find_coordinator_id)
        assert callable(admin._manager.run)
        assert callable(admin._manager.send)
        assert callable(admin._net.sleep)
    finally:
        admin.close()


def test_clients_are_made_by_a_class_that_can_be_replaced() -> None:
    for client in (KafkaConsumer, KafkaProducer, KafkaAdminClient):
        assert client.DEFAULT_CONFIG["kafka_client"] is KafkaNetClient
    assert callable(KafkaNetClient.close)


def test_mechanisms_can_be_driven_by_hand() -> None:
    for name in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM", "GSSAPI"):
        mechanism = get_sasl_mechanism(name)
        assert all(callable(getattr(mechanism, n)) for n in ("auth_bytes", "receive", "is_done", "is_authenticated"))
    assert parameters(AbstractTokenProvider.token) == parameters(AbstractTokenProvider.extensions) == ["self"]


def test_failed_connections_are_told_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "kafka.net"), pytest.raises(kafka.errors.KafkaError):
        KafkaAdminClient(bootstrap_servers="127.0.0.1:1", bootstrap_timeout_ms=300)
    told = [
        arg for r in caplog.records if r.name.startswith("kafka.net") for arg in r.args if isinstance(arg, Exception)
    ]  # type: ignore[union-attr]
    assert any("ECONNREFUSED" in str(error) for error in told)
