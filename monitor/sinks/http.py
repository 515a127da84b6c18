"""HttpDestination: posts alerts to one URL, with TLS verified and redirects refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from monitor.config.section import Seconds
from monitor.config.sinks import SinkConfig
from monitor.errors import ConfigError, Permanent, Retryable

if TYPE_CHECKING:  # the config is loaded without the client library
    import requests

_log = logging.getLogger(__name__)

_MAX_REPLY_BYTES = 65_536
_ABOUT_THE_ALERT = (400, 413, 415, 422)
"""Answers to what was sent; time or an operator can change all others."""


class HttpSinkConfig(SinkConfig):
    """What the sections of sinks that post to a URL have."""

    required: bool = False
    """If true, nothing is committed before the receiver has the alerts; if false, it never holds anything up."""
    headers_file: Path | None = None
    """File of `name: value` lines, sent as headers with every request; for access tokens."""
    cafile: Path | None = None
    """PEM file of the authorities that may sign the receiver's certificate; if omitted, those of the system."""
    timeout_s: Seconds = 5.0
    """Longest wait for one answer."""


class HttpDestination:
    """Posts to one URL over kept connections.

    An answer that comes byte by byte may take longer than the timeout. Proxies are taken from the environment,
    passwords are not. Messages name only the host, because the rest of a URL may be secret.
    """

    def __init__(self, key: str, url: str, config: HttpSinkConfig) -> None:
        """`key` is the section of the config. Raises ConfigError for a bad URL or a file that can't be used."""
        self._key = key
        self._url = url
        self._host = _host(key, url)
        self._config = config
        if config.cafile is not None and not config.cafile.is_file():
            raise ConfigError(f"{key}.cafile: {config.cafile}: no such file")
        self._session = self._open()

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Returns once the receiver has answered 2xx.

        Raises Permanent if it refuses what was sent, and Retryable for everything else.
        """
        import requests
        from urllib3.exceptions import HTTPError
        from urllib3.util import Timeout

        from monitor.telemetry.otlp import cause, retry_after_s

        timeout: Any = Timeout(total=self._config.timeout_s)  # a number would apply to connecting and to the answer
        try:
            with self._session.post(
                self._url,
                data=body,
                headers=dict(headers),
                timeout=timeout,
                verify=True if self._config.cafile is None else str(self._config.cafile),
                allow_redirects=False,
                stream=True,
            ) as response:
                response.raw.read(_MAX_REPLY_BYTES)
        except (requests.RequestException, HTTPError, OSError) as e:
            raise Retryable(f"{self._key}: {self._host}: {cause(e)}") from None
        if 200 <= response.status_code < 300:
            return
        reason = f"{self._key}: {self._host}: HTTP {response.status_code} {response.reason or ''}".rstrip()
        if response.status_code in _ABOUT_THE_ALERT:
            raise Permanent(reason)
        if response.is_redirect:
            reason += "; redirects are not followed"
        raise Retryable(reason, retry_after_s(response) or 1.0)

    def reset(self) -> None:
        """Reads the headers file again and reconnects."""
        try:
            session = self._open()
        except ConfigError as e:  # a Secret that is being replaced right now; the old token may still work
            _log.warning("%s; keeping the headers read before", e)
            return
        self._session.close()
        self._session = session

    def close(self) -> None:
        """Closes connections."""
        self._session.close()

    def _open(self) -> requests.Session:
        import requests

        from monitor.telemetry.otlp import read_headers

        session = requests.Session()
        session.headers.update({"User-Agent": "latentwatch", **read_headers(self._config.headers_file, self._key)})
        session.auth = _unchanged  # else passwords would come from ~/.netrc
        return session


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _host(key: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, an unbalanced bracket
        usable = False
    if not usable:
        raise ConfigError(f"{key}.url: expected http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")
    if parts.username or parts.password:
        raise ConfigError(f"{key}.url: put user name and password into headers_file, as an Authorization header")
    return parts.netloc
