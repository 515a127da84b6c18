"""address_problem: what is wrong with one host:port, from the socket to the TLS handshake and the login."""

from __future__ import annotations

import errno
import re
import socket
import ssl
import time
from typing import Any

from monitor.kafka.check_login import Exchange, NotABroker, login_problem

_TLS_PORT = "this looks like a TLS port; set kafka.security_protocol to SSL or SASL_SSL"
_TLS_ALERT = b"\x15\x03"  # RFC 8446, 5.1: content type 21, version 3.x
_NOT_A_BROKER = "the port answers, but not as a Kafka broker"
# X509_V_ERR_* of openssl/x509_vfy.h
_CERTIFICATE = {
    9: "the certificate is not valid yet; check the clocks",
    10: "the certificate has expired; renew it on the broker",
    18: "the certificate is self-signed; add it to kafka.ssl_cafile",
    19: "the certificate is not signed by an authority in kafka.ssl_cafile",
    20: "the certificate is not signed by an authority in kafka.ssl_cafile",
    21: "the certificate is not signed by an authority in kafka.ssl_cafile",
    23: "the certificate is revoked",
    62: "the certificate is for another host name",
    64: "the certificate is for another IP address",
}


def address_problem(server: str, settings: dict[str, Any], has_certificate: bool, timeout_s: float) -> str | None:
    """Why a client with these kafka-python settings cannot work with `server`, in one line; None if it can.

    `has_certificate` says whether the TLS context of the settings presents a client certificate.
    """
    address = _split(server)
    if address is None:
        return f"kafka.bootstrap_servers: {server}: not host:port"
    host, port = address
    give_up_at_s = time.monotonic() + timeout_s
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return (
            f"kafka.bootstrap_servers: {server}: the host name does not resolve; "
            "check the name and the DNS of this machine"
        )
    problem: str | None = f"kafka.bootstrap_servers: {server}: no answer in time"
    for ip in dict.fromkeys(str(where[0]) for *_, where in found):
        left_s = give_up_at_s - time.monotonic()
        if left_s <= 0:
            break
        sock = _connected(ip, port, left_s)
        if isinstance(sock, socket.socket):
            with sock:
                problem = _speak(sock, server, host, settings, has_certificate)
        else:
            problem = f"kafka.bootstrap_servers: {server}: {sock}"
        if problem is None:
            break
    return problem


def _split(server: str) -> tuple[str, int] | None:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\s/\[\]]+))(?::([0-9]{1,5}))?", server)
    if match is None:
        return None
    port = int(match[3] or 9092)
    return (match[1] or match[2], port) if 0 < port < 65536 else None


def _connected(ip: str, port: int, timeout_s: float) -> socket.socket | str:
    """A socket, or why there is none."""
    try:
        return socket.create_connection((ip, port), timeout=timeout_s)
    except ConnectionRefusedError:
        return "connection refused; no broker listens there"
    except TimeoutError:
        return f"no connection within {timeout_s:.0f} s; is a firewall or network policy in the way?"
    except OSError as e:
        if e.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return "unreachable; no route to the host"
        return e.strerror or str(e)


def _speak(sock: socket.socket, server: str, host: str, settings: dict[str, Any], has_certificate: bool) -> str | None:
    tls: ssl.SSLContext | None = settings.get("ssl_context")
    where = f"kafka.bootstrap_servers: {server}"
    try:
        spoken = sock if tls is None else tls.wrap_socket(sock, server_hostname=host.rstrip("."))
    except OSError as e:
        return f"{where}: TLS: {_tls_reason(e, has_certificate)}"
    with spoken:
        exchange = Exchange(spoken)
        problem = _plain_problem(exchange) if tls is None else _tls_problem(exchange, has_certificate)
        if problem is not None:
            return f"{where}: {problem}"
        try:
            return login_problem(exchange, settings, host)
        except (OSError, NotABroker) as e:
            return f"{where}: no answer to the login ({e})"


def _tls_problem(exchange: Exchange, has_certificate: bool) -> str | None:
    try:
        # with TLS 1.3, a broker refuses our certificate only after the handshake
        exchange.hello()
    except NotABroker:
        return _NOT_A_BROKER
    except OSError as e:
        return f"TLS: {_tls_reason(e, has_certificate)}"
    return None


def _plain_problem(exchange: Exchange) -> str | None:
    try:
        exchange.hello()
    except TimeoutError:
        return "the port is open but does not answer as a Kafka broker"
    except OSError:
        return f"the connection is closed without an answer; {_TLS_PORT}"
    except NotABroker as e:
        return _TLS_PORT if e.start.startswith(_TLS_ALERT) else _NOT_A_BROKER
    return None


def _tls_reason(error: OSError, has_certificate: bool) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _CERTIFICATE.get(error.verify_code, "the certificate is not accepted")
        return f"{why} ({error.verify_message.rstrip('.')})"
    if isinstance(error, TimeoutError):
        return "no answer to the handshake; this looks like a plaintext port"
    if not isinstance(error, ssl.SSLError):
        return "the connection is closed during the handshake; this looks like a plaintext port"
    reason = getattr(error, "reason", None) or str(error)
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "HANDSHAKE_FAILURE" in reason):
        if not has_certificate:
            return f"the broker wants a client certificate; set kafka.ssl_certfile and kafka.ssl_keyfile ({reason})"
        return f"the broker does not accept kafka.ssl_certfile ({reason})"
    if isinstance(error, ssl.SSLEOFError) or "WRONG_VERSION_NUMBER" in reason or "UNEXPECTED_EOF" in reason:
        return "the port does not speak TLS; this looks like a plaintext port"
    return reason
