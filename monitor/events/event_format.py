"""EventFormat and Envelope: the interfaces that read bodies and unwrap them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from monitor.events.context import Context
from monitor.events.event import Event
from monitor.events.json_object import JsonObject


class EventFormat(Protocol):
    """Reads the bodies that one kind of producer writes. A module with these two functions is one. Pure: no I/O."""

    def recognises(self, data: JsonObject) -> bool:
        """Whether `data` has the fields that are typical of this format. `parse` may still refuse it."""

    def parse(self, data: JsonObject, context: Context) -> Sequence[Event]:
        """The events in `data`; none if it is normal that nobody says anything in it. Ignores unknown fields.

        Raises BadEvent with the JSON path of the first fault, which starts with `context.path`. A format of batches
        adds the fault of one entry to `context.faults` instead and returns the events of the others.
        """


class Envelope(Protocol):
    """Unwraps bodies that a transport put into a document of its own. A module with these two functions is one."""

    def recognises(self, data: JsonObject, context: Context) -> bool:
        """Whether `data`, or the record's headers, have the fields that are typical of this envelope."""

    def unwrap(self, data: JsonObject, context: Context) -> tuple[Any, Context]:
        """The body, or what holds bodies, and what is known now. Raises BadEvent if the envelope is broken."""
