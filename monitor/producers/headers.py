"""Headers: what an event says of the request that it was in, and what it never says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.config.http import CREDENTIAL_HEADERS
from monitor.errors import ConfigError

_MAX_CHARS = 256


@dataclass(frozen=True)
class HeaderNames:
    """The headers that are looked at, in lower case; no others are. Raises ConfigError for one with credentials."""

    tenant: str | None = None
    """Becomes the attribute tenant."""
    request_id: str = "x-request-id"
    """Becomes the attribute request_id. Not the event's id, because callers can choose it."""
    traceparent: str = "traceparent"
    """Becomes the event's traceparent."""

    def __post_init__(self) -> None:
        for name in (self.tenant, self.request_id):
            if name is not None and name.lower() in CREDENTIAL_HEADERS:
                raise ConfigError(f"the header {name} holds credentials, which are never published")

    def attributes(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The attributes of an event; `headers` has names in lower case."""
        wanted = {"tenant": self.tenant, "request_id": self.request_id}
        found = {key: headers.get(name.lower()) for key, name in wanted.items() if name is not None}
        return {key: value[:_MAX_CHARS] for key, value in found.items() if value}

    def traceparent_of(self, headers: Mapping[str, str]) -> str | None:
        """The span that the request belongs to."""
        return headers.get(self.traceparent.lower())
