"""Exchange: one request to a model and its response, as bytes; becomes an event in the publisher's thread."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitor.errors import Permanent
from monitor.events.response_body import APIS, api_of
from monitor.events.stream import body_value
from monitor.producers.transport import Message

_ENCODINGS = {"": None, "identity": None, "gzip": 31, "deflate": 15}
"""Content encodings that are unpacked, with the window bits of zlib."""
_ERRORS_FROM = 400


@dataclass(frozen=True)
class Body:
    """A body as it went over the wire, in pieces, and its Content-Encoding."""

    pieces: Sequence[bytes]
    encoding: str = ""

    def text(self, max_bytes: int) -> str | None:
        """Unpacked and decoded; None for an encoding that is not unpacked. Raises Permanent if it is too large."""
        if self.encoding not in _ENCODINGS:
            return None
        raw = b"".join(self.pieces)
        bits = _ENCODINGS[self.encoding]
        if bits is not None:
            unpacker = zlib.decompressobj(bits)
            raw = unpacker.decompress(raw, max_bytes + 1)
        if len(raw) > max_bytes:
            raise Permanent(f"a body is over {max_bytes} bytes")
        return raw.decode(errors="replace")


@dataclass(frozen=True)
class Exchange:
    """What passed through the middleware. The response is None if none was sent."""

    id: str
    time: str
    request: Body
    response: Body | None
    status: int | None = None
    """HTTP status of the response."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = None
    max_bytes: int = 1_048_576

    @property
    def size(self) -> int:
        """Bytes of both bodies, as they went over the wire."""
        bodies = (self.request, self.response) if self.response is not None else (self.request,)
        return sum(len(piece) for body in bodies for piece in body.pieces)

    def message(self) -> Message | None:
        """The event: a pair of request and response, the pieces of a streamed response put together.

        Raises Permanent if the request does not look like JSON or a body is too large.
        """
        text = self.request.text(self.max_bytes)
        if text is None or not text.lstrip().startswith("{"):
            raise Permanent("a request is not a JSON object")
        # what is broken or ambiguous stays as it is, so that whoever reads the event hears of it
        event: dict[str, Any] = {"id": self.id, "time": self.time, "request": body_value(text)}
        attributes = dict(self.attributes)
        if self.status is not None:
            attributes["http.status"] = self.status
        if self.response is not None:
            event["response"] = self._response(self.response.text(self.max_bytes))
            if self.response.encoding not in _ENCODINGS:
                attributes["unread_response_encoding"] = self.response.encoding
        headers: tuple[tuple[str, bytes], ...] = ()
        if self.traceparent is not None:
            event["traceparent"] = self.traceparent
            headers = (("traceparent", self.traceparent.encode(errors="replace")),)
        event["attributes"] = attributes
        return Message(json.dumps(event, ensure_ascii=False).encode(errors="replace"), headers)

    def _response(self, text: str | None) -> Any:
        """The response, put together if it was streamed; text that is no JSON, unless it is a server's error page."""
        if text is None:
            return None
        if text.startswith(("data:", "event:", ":")):
            # a stream that broke off ends inside of an event
            whole, _, last = text.replace("\r\n", "\n").rpartition("\n\n")
            text = whole if last.strip() else text
        value = body_value(text)
        if isinstance(value, str) and self.status is not None and self.status >= _ERRORS_FROM:
            return None
        if isinstance(value, list):
            pieces = [item for item in value if isinstance(item, dict)]
            api = next((name for name in map(api_of, pieces) if name is not None), None)
            return value if api is None else APIS[api].joined(pieces)
        return value
