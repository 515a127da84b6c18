"""Envelopes and encodings around bodies, as transports and producers put them there."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.encoded import Encoded, as_base64

Headers = tuple[tuple[str, bytes], ...]
_EVENT = {"specversion": "1.0", "id": "ce-1", "source": "/chat", "type": "t"}

ENVELOPES: dict[str, Callable[[Any], Any]] = {
    "cloudevent": lambda body: {**_EVENT, "data": body},
    "cloudevent of text": lambda body: {**_EVENT, "datacontenttype": "text/plain", "data": Encoded(body)},
    "cloudevent of base64": lambda body: {**_EVENT, "data_base64": Encoded(body, as_base64)},
    "connect": lambda body: {"schema": {"type": "struct"}, "payload": body},
    "array": lambda body: [body],
    "text": Encoded,
}
BINARY_MODE: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"ce-2"),
    ("ce_type", b"t"),
    ("ce_source", b"/chat"),
    ("ce_time", b"2025-06-01T12:30:00Z"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
)


def wrapped(chance: Random, body: Any) -> Any:
    """`body` in one to three envelopes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        body = chance.choice(tuple(ENVELOPES.values()))(body)
    return body


def _cut(raw: bytes, chance: Random) -> bytes:
    return raw[: chance.randrange(len(raw) + 1)]


def _flipped(raw: bytes, chance: Random) -> bytes:
    if not raw:
        return raw
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 1, 3))):
        changed[chance.randrange(len(changed))] = chance.choice(
            (0, 34, 44, 58, 92, 123, 125, 255, chance.randrange(256))
        )
    return bytes(changed)


# what keeps every word as it was
_WHOLE: dict[str, Callable[[bytes, Random], bytes]] = {
    "frame": lambda raw, _: b"\0\0\0\0\1" + raw,
    "bom": lambda raw, _: b"\xef\xbb\xbf" + raw,
    "space": lambda raw, _: b" \r\n\t" + raw + b"\n\n",
    "utf-16": lambda raw, _: raw.decode(errors="replace").encode("utf-16"),
    "latin-1": lambda raw, _: raw.decode(errors="replace").encode("latin-1", "replace"),
    "gzip": lambda raw, _: gzip.compress(raw, 1),
    "base64": lambda raw, _: base64.b64encode(raw),
}
_BROKEN: dict[str, Callable[[bytes, Random], bytes]] = {"cut": _cut, "flipped": _flipped}


def encoded(chance: Random, text: str) -> tuple[bytes, str]:
    """`text` as bytes, and what was done to them: nothing as a rule."""
    raw = text.encode(errors="surrogatepass")
    roll = chance.random()
    if roll < 0.88:
        return raw, ""
    name = chance.choice(tuple(_WHOLE if roll < 0.96 else _BROKEN))
    return (_WHOLE.get(name) or _BROKEN[name])(raw, chance), name


def dumped(chance: Random, value: Any) -> str:
    """JSON of `value`, in one of the ways to write it."""
    roll = chance.random()
    if roll < 0.04:
        return json.dumps(value, indent=2)
    return json.dumps(value, ensure_ascii=roll < 0.5)
