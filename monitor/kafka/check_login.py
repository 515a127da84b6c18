"""login_problem: whether a broker accepts a login, checked on a socket without the Kafka client."""

from __future__ import annotations

import socket
import struct
from typing import Any

from kafka import errors
from kafka.net.sasl import get_sasl_mechanism

from monitor.errors import LatentwatchError

_API_VERSIONS = (18, 0)
_SASL_HANDSHAKE = (17, 1)
_SASL_AUTHENTICATE = (36, 0)
_MAX_ANSWER_BYTES = 1_000_000


class NotABroker(Exception):
    """What the port sent is not an answer of the Kafka protocol; `start` holds its first bytes."""

    def __init__(self, start: bytes = b"") -> None:
        self.start = start
        super().__init__("not the answer of a Kafka broker")


class Exchange:
    """Requests and answers of the Kafka protocol on a connected socket, one after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._correlation = 0

    def hello(self) -> None:
        """Asks for the API versions. Raises OSError or NotABroker."""
        self._ask(_API_VERSIONS, b"")

    def handshake(self, mechanism: str) -> tuple[int, list[str]]:
        """SaslHandshake: the error code and the mechanisms that the broker offers."""
        answer = self._ask(_SASL_HANDSHAKE, _string(mechanism))
        try:
            code, count = struct.unpack_from(">hi", answer)
            at, mechanisms = 6, []
            for _ in range(count):
                (length,) = struct.unpack_from(">h", answer, at)
                mechanisms.append(answer[at + 2 : at + 2 + length].decode())
                at += 2 + length
        except (struct.error, UnicodeDecodeError) as e:
            raise NotABroker from e
        return code, mechanisms

    def authenticate(self, token: bytes) -> tuple[int, str, bytes]:
        """SaslAuthenticate: error code, error message and the broker's token."""
        answer = self._ask(_SASL_AUTHENTICATE, struct.pack(">i", len(token)) + token)
        try:
            code, length = struct.unpack_from(">hh", answer)
            message = answer[4 : 4 + max(length, 0)].decode(errors="replace")
        except struct.error as e:
            raise NotABroker from e
        return code, message, answer[8 + max(length, 0) :]

    def _ask(self, api: tuple[int, int], body: bytes) -> bytes:
        self._correlation += 1
        request = struct.pack(">hhi", *api, self._correlation) + _string("latentwatch") + body
        self._sock.sendall(struct.pack(">i", len(request)) + request)
        start = self._read(4)
        (length,) = struct.unpack(">i", start)
        if not 4 <= length <= _MAX_ANSWER_BYTES:
            raise NotABroker(start)
        answer = self._read(length)
        if struct.unpack_from(">i", answer)[0] != self._correlation:
            raise NotABroker
        return answer[4:]

    def _read(self, count: int) -> bytes:
        answer = b""
        while len(answer) < count:
            more = self._sock.recv(count - len(answer))
            if not more:
                raise ConnectionResetError("closed without an answer")
            answer += more
        return answer


def login_problem(exchange: Exchange, settings: dict[str, Any], host: str) -> str | None:
    """Why the broker refuses a client with these kafka-python settings, in one line; None if it does not.

    The client cannot be used for this: brokers give the reason and close the connection, and the client drops a reason
    that comes with the close. Raises OSError or NotABroker.
    """
    mechanism = settings.get("sasl_mechanism")
    if mechanism is None:
        return _login_wanted(exchange, settings)
    code, offered = exchange.handshake(mechanism)
    if code == errors.IllegalSaslStateError.errno:
        bare = "SSL" if settings["security_protocol"] == "SASL_SSL" else "PLAINTEXT"
        return (
            f"kafka.security_protocol: the port does not take logins; set it to {bare}, or use the broker's SASL port"
        )
    if code == errors.UnsupportedSaslMechanismError.errno or mechanism not in offered:
        listed = ", ".join(offered) or "none"
        return f"kafka.sasl_mechanism: {mechanism} is not enabled on the broker, which offers {listed}"
    return _refusal(exchange, mechanism, settings, host)


def _login_wanted(exchange: Exchange, settings: dict[str, Any]) -> str | None:
    try:
        # a broker that requires a login answers this request once, and then only accepts a login
        exchange.hello()
    except TimeoutError:
        return None
    except OSError:
        secure = "SASL_SSL" if settings["security_protocol"] == "SSL" else "SASL_PLAINTEXT"
        return f"kafka.security_protocol: the broker requires a login; set it to {secure}, and set kafka.sasl_mechanism"
    return None


def _refusal(exchange: Exchange, mechanism: str, settings: dict[str, Any], host: str) -> str | None:
    user = settings.get("sasl_plain_username")
    checks = {"OAUTHBEARER": "the token", "AWS_MSK_IAM": "the AWS credentials", "GSSAPI": "the Kerberos ticket"}
    check = checks.get(mechanism, f"kafka.sasl_username {user!r} and kafka.sasl_password")
    failed = f"kafka.sasl_mechanism: {mechanism}: authentication failed; check {check}"
    try:
        state = get_sasl_mechanism(mechanism)(host=host, **settings)
    except Exception as e:  # noqa: BLE001 - Kerberos asks for a ticket here
        return f"{failed} ({e})"
    while not state.is_done():
        try:
            token = state.auth_bytes()
        except LatentwatchError as e:  # the token provider names its own key
            return str(e)
        except Exception as e:  # noqa: BLE001 - AWS and Kerberos have their own errors
            return f"{failed} ({e})"
        code, message, answer = exchange.authenticate(token)
        if code != 0:
            return f"{failed} ({message})" if message else failed
        try:
            state.receive(answer)
        except Exception as e:  # noqa: BLE001 - the client raises plain exceptions when the broker's proof is wrong
            return f"{failed} ({e})"
    return None if state.is_authenticated() else failed


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
