"""Confluent's framing of records with a schema: a zero byte and the schema's id in four bytes, then the payload.

Source: Confluent Schema Registry documentation, "Wire format".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from monitor.events.event import Record

_HEADER_BYTES = 5
_JSON_STARTS = (b"{", b"[", b'"')

Decoder = Callable[[bytes, "Counter[str]"], Any]
"""Turns the payload of a frame into the JSON value that it stands for, and counts what it repairs. Raises BadEvent."""
NO_SCHEMAS: Mapping[int, Decoder] = MappingProxyType({})


class Schemas(Protocol):
    """Knows the schemas of frames. What does I/O is here, so that parsing does none."""

    def decoders(self, ids: Collection[int]) -> Mapping[int, Decoder]:
        """A decoder for each of `ids`; that of a schema that can't be used raises BadEvent with the reason.

        May block for some seconds. Raises Retryable if the registry doesn't answer.
        """


class Frame(NamedTuple):
    """A payload and the id of its schema in the registry."""

    schema_id: int
    payload: bytes


def frame(raw: bytes) -> Frame | None:
    """The frame if `raw` is one whose payload only its schema can explain; None for JSON, in a frame or not."""
    if raw[:1] != b"\0" or len(raw) <= _HEADER_BYTES or raw[_HEADER_BYTES : _HEADER_BYTES + 1] in _JSON_STARTS[:2]:
        return None
    return Frame(int.from_bytes(raw[1:_HEADER_BYTES]), raw[_HEADER_BYTES:])


def schema_ids(records: Iterable[Record]) -> set[int]:
    """The ids of the schemas that `records` need."""
    frames = (frame(record.value) for record in records if record.value is not None)
    return {framed.schema_id for framed in frames if framed is not None}


def without_frame(raw: bytes) -> bytes:
    """The payload if `raw` is framed JSON; other payloads, such as Avro, stay as they are."""
    payload = raw[_HEADER_BYTES:].lstrip()
    return payload if raw[:1] == b"\0" and payload[:1] in _JSON_STARTS else raw
