"""Bearer tokens for SASL OAUTHBEARER: from a mounted file, or from the OAuth 2.0 client-credentials flow."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kafka.net.sasl.oauth import AbstractTokenProvider

from monitor.errors import Retryable

_TIMEOUT_S = 5.0
_EARLY_S = (
    60.0  # a token is replaced this long before it expires; one that lives under 5 minutes, after 80 % of its life
)
_DEFAULT_LIFE_S = 300.0  # for servers that do not send expires_in (RFC 6749, 5.1: recommended, not required)
_MAX_ANSWER_BYTES = 1_000_000


class _WithExtensions(AbstractTokenProvider):  # type: ignore[misc]
    """Names and values that go with each token (RFC 7628, 3.1)."""

    def __init__(self, extensions: Mapping[str, str] | None) -> None:
        super().__init__()
        self._extensions = dict(extensions or {})

    def extensions(self) -> dict[str, str]:
        """Called by the client with each token."""
        return self._extensions


class TokenFile(_WithExtensions):
    """The token in a file that another process keeps fresh; read for every new connection."""

    def __init__(self, path: Path, extensions: Mapping[str, str] | None = None) -> None:
        super().__init__(extensions)
        self._path = path

    def token(self) -> str:
        """Raises Retryable if the file cannot be read or is empty."""
        try:
            token = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as e:
            raise Retryable(f"kafka.oauth_token_file: {self._path}: {_why(e)}") from None
        if not token:
            raise Retryable(f"kafka.oauth_token_file: {self._path}: the file is empty")
        return token


class ClientCredentials(_WithExtensions):
    """Tokens of the client-credentials flow (RFC 6749, 4.4), kept until shortly before they expire.

    The client authenticates by HTTP Basic (RFC 6749, 2.3.1). `tls` verifies the token endpoint.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        scope: str | None,
        tls: ssl.SSLContext,
        extensions: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(extensions)
        self._url = url
        self._basic = base64.b64encode(f"{_quoted(client_id)}:{_quoted(client_secret)}".encode()).decode()
        self._form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._tls = tls
        self._lock = threading.Lock()
        self._token = ""
        self._fresh_until_s = 0.0  # monotonic

    def token(self) -> str:
        """Blocks for a few seconds at most. Raises Retryable with the endpoint's own reason."""
        with self._lock:
            if time.monotonic() >= self._fresh_until_s:
                answer = self._ask()
                self._token = answer["access_token"]
                life_s = _seconds(answer.get("expires_in"))
                self._fresh_until_s = time.monotonic() + max(life_s - _EARLY_S, life_s * 0.8 if life_s < 300 else 0)
            return self._token

    def _ask(self) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - token_provider checks the scheme
            self._url,
            data=urllib.parse.urlencode(self._form).encode(),
            headers={
                "Authorization": f"Basic {self._basic}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=self._tls) as response:  # noqa: S310
                answer = json.loads(response.read(_MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as e:
            with e:
                raise Retryable(f"{self._where}: HTTP {e.code} {_oauth_error(e)}".rstrip()) from None
        except (OSError, ValueError, http.client.HTTPException) as e:
            raise Retryable(f"{self._where}: {_why(e)}") from None
        if (
            not isinstance(answer, dict)
            or not isinstance(answer.get("access_token"), str)
            or not answer["access_token"]
        ):
            raise Retryable(f"{self._where}: the answer has no access_token")
        return answer

    @property
    def _where(self) -> str:
        return f"kafka.oauth_token_url: {self._url}"


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _seconds(value: object) -> float:
    try:
        return max(float(str(value)), 1.0)
    except ValueError:
        return _DEFAULT_LIFE_S


def _oauth_error(error: urllib.error.HTTPError) -> str:
    """The `error` member of an OAuth error answer (RFC 6749, 5.2); the rest could echo secrets."""
    try:
        body = json.loads(error.read(_MAX_ANSWER_BYTES))
    except (OSError, ValueError):
        return ""
    code = body.get("error") if isinstance(body, dict) else None
    return code if isinstance(code, str) else ""


def _why(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__
