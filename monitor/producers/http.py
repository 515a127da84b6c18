"""HttpTransport: published events to the HTTP intake of a sidecar, `POST /v1/events`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import httpx

from monitor.errors import ConfigError, Permanent, Retryable
from monitor.producers.transport import Message

_TIMEOUT_S = 10.0
_RETRIED = (401, 403, 408, 429, 500, 502, 503, 504)
"""What time or an operator can change; anything else is about the event."""


class HttpTransport:
    """A Transport. Returns from `send` once the sidecar has accepted the events; it holds them in memory only."""

    def __init__(self, url: str, socket: Path | None = None, token_file: Path | None = None) -> None:
        """`url` is that of the endpoint; with `socket`, it is reached through that Unix socket. Raises ConfigError."""
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"{url}: expected a URL such as http://127.0.0.1:9465/v1/events")
        self._url = parsed
        self._token_file = token_file
        transport = httpx.HTTPTransport(uds=str(socket) if socket is not None else None)
        # neither proxies nor passwords from the environment
        self._client = httpx.Client(transport=transport, timeout=_TIMEOUT_S, trust_env=False)

    def send(self, messages: Sequence[Message]) -> None:
        """See Transport. One request for each message."""
        for message in messages:
            self._send_one(message)

    def close(self) -> None:
        """See Transport."""
        self._client.close()

    def _send_one(self, message: Message) -> None:
        headers = [(name.encode(), value) for name, value in message.headers]
        headers.append((b"content-type", b"application/json"))
        if self._token_file is not None:
            headers.append((b"authorization", f"Bearer {self._token()}".encode()))
        try:
            answer = self._client.post(self._url, content=message.value, headers=headers)
        except httpx.HTTPError as e:
            raise Retryable(f"cannot reach {self._url}: {e}") from None
        if answer.is_success:
            return
        reason = f"{self._url} answers {answer.status_code}: {_error(answer)}"
        if answer.status_code in _RETRIED:
            after = answer.headers.get("retry-after", "")
            raise Retryable(reason, float(after) if after.isdecimal() else 1.0)
        raise Permanent(reason)

    def _token(self) -> str:
        """Read every time, so that it can be rotated."""
        try:
            return self._token_file.read_text(encoding="utf-8").strip() if self._token_file is not None else ""
        except (OSError, UnicodeDecodeError) as e:
            raise Retryable(f"{self._token_file}: cannot be read: {type(e).__name__}") from None


def _error(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])[:200]
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
