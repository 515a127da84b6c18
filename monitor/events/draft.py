"""Draft: turns what a format found into events, and makes up for fields that judging doesn't need."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer
from monitor.events.context import Context
from monitor.events.event import REPAIR_KINDS, UNREAD_PART_KINDS, Event, Message
from monitor.events.event_time import read_time
from monitor.events.said import Said

MAX_ID_CHARS = 512
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Draft:
    """What a format found in a body. The first of `ids`, `times` and `models` that can be used is used."""

    messages: Sequence[Message]
    answers: Sequence[Answer] = ()
    ids: Sequence[object] = ()
    times: Sequence[object] = ()
    models: Sequence[object] = ()
    attributes: Sequence[object] = ()
    traceparent: object = None
    said: Said = field(default_factory=Said)
    needs_text: bool = True
    """Whether it is a fault if nobody says anything."""

    @property
    def silent(self) -> bool:
        """Whether nobody says anything and nothing is there that can't be read."""
        said = any(m.content for m in self.messages) or any(answer.text for answer in self.answers)
        return not said and not self.said.unread.total()

    def events(self, context: Context) -> tuple[Event, ...]:
        """One event for each answer: the first has the id, the others that id with # and their index.

        Without an answer, a last turn of the assistant is the answer. Raises BadEvent if nothing was said.
        """
        clean = _Cleaner(self.said.repaired)
        clean.repaired.update(context.repaired)
        context.repaired.clear()  # counted with the first event of the record
        messages = tuple(Message(clean.text(m.role), clean.text(m.content)) for m in self.messages)
        answers = [(index, clean.text(text)) for index, text in _numbered(self.answers)]
        if not any(text for _, text in answers):
            last = messages[-1] if messages and messages[-1].role == "assistant" else None
            answers = [(0, last.content if last else "")]
            messages = messages[:-1] if last else messages
        said = any(m.content for m in messages) or any(text for _, text in answers)
        if self.needs_text and not said:
            raise BadEvent(f"no text: nobody says anything{self._unread_text()}", context.path)
        first_id = clean.text(_first_id(self.ids) or _short(context.fallback_id()))
        attributes = clean.attributes(self.attributes)
        model = clean.text(next((m for m in self.models if isinstance(m, str) and m), ""))
        unread = {kind: self.said.unread[kind] for kind in UNREAD_PART_KINDS if kind in self.said.unread}
        return tuple(
            Event(
                id=first_id if n == 0 else f"{first_id}#{index}",
                messages=messages,
                response=text,
                origin=context.record.origin,
                time=_first_time(self.times) or context.time(),
                model=model or None,
                attributes=attributes,
                traceparent=context.traceparent(self.traceparent),
                headers=context.record.headers,
                # counted once, although each answer is an event of its own
                unread=unread if n == 0 else {},
                repaired={k: clean.repaired[k] for k in REPAIR_KINDS if clean.repaired.get(k)} if n == 0 else {},
                joined=context.joined,
            )
            for n, (index, text) in enumerate(answers)
        )

    def _unread_text(self) -> str:
        counts = ", ".join(f"{kind} {n}" for kind, n in sorted(self.said.unread.items()))
        return f", and what is there can't be read: {counts}" if counts else ""


class _Cleaner:
    """Replaces what is not Unicode text, and counts it."""

    def __init__(self, repaired: Counter[str]) -> None:
        self.repaired = repaired

    def text(self, text: str) -> str:
        if not _SURROGATE.search(text):
            return text
        # halves of a pair that were written one after the other are one character
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        self.repaired["surrogate"] += len(_SURROGATE.findall(whole))
        return _SURROGATE.sub("\ufffd", whole)

    def attributes(self, found: Iterable[object]) -> dict[str, Any]:
        """The first that holds anything; text, such as metadata written as text, under the key `metadata`."""
        value = next((value for value in found if value not in (None, "", {}, [])), {})
        if not value:
            return {}
        value = value if isinstance(value, dict) else {"metadata": value}
        try:
            text = json.dumps(value, ensure_ascii=False)
        except RecursionError:
            raise BadEvent("nested too deeply", kind="json") from None
        return value if not _SURROGATE.search(text) else cast("dict[str, Any]", json.loads(self.text(text)))


def _numbered(answers: Sequence[Answer]) -> list[tuple[int, str]]:
    """The answers by index; by position if an index is missing or repeated, because ids must differ."""
    indices = {answer.index for answer in answers}
    if None in indices or len(indices) < len(answers):
        return [(n, answer.text) for n, answer in enumerate(answers)]
    return sorted((answer.index or 0, answer.text) for answer in answers)


def _first_id(ids: Iterable[object]) -> str | None:
    for value in ids:
        if isinstance(value, str) and value.strip():
            return _short(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    return None


def _short(value: str) -> str:
    """`value`; its hash if it is too long for an alert."""
    if len(value) <= MAX_ID_CHARS:
        return value
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _first_time(times: Iterable[object]) -> datetime | None:
    return next((time for time in map(read_time, times) if time is not None), None)
