"""BodyTemplate: makes the body of a request from an alert, by a Jinja2 template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from monitor.alerts.alert import Alert
from monitor.errors import ConfigError, Permanent
from monitor.sinks.sample_alert import sample_alert


class BodyTemplate:
    """A template that sees `alert`, as in its JSON, and `secrets`. One that renders to nothing sends nothing.

    Raises ConfigError if it can't be rendered for an alert with and without text, or makes no JSON where it should.
    """

    def __init__(self, text: str, secrets: Mapping[str, str], is_json: bool, key: str) -> None:
        self._secrets = dict(secrets)
        self._is_json = is_json
        # no HTML comes of it, so nothing is escaped; JSON comes of the filter tojson
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        environment.policies["json.dumps_kwargs"] = {"default": _refuse}
        try:
            self._template = environment.from_string(text)
            for content in (False, True):
                self._rendered(sample_alert(content))
        except Exception as e:  # noqa: BLE001 - a template may fail in any way
            line = f"line {e.lineno}: " if isinstance(e, TemplateSyntaxError) else ""
            raise ConfigError(f"{key}: {line}{_without_secrets(e, self._secrets)}") from None

    def render(self, alert: Alert) -> bytes:
        """The body; empty if the template chooses not to send this alert. Raises Permanent."""
        try:
            return self._rendered(alert)
        except Exception as e:  # noqa: BLE001 - it may fail in any way, and its message may hold text of the event
            raise Permanent(f"the template failed: {type(e).__name__}") from None

    def _rendered(self, alert: Alert) -> bytes:
        fields: dict[str, Any] = alert.model_dump(mode="json", by_alias=True)
        body = self._template.render(alert=fields, secrets=self._secrets).strip()
        if body and self._is_json:
            try:
                json.loads(body)
            except ValueError as e:
                raise ValueError(f"it renders to no JSON: {e}; put values in with {{{{ value | tojson }}}}") from None
        return body.encode(errors="backslashreplace")


def _refuse(value: object) -> object:
    if isinstance(value, Undefined):
        str(value)  # raises with the name of what is missing
    raise TypeError(f"tojson can't write a {type(value).__name__}")


def _without_secrets(error: Exception, secrets: Mapping[str, str]) -> str:
    text = str(error)
    for secret in secrets.values():
        text = text.replace(secret, "(hidden)")
    return text
