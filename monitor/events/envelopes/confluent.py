"""Confluent's framing of records with a schema: a zero byte and the schema's id in four bytes, then the payload.

Source: Confluent Schema Registry documentation, "Wire format".
"""

from __future__ import annotations

_HEADER_BYTES = 5


def without_frame(raw: bytes) -> bytes:
    """The payload if `raw` is framed JSON; other payloads, such as Avro, stay as they are."""
    payload = raw[_HEADER_BYTES:].lstrip()
    return payload if raw[:1] == b"\0" and payload[:1] in (b"{", b"[", b'"') else raw
