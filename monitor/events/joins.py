"""Joins: finds the bodies in the records of one poll that are one call, and puts them together."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from monitor.events.bodies import Body
from monitor.events.envelopes.cloudevents import half_of
from monitor.events.event import Origin
from monitor.events.stream import joined_pieces, stream_id


@dataclass
class Call:
    """Bodies that are one call: one body or the pieces of a streamed response, and a request that came apart from it.

    `repeats` are further records with the same request or response.
    """

    pieces: list[Body]
    request: Body | None = None
    repeats: list[Origin] = field(default_factory=list)

    def whole(self) -> Body:
        """The call as one body. It has the context of the first piece, and so its record, id and time."""
        if self.request is None and len(self.pieces) == 1 and not self.repeats:
            return self.pieces[0]
        context = self.pieces[0].context
        data = self.pieces[0].data if len(self.pieces) == 1 else joined_pieces([piece.data for piece in self.pieces])
        parts = [*([self.request] if self.request else []), *self.pieces]
        if self.request is not None:
            data = {"id": context.attributes.get("shared_id"), "request": self.request.data, "response": data}
        others = dict.fromkeys([*(part.context.record.origin for part in parts), *self.repeats])
        others.pop(context.record.origin)
        repaired = Counter[str]()
        for part in parts:
            repaired += part.context.repaired
            part.context.repaired.clear()  # counted once
        return Body(data, replace(context, joined=tuple(others), repaired=repaired))


def calls(bodies: Iterable[Body]) -> list[Call]:
    """The calls that `bodies` are parts of, in the order in which the first part of each came."""
    return _with_requests(_with_pieces(bodies))


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
            call, others = responses[0], [*requests, *responses[1:]]
            call.request = requests[0].pieces[0]
            call.repeats = [piece.context.record.origin for other in others for piece in other.pieces]
            gone.update(id(other) for other in others)
    return [call for call in found if id(call) not in gone]


def _same(alike: Sequence[Call]) -> bool:
    """Whether these are one half of a call, delivered once or several times."""
    return all([piece.data for piece in call.pieces] == [piece.data for piece in alike[0].pieces] for call in alike[1:])
