"""SignalExporter: sends one signal to an OTLP/HTTP receiver and returns the outcome of every export."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from google.protobuf.message import DecodeError
from opentelemetry._logs import NoOpLogger
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from urllib3.util import Timeout

from monitor.config.sinks import OtelConfig
from monitor.errors import ConfigError

_HEADER_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_MAX_REPLY_BYTES = 65_536

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True)
class ExportOutcome:
    """The outcome of one export."""

    failure: str | None = None
    """Why it failed; None if the receiver answered 2xx."""
    rejected: int = 0
    """Items that the receiver refused in a partial-success response."""
    retry_after_s: float | None = None
    """The receiver's Retry-After."""


def check_sdk_enabled() -> None:
    """Raises ConfigError if the environment disables the OpenTelemetry SDK, which would drop everything silently."""
    if isinstance(LoggerProvider(shutdown_on_exit=False).get_logger("latentwatch"), NoOpLogger):
        raise ConfigError(
            "sinks.otel.enabled: OTEL_SDK_DISABLED is set in the environment; unset it, or disable the sink"
        )


def endpoint(config: OtelConfig, path: str) -> str:
    """The URL of one signal. Raises ConfigError naming sinks.otel.endpoint."""
    try:
        parts = urlsplit(config.endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, an unbalanced bracket
        usable = False
    if not usable:
        raise ConfigError("sinks.otel.endpoint: expected http://HOST[:PORT] or https://HOST[:PORT]")
    return f"{config.endpoint.rstrip('/')}/v1/{path}"


def read_headers(path: Path | None, section: str = "sinks.otel") -> dict[str, str]:
    """The `name: value` lines of the headers file of `section`; skips blank lines and lines that begin with #.

    Raises ConfigError with the number of every bad line, never its text: it may be a token.
    """
    if path is None:
        return {}
    where = f"{section}.headers_file: {path}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8 text") from None
    except OSError as e:
        raise ConfigError(f"{where}: {e.strerror or e}") from None
    headers: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not (colon and _HEADER_NAME.match(name) and value and value.isascii() and value.isprintable()):
            problems.append(f"{where}: line {number}: expected `name: value` in printable ASCII")
        elif name in headers:
            problems.append(f"{where}: line {number}: this header appears twice")
        headers[name] = value
    if problems:
        raise ConfigError(problems)
    return headers


class Session(requests.Session):
    """A session that remembers how its last request ended; the exporters only report success or failure."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = True
        self.outcome = ExportOutcome(failure="nothing was sent")

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Sends, and records the outcome. A redirect is a failure; the exporters would count it as delivered."""
        if isinstance(kwargs.get("timeout"), int | float):
            # requests would apply a number twice: to connecting and to the answer
            kwargs["timeout"] = Timeout(total=kwargs["timeout"])
        try:
            response = super().send(request, **kwargs)
            body = response.raw.read(_MAX_REPLY_BYTES, decode_content=True)
            response.close()
        except Exception as e:
            self.outcome = ExportOutcome(failure=cause(e))
            raise
        if 200 <= response.status_code < 300:
            self.outcome = ExportOutcome(rejected=_rejected(response, body))
        else:
            self.outcome = ExportOutcome(
                failure=f"HTTP {response.status_code} {response.reason}".strip(),
                retry_after_s=retry_after_s(response),
            )
        return response


def cause(error: BaseException) -> str:
    """The innermost reason, without what the libraries wrap around it."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
        return "no answer in time"
    seen: list[BaseException] = [error]
    while True:
        reason = getattr(seen[-1], "reason", None)
        inner = reason if isinstance(reason, BaseException) else seen[-1].__cause__ or seen[-1].__context__
        if inner is None or inner in seen:
            break
        seen.append(inner)
    last = seen[-1]
    return getattr(last, "strerror", None) or str(last) or type(last).__name__


def retry_after_s(response: requests.Response) -> float | None:
    """Its Retry-After, if that is a number of seconds."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None


def _rejected(response: requests.Response, body: bytes) -> int:
    """Items refused in a partial-success response; logs, traces and metrics use the same protobuf layout."""
    if "protobuf" not in response.headers.get("content-type", ""):
        return 0
    try:
        return max(0, int(ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records))
    except DecodeError:
        return 0


class _Exporter(Protocol[T_contra]):
    def export(self, batch: Sequence[T_contra], /) -> Any: ...

    def shutdown(self) -> None: ...


class _ExporterFactory(Protocol[T_contra]):
    def __call__(
        self,
        *,
        endpoint: str,
        headers: dict[str, str],
        timeout: float,
        compression: Compression,
        session: requests.Session,
    ) -> _Exporter[T_contra]: ...


class SignalExporter(Generic[T]):
    """Sends batches of one signal.

    Blocks for at most config.timeout_s, retries included. Name resolution, and a receiver that sends its answer byte by
    byte, may take longer.
    """

    def __init__(self, config: OtelConfig, path: str, exporter: _ExporterFactory[T]) -> None:
        self._session = Session()
        self._exporter = exporter(session=self._session, **options(config, path))

    def export(self, batch: Sequence[T]) -> ExportOutcome:
        """Sends one batch."""
        self._session.outcome = ExportOutcome(failure="the batch could not be encoded or is too large")
        self._exporter.export(batch)
        return self._session.outcome

    def close(self) -> None:
        """Frees the connection."""
        self._exporter.shutdown()


def options(config: OtelConfig, path: str) -> dict[str, Any]:
    """The arguments that the exporters of all signals share. Raises ConfigError."""
    return {
        "endpoint": endpoint(config, path),
        "headers": read_headers(config.headers_file),
        "timeout": config.timeout_s,
        "compression": Compression.Gzip,
    }
