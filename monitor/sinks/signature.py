"""WebhookSigner: signs requests so that their receiver knows who sent them and when.

Source: the specification of Standard Webhooks, version 1.0.0, symmetric signatures. Receivers check them with its
libraries, which exist for many languages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time

from monitor.errors import ConfigError

_PREFIX = "whsec_"
_FEWEST_BYTES = 24


class WebhookSigner:
    """HMAC-SHA256 over id, time and body. Raises ConfigError naming `key`, never the secret."""

    def __init__(self, secret: str, key: str) -> None:
        """`secret` is base64, with or without the prefix whsec_."""
        try:
            self._secret = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):  # ValueError: not ASCII
            self._secret = b""
        if len(self._secret) < _FEWEST_BYTES:
            raise ConfigError(
                f"{key}: expected at least {_FEWEST_BYTES} random bytes in base64, as "
                "`openssl rand -base64 32` prints them; the prefix whsec_ is allowed"
            )

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """The three headers that a receiver checks."""
        now = str(int(time.time()))
        digest = hmac.digest(self._secret, b".".join((message_id.encode(), now.encode(), body)), hashlib.sha256)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": now,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
