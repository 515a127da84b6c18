"""WebhookSink: one HTTP request for each alert, signed, with a body of the receiver's form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, SecretStr, model_validator

from monitor.alerts.alert import Alert
from monitor.sinks.http import HttpDestination, HttpSinkConfig

if TYPE_CHECKING:
    from monitor.sinks.body_template import BodyTemplate
    from monitor.sinks.signature import WebhookSigner
    from monitor.sinks.sink import SinkContext

_KEY = "sinks.webhook"
_REMEMBERED = 1_000


class WebhookSinkConfig(HttpSinkConfig):
    """Alerts to any HTTP endpoint, one POST request each."""

    url: str | None = None
    """Where requests go; use url_file if the URL itself is a secret."""
    url_file: Path | None = None
    """File that holds the URL, if it is a secret."""
    secret: SecretStr | None = None
    """Signs every request as Standard Webhooks has it: at least 24 bytes in base64; without it, they are not signed."""
    secret_file: Path | None = None
    """File that holds the secret."""
    template: str | None = None
    """Jinja2 template of the body; if omitted, the body is the alert as JSON."""
    template_secret_files: dict[str, Path] = Field(default_factory=dict)
    """Files by name; the template has their text as `secrets.NAME`."""
    content_type: str = Field(default="application/json", pattern=r"^[\w.+-]+/[\w.+-]+(; ?[\w.+-]+=[\w.+-]+)*$")
    """Content-Type of requests; if it is JSON, the template must make JSON."""

    @model_validator(mode="after")
    def _one_url(self) -> WebhookSinkConfig:
        if self.enabled and (self.url is None) == (self.url_file is None):
            raise ValueError("set either url or url_file")
        return self


class WebhookSink:
    """A Sink. The header webhook-id is the alert's id, by which a receiver can drop repeats.

    What was delivered lately is not sent again if the same batch is tried once more.
    """

    name = "webhook"
    config_type: ClassVar[type[WebhookSinkConfig]] = WebhookSinkConfig

    def __init__(self, config: WebhookSinkConfig) -> None:
        """Raises ConfigError for a bad URL, secret or template, and for files that can't be read."""
        from monitor.kafka.client import read_secret

        self._config = config
        self._signer = _signer(config)
        self._template = _template(config)
        url = config.url or read_secret(f"{_KEY}.url", None, config.url_file)
        self._destination = HttpDestination(_KEY, url, config)
        self._pending: list[Alert] = []
        self._delivered: dict[str, None] = {}  # ids, oldest first

    @classmethod
    def open(cls, config: WebhookSinkConfig, context: SinkContext) -> WebhookSink:  # noqa: ARG003 - as SinkType has it
        """The sink of a config. Raises ConfigError as the constructor does."""
        return cls(config)

    def add(self, alert: Alert) -> None:
        self._pending.append(alert)

    def flush(self) -> None:
        """Sends every alert added so far. Raises Retryable or Permanent at the first that fails."""
        for alert in self._pending:
            if alert.id not in self._delivered:
                self._send(alert)
                self._delivered[alert.id] = None
        self._pending.clear()
        while len(self._delivered) > _REMEMBERED:
            self._delivered.pop(next(iter(self._delivered)))

    def reset(self) -> None:
        self._pending.clear()
        self._destination.reset()

    def close(self) -> None:
        self._destination.close()

    def _send(self, alert: Alert) -> None:
        body = alert.to_json().encode() if self._template is None else self._template.render(alert)
        if not body:
            return
        headers = {"Content-Type": self._config.content_type}
        if self._signer is not None:
            headers |= self._signer.headers(alert.id, body)
        self._destination.post(body, headers)


def _signer(config: WebhookSinkConfig) -> WebhookSigner | None:
    from monitor.kafka.client import read_secret
    from monitor.sinks.signature import WebhookSigner

    if config.secret is None and config.secret_file is None:
        return None
    key = f"{_KEY}.secret" if config.secret is not None else f"{_KEY}.secret_file"
    return WebhookSigner(read_secret(f"{_KEY}.secret", config.secret, config.secret_file), key)


def _template(config: WebhookSinkConfig) -> BodyTemplate | None:
    from monitor.kafka.client import read_secret
    from monitor.sinks.body_template import BodyTemplate

    if config.template is None:
        return None
    files = config.template_secret_files.items()
    secrets = {name: read_secret(f"{_KEY}.template_secret_files.{name}", None, file) for name, file in files}
    return BodyTemplate(config.template, secrets, "json" in config.content_type, f"{_KEY}.template")
