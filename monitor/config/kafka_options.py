"""The settings of kafka-python that `kafka.options` passes on, and why it refuses the others."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

CONNECTION: Mapping[str, type] = {
    "api_version": list,
    "bootstrap_timeout_ms": int,
    "client_dns_lookup": str,
    "connections_max_idle_ms": int,
    "max_in_flight_requests_per_connection": int,
    "metadata_max_age_ms": int,
    "proxy_url": str,
    "receive_buffer_bytes": int,
    "receive_message_max_bytes": int,
    "reconnect_backoff_ms": int,
    "retry_backoff_ms": int,
    "sasl_kerberos_domain_name": str,
    "sasl_kerberos_name": str,
    "sasl_kerberos_service_name": str,
    "send_buffer_bytes": int,
}
"""Of every client."""

CLIENT: Mapping[str, type] = {
    "batch_size": int,
    "check_crcs": bool,
    "client_rack": str,
    "enable_incremental_fetch_sessions": bool,
    "fetch_max_bytes": int,
    "fetch_max_wait_ms": int,
    "fetch_min_bytes": int,
    "group_instance_id": str,
    "max_partition_fetch_bytes": int,
}
"""Of the consumer or of the producers only."""

OWN_KEYS: Mapping[str, str] = {
    **{
        name: f"kafka.{name}"
        for name in (
            "bootstrap_servers",
            "client_id",
            "security_protocol",
            "ssl_cafile",
            "ssl_certfile",
            "ssl_keyfile",
            "ssl_password",
            "ssl_check_hostname",
            "ssl_crlfile",
            "ssl_ciphers",
            "sasl_mechanism",
            "request_timeout_ms",
            "reconnect_backoff_max_ms",
        )
    },
    **{
        name: f"source.{name}"
        for name in (
            "group_id",
            "auto_offset_reset",
            "isolation_level",
            "max_poll_records",
            "session_timeout_ms",
            "heartbeat_interval_ms",
            "max_poll_interval_ms",
        )
    },
    "sasl_plain_username": "kafka.sasl_username",
    "sasl_plain_password": "kafka.sasl_password_file",
    "sasl_oauth_token_provider": "kafka.oauth_token_file or kafka.oauth_token_url",
    "socks5_proxy": "kafka.options.proxy_url",
    "compression_type": "sinks.kafka.compression_type",
    "delivery_timeout_ms": "sinks.kafka.delivery_timeout_ms",
}
"""What has a key elsewhere."""

REFUSED: frozenset[str] = frozenset({
    # latentwatch depends on its own values: commits by hand, nothing lost, one record of bytes at a time
    "acks", "allow_auto_create_topics", "auto_commit_interval_ms", "consumer_timeout_ms", "enable_auto_commit",
    "enable_idempotence", "exclude_internal_topics", "linger_ms", "max_block_ms", "max_request_size", "retries",
    "transaction_timeout_ms", "transactional_id",
    # Python objects
    "default_offset_commit_callback", "kafka_client", "key_deserializer", "key_serializer", "partitioner",
    "partition_assignment_strategy", "selector", "socket_options", "ssl_context", "value_deserializer",
    "value_serializer",
    # metrics of the client, which latentwatch does not show
    "metric_group_prefix", "metric_reporters", "metrics_enabled", "metrics_num_samples", "metrics_sample_window_ms",
})  # fmt: skip
"""What cannot be set at all."""


def option_problems(options: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with a mapping of options, one line each."""
    known = {**CONNECTION, **CLIENT}
    for name, value in options.items():
        if name in OWN_KEYS:
            yield f"options.{name}: set {OWN_KEYS[name]} instead"
        elif name in REFUSED:
            yield f"options.{name}: latentwatch sets this itself"
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"options.{name}: unknown option{f'; did you mean {near[0]}?' if near else ''}"
        elif type(value) is not known[name]:
            wanted = {int: "a whole number", bool: "true or false", str: "text", list: "a list such as [3, 9]"}
            yield f"options.{name}: should be {wanted[known[name]]}"
        elif name == "proxy_url" and "@" in str(value):
            yield "options.proxy_url: a URL with a password belongs in a file; name it in kafka.proxy_url_file"
