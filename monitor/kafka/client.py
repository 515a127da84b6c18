"""Settings, connecting and errors that all Kafka clients of latentwatch share."""

from __future__ import annotations

import importlib.util
import ssl
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kafka import errors
from kafka.net.compat import KafkaNetClient
from pydantic import SecretStr

from monitor.config.kafka_options import CONNECTION
from monitor.config.sections import LOOPBACK, KafkaConfig
from monitor.errors import ConfigError, LatentwatchError, Permanent, Retryable
from monitor.kafka.connection_errors import ConnectionErrors, in_words
from monitor.kafka.oauth import ClientCredentials, TokenFile

C = TypeVar("C")

_PERMANENT = (
    errors.AuthorizationError,
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.UnsupportedVersionError,
    errors.KafkaConfigurationError,
    errors.InvalidTopicError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
)
_NEEDED_PACKAGES = {"AWS_MSK_IAM": "botocore", "GSSAPI": "gssapi"}
_BOOTSTRAP_TIMEOUT_MS = 5_000


def client_settings(config: KafkaConfig) -> dict[str, Any]:
    """The keyword arguments that every kafka-python client takes.

    Reads secrets, so that each new client has the current ones. Raises ConfigError with every problem.
    """
    problems: list[str] = []
    settings: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(config),
        "client_id": config.client_id,
        "security_protocol": config.security_protocol,
        "request_timeout_ms": config.request_timeout_ms,
        "connections_max_idle_ms": max(540_000, 2 * config.request_timeout_ms),
        "reconnect_backoff_ms": min(50, config.reconnect_backoff_max_ms),
        "reconnect_backoff_max_ms": config.reconnect_backoff_max_ms,
        "bootstrap_timeout_ms": _BOOTSTRAP_TIMEOUT_MS,
        # new topics and partitions are noticed within this time
        "metadata_max_age_ms": 60_000,
    }
    if config.security_protocol.endswith("SSL"):
        # kafka-python accepts ssl_ciphers but does not use it, so the context is made here
        settings["ssl_context"] = _attempt(problems, lambda: tls_context(config))
    if config.sasl_mechanism is not None:
        settings["sasl_mechanism"] = config.sasl_mechanism
    if config.sasl_mechanism == "OAUTHBEARER":
        settings["sasl_oauth_token_provider"] = _attempt(problems, lambda: token_provider(config))
    elif config.sasl_mechanism in _NEEDED_PACKAGES:
        package = _NEEDED_PACKAGES[config.sasl_mechanism]
        if importlib.util.find_spec(package) is None:
            problems.append(f"kafka.sasl_mechanism: {config.sasl_mechanism} needs a package: pip install {package}")
    elif config.sasl_mechanism is not None:
        settings["sasl_plain_username"] = config.sasl_username
        settings["sasl_plain_password"] = _attempt(
            problems, lambda: read_secret("kafka.sasl_password", config.sasl_password, config.sasl_password_file)
        )
    settings |= {name: value for name, value in config.options.items() if name in CONNECTION}
    if "api_version" in settings:
        settings["api_version"] = tuple(settings["api_version"])
    if config.proxy_url_file is not None:
        settings["proxy_url"] = _attempt(problems, lambda: read_secret("kafka.proxy_url", None, config.proxy_url_file))
    if problems:
        raise ConfigError(problems)
    return settings


def bootstrap_servers(config: KafkaConfig) -> list[str]:
    """The host:port entries of kafka.bootstrap_servers."""
    return [server.strip() for server in config.bootstrap_servers.split(",") if server.strip()]


def tls_context(config: KafkaConfig) -> ssl.SSLContext:
    """The TLS context for connections to brokers. Raises ConfigError with every file or option that cannot be used."""
    problems: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = config.ssl_check_hostname
    if config.ssl_cafile is None:
        context.load_default_certs()
    else:
        _load(problems, "kafka.ssl_cafile", config.ssl_cafile, lambda p: context.load_verify_locations(p))
    if config.ssl_crlfile is not None:
        _load(problems, "kafka.ssl_crlfile", config.ssl_crlfile, lambda p: context.load_verify_locations(p))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if config.ssl_certfile is not None:
        # without a pass phrase, OpenSSL would ask for one at the terminal
        phrase = _attempt(
            problems, lambda: read_secret("kafka.ssl_password", config.ssl_password, config.ssl_password_file, "")
        )
        _load(
            problems,
            "kafka.ssl_certfile and ssl_keyfile",
            config.ssl_certfile,
            lambda p: context.load_cert_chain(p, config.ssl_keyfile, phrase or ""),
        )
    if config.ssl_ciphers is not None:
        try:
            context.set_ciphers(config.ssl_ciphers)
        except ssl.SSLError as e:
            problems.append(f"kafka.ssl_ciphers: {config.ssl_ciphers!r}: {e.args[0]}")
    if problems:
        raise ConfigError(problems)
    return context


def token_provider(config: KafkaConfig) -> TokenFile | ClientCredentials:
    """Where OAUTHBEARER tokens come from. Raises ConfigError."""
    if config.oauth_token_file is not None:
        return TokenFile(config.oauth_token_file, config.oauth_extensions)
    url = urllib.parse.urlsplit(config.oauth_token_url or "")
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
        raise ConfigError(
            f"kafka.oauth_token_url: {config.oauth_token_url}: only https:// keeps the client secret safe"
        )
    tls = ssl.create_default_context()
    if config.ssl_cafile is not None:
        # in private clusters, one authority often signs for brokers and token server
        problems: list[str] = []
        _load(problems, "kafka.ssl_cafile", config.ssl_cafile, lambda p: tls.load_verify_locations(p))
        if problems:
            raise ConfigError(problems)
    secret = read_secret("kafka.oauth_client_secret", config.oauth_client_secret, config.oauth_client_secret_file)
    return ClientCredentials(
        config.oauth_token_url or "",
        config.oauth_client_id or "",
        secret,
        config.oauth_scope,
        tls,
        config.oauth_extensions,
    )


def open_client(make: Callable[..., C], config: KafkaConfig, **settings: Any) -> C:
    """A kafka-python client that has reached a broker; `settings` override those of `client_settings`.

    Blocks for a few seconds at most. Raises ConfigError, Retryable with the real reason if no broker answers, and
    Permanent if the brokers refuse the client.
    """
    opened: list[KafkaNetClient] = []

    def net_client(**kwargs: Any) -> KafkaNetClient:
        opened.append(KafkaNetClient(**kwargs))
        return opened[-1]

    with ConnectionErrors() as seen:
        try:
            # the rest of the options belongs to the consumer or to the producer
            known = getattr(make, "DEFAULT_CONFIG", {})
            options = {n: v for n, v in config.options.items() if n not in CONNECTION and n in known}
            return make(**(client_settings(config) | {"kafka_client": net_client} | settings | options))
        except (errors.KafkaError, OSError) as e:
            # a constructor that fails leaves its network thread running
            for client in opened:
                client.close()
            found = failure(e, f"cannot reach a broker of {config.bootstrap_servers}", seen.reason)
            if isinstance(found, Retryable):
                found.kind = "broker_down"
            raise found from None


def failure(error: Exception, doing: str, reason: str | None = None) -> LatentwatchError:
    """`error` as Retryable or Permanent; `reason` replaces the text of a bare timeout."""
    if isinstance(error, LatentwatchError):
        return error
    if reason is None or not isinstance(error, errors.KafkaTimeoutError):
        reason = " ".join(str(error).split()) or type(error).__name__
    refused = "SaslAuthenticationFailedError" in reason or "UnsupportedSaslMechanismError" in reason
    return (Permanent if refused or isinstance(error, _PERMANENT) else Retryable)(f"{doing}: {in_words(reason)}")


def read_secret(key: str, value: SecretStr | None, file: Path | None, default: str | None = None) -> str:
    """The secret in `value` or in `file`. Raises ConfigError naming `key`, or `key`_file, if there is none."""
    if value is not None:
        return value.get_secret_value()
    if file is None:
        if default is None:
            raise ConfigError(f"{key}: neither {key} nor {key}_file is set")
        return default
    try:
        # editors and `echo` end a file with a newline that is not part of the secret
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{key}_file: {file}: {_why(e)}") from None
    if not text:
        raise ConfigError(f"{key}_file: {file}: the file is empty")
    return text


def _load(problems: list[str], key: str, path: Path, load: Callable[[Path], object]) -> None:
    try:
        load(path)
    except (OSError, ValueError) as e:
        problems.append(f"{key}: {path}: {_why(e)}")


def _attempt(problems: list[str], read: Callable[[], C]) -> C | None:
    try:
        return read()
    except ConfigError as e:
        problems.extend(e.problems)
        return None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not usable as PEM ({getattr(error, 'reason', None) or error.args[0]})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
