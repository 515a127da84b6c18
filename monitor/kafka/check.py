"""broker_problems: why this configuration cannot work with its brokers, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kafka import KafkaAdminClient, errors
from kafka.admin import ACLOperation
from kafka.protocol.admin import DescribeGroupsRequest

from monitor.config.sections import Config
from monitor.errors import ConfigError, LatentwatchError
from monitor.kafka.check_address import address_problem
from monitor.kafka.client import bootstrap_servers, client_settings, open_client
from monitor.kafka.connection_errors import ConnectionErrors

_ADDRESS_SHARE = 0.4  # most of the time that address checks may take; the rest is for what needs a session


def broker_problems(config: Config, timeout_s: float = 10.0) -> list[str]:
    """All problems of `config` with its brokers, one line each with what to do; empty if it will work.

    Checks names, ports, TLS, authentication, topics and permissions within `timeout_s`. Changes nothing.
    """
    give_up_at_s = time.monotonic() + timeout_s
    try:
        settings = client_settings(config.kafka)
    except ConfigError as e:
        return list(e.problems)
    servers = bootstrap_servers(config.kafka)

    def check_address(server: str) -> str | None:
        if "proxy_url" in settings:
            return None  # only the proxy has to reach it
        return address_problem(server, settings, config.kafka.ssl_certfile is not None, timeout_s * _ADDRESS_SHARE)

    with ThreadPoolExecutor(max_workers=min(8, len(servers))) as pool:
        found = list(pool.map(check_address, servers))
    problems = list(dict.fromkeys(problem for problem in found if problem is not None))
    usable = [server for server, problem in zip(servers, found, strict=True) if problem is None]
    if usable:
        problems += _session_problems(config, usable, set(servers), check_address, give_up_at_s)
    return problems


def _session_problems(
    config: Config,
    usable: list[str],
    checked: set[str],
    check_address: Callable[[str], str | None],
    give_up_at_s: float,
) -> list[str]:
    left_ms = max(1_000, int((give_up_at_s - time.monotonic()) * 1000 / 2))
    with ConnectionErrors() as seen:
        try:
            admin = open_client(
                KafkaAdminClient,
                config.kafka,
                bootstrap_servers=usable,
                bootstrap_timeout_ms=left_ms,
                request_timeout_ms=left_ms,
                # asking twice a second is enough
                reconnect_backoff_ms=500,
            )
        except LatentwatchError as e:
            return [str(e)]
    try:
        found = _advertised_problems(admin, checked, check_address)
        return found or [*_topic_problems(admin, config), *_group_problems(admin, config, give_up_at_s)]
    except (errors.KafkaError, OSError) as e:
        return [f"kafka.bootstrap_servers: {','.join(usable)}: {seen.reason or e}"]
    finally:
        admin.close()


def _advertised_problems(admin: Any, checked: set[str], check_address: Callable[[str], str | None]) -> list[str]:
    """Clients reach brokers by the addresses that they advertise, whatever the bootstrap list says."""
    brokers = admin.describe_cluster()["brokers"]
    addresses = [f"{broker['host']}:{broker['port']}" for broker in brokers]
    found = [check_address(address) for address in addresses if address not in checked][:8]
    return [
        f"{problem} (a broker advertises this address: see its advertised.listeners)"
        for problem in found
        if problem is not None
    ]


def _topic_problems(admin: Any, config: Config) -> list[str]:
    wanted: list[tuple[str, str, str]] = []
    if config.source.kind == "kafka":
        wanted.append(("source.topic", config.source.topic, "READ"))
        wanted.append(("source.dead_letter_topic", config.source.dead_letter_topic, "WRITE"))
    if config.overload.sampling is not None:
        wanted.append(("overload.topic", config.overload.topic, "WRITE"))
    if config.drift.topic is not None:
        wanted.append(("drift.topic", config.drift.topic, "WRITE"))
    for sink, section in config.sinks.enabled().items():
        wanted += [(f"sinks.{sink}.{key}", topic, "WRITE") for key, topic in section.kafka_topics().items()]
    described = {topic["name"]: topic for topic in admin.describe_topics([name for _, name, _ in wanted])}
    problems = []
    for key, name, operation in wanted:
        topic = described.get(name, {"error_code": errors.UnknownTopicOrPartitionError.errno})
        error = errors.for_code(topic["error_code"])
        if error is errors.TopicAuthorizationFailedError:
            problems.append(f"{key}: {name}: no permission to see the topic{_grant(config, operation, 'topic', name)}")
        elif error is errors.UnknownTopicOrPartitionError:
            problems.append(f"{key}: {name}: the topic does not exist; create it, or correct the name")
        elif error is errors.InvalidTopicError:
            problems.append(f"{key}: {name}: not a valid topic name")
        elif not _allowed(topic.get("authorized_operations", ()), operation):
            verb = "read from" if operation == "READ" else "write to"
            problems.append(
                f"{key}: {name}: no permission to {verb} the topic{_grant(config, operation, 'topic', name)}"
            )
    return problems


def _group_problems(admin: Any, config: Config, give_up_at_s: float) -> list[str]:
    if config.source.kind != "kafka":
        return []
    group = config.source.group_id
    denied = (
        f"source.group_id: {group}: no permission to join the consumer group{_grant(config, 'READ', 'group', group)}"
    )

    async def describe() -> Any:
        while True:
            try:
                coordinator = await admin._find_coordinator_id(group)
                break
            except errors.RetriableError:
                # the first group of a cluster has to wait for the offsets topic
                if time.monotonic() > give_up_at_s - 1:
                    raise
                await admin._net.sleep(0.2)
        # above version 5, a group that does not exist yet is an error without the allowed operations
        request = DescribeGroupsRequest(groups=[group], include_authorized_operations=True, max_version=5)
        return (await admin._manager.send(request, node_id=coordinator)).groups[0]

    try:
        answer = admin._manager.run(describe)
    except errors.GroupAuthorizationFailedError:
        return [denied]
    if errors.for_code(answer.error_code) is errors.GroupAuthorizationFailedError:
        return [denied]
    # as numbers: the client's own decoding fails on operations that it does not know
    operations = set(answer.authorized_operations or ())
    return [] if not operations or ACLOperation.READ in operations else [denied]


def _allowed(operations: Iterable[Any] | None, wanted: str) -> bool:
    """Whether the operation is among them; brokers without permissions list none."""
    names = {getattr(operation, "name", str(operation)) for operation in operations or ()}
    return not names or bool(names & {wanted, "ALL"})


def _grant(config: Config, operation: str, kind: str, name: str) -> str:
    user = config.kafka.sasl_username
    who = f"User:{user}" if user else "this client"
    return f"; grant {who} {operation} on {kind} {name}"
