"""Joins: finds the bodies in the records of one poll that are one call, and puts them together."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from monitor.events.bodies import Body
from monitor.events.context import Context
from monitor.events.envelopes.cloudevents import half_of
from monitor.events.event import Origin
from monitor.events.stream import joined_pieces, stream_id

_MAX_HELD_BYTES = 16 * 1024 * 1024


@dataclass
class Call:
    """Bodies that are one call: one body or the pieces of a streamed response, and a request that came apart from it.

    `repeats` are further deliveries of the same; a request has its own.
    """

    pieces: list[Body]
    request: Call | None = None
    repeats: list[Context] = field(default_factory=list)

    def parts(self) -> list[Body]:
        """All its bodies."""
        return [*self.pieces, *(self.request.pieces if self.request else ())]

    def whole(self) -> Body:
        """The call as one body. It has the context of the first piece, and so its record, id and time."""
        if self.request is None and len(self.pieces) == 1 and not self.repeats:
            return self.pieces[0]
        context = self.pieces[0].context
        data = self.pieces[0].data if len(self.pieces) == 1 else joined_pieces([piece.data for piece in self.pieces])
        parts = [part.context for part in self.parts()]
        repeats = list(self.repeats)
        if self.request is not None:
            asked = self.request.pieces[0].data
            data = {"id": context.attributes.get("shared_id"), "request": asked, "response": data}
            repeats += self.request.repeats
        others = dict.fromkeys(part.record.origin for part in (*parts, *repeats))
        others.pop(context.record.origin)
        repaired = Counter[str]()
        for part in parts:
            repaired += part.repaired
            part.repaired.clear()  # counted once
        return Body(data, replace(context, joined=tuple(others), repaired=repaired))


class HeldParts:
    """Parts of calls that wait for the other parts in the poll; what is too much to hold is read by itself."""

    def __init__(self) -> None:
        self._parts: list[Body] = []
        self._places: dict[int, int] = {}
        self._bytes: dict[Origin, int] = {}

    def takes(self, body: Body, place: int) -> bool:
        """Holds `body` if it is part of a call and there is room. `place` is its number in the poll."""
        record = body.context.record
        if stream_id(body.data) is None and half_of(body.context) is None:
            return False
        self._bytes[record.origin] = len(record.value or b"")
        if sum(self._bytes.values()) > _MAX_HELD_BYTES:
            return False
        self._places[id(body)] = place
        self._parts.append(body)
        return True

    def calls(self) -> list[tuple[int, Call]]:
        """The calls that the parts make up, each with the place of the first of them."""
        return [
            (min(self._places[id(part)] for part in call.parts()), call)
            for call in _with_requests(_with_pieces(self._parts))
        ]


def _with_pieces(bodies: Iterable[Body]) -> list[Call]:
    found: list[Call] = []
    streams: dict[tuple[str, ...], Call] = {}
    for body in bodies:
        key = stream_id(body.data)
        here = None if key is None else streams.get((body.context.record.origin.topic, *key))
        if here is not None:
            here.pieces.append(body)
            continue
        found.append(Call([body]))
        if key is not None:
            streams[(body.context.record.origin.topic, *key)] = found[-1]
    for call in streams.values():
        call.pieces = _in_order(call.pieces)
    return found


def _in_order(pieces: Sequence[Body]) -> list[Body]:
    """The pieces of each partition in their order there, and between partitions by the time of the records."""
    partitions: dict[int, list[Body]] = {}
    for piece in pieces:
        partitions.setdefault(piece.context.record.origin.partition, []).append(piece)
    return list(heapq.merge(*partitions.values(), key=lambda piece: piece.context.record.time_ms or 0))


def _with_requests(found: Sequence[Call]) -> list[Call]:
    halves: dict[tuple[str, str], tuple[list[Call], list[Call]]] = {}
    for call in found:
        context = call.pieces[0].context
        if half := half_of(context):
            requests, responses = halves.setdefault((context.record.origin.topic, half.id), ([], []))
            (requests if half.is_request else responses).append(call)
    gone: set[int] = set()
    for requests, responses in halves.values():
        if requests and responses and _same(requests) and _same(responses) and len(requests[0].pieces) == 1:
            for alike in (requests, responses):
                alike[0].repeats = [piece.context for other in alike[1:] for piece in other.pieces]
            responses[0].request = requests[0]
            gone.update(id(other) for other in (*requests, *responses[1:]))
    return [call for call in found if id(call) not in gone]


def _same(alike: Sequence[Call]) -> bool:
    """Whether these are one half of a call, delivered once or several times."""
    return all([piece.data for piece in call.pieces] == [piece.data for piece in alike[0].pieces] for call in alike[1:])
