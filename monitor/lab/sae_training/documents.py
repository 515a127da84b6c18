"""Document: one text to read in the lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from monitor.errors import BadEvent
from monitor.events.event import Event, Message, Origin, Record
from monitor.events.parse import parse

_PIECE_CHARS = 32_768


@dataclass(frozen=True)
class Document:
    """One text to read. `plain` text is read as it stands; all else is a conversation for the chat template.

    Documents of one `group` (a pair of rows, the pieces of a long file) stay together when some are held out.
    """

    group: str
    event: Event
    plain: bool


@dataclass
class Unreadable:
    """Counts what a source held that is not text."""

    rows: int = 0


class TextSource(Protocol):
    """Documents in an order that never changes; `sha256` names their content."""

    name: str
    sha256: str
    unreadable: Unreadable

    def documents(self) -> Iterator[Document]:
        """All documents, from the first. What cannot be read is counted and passed over."""


def row_documents(record: Record, source: str, unreadable: Unreadable) -> Iterator[Document]:
    """The documents of one row: one for each choice of an OpenAI response; none, and a count, if it is no event."""
    try:
        body = json.loads(record.value or b"")
    except ValueError:
        unreadable.rows += 1
        return
    if not isinstance(body, dict):
        unreadable.rows += 1
        return
    number = record.origin.offset
    text = body.get("text")
    if isinstance(text, str) and not {"messages", "prompt", "response", "request"} & body.keys():
        group = str(body.get("pair") or f"{source}:{number}")
        for piece in pieces(text):
            yield plain_document(group, piece, record.origin)
        return
    if "id" not in body and "specversion" not in body and "request" not in body:
        # what a dataset on disk need not have, other than an event on the wire
        record = Record(json.dumps({**body, "id": f"{source}:{number}"}).encode(), record.origin)
    try:
        events = parse(record)
    except BadEvent:
        unreadable.rows += 1
        return
    group = f"{source}:{body['pair']}" if body.get("pair") else f"{source}:{events[0].id}"
    for event in events:
        yield Document(group, event, plain=False)


def plain_document(group: str, text: str, origin: Origin) -> Document:
    """A document of text that no template stands around."""
    return Document(group, Event(group, (Message("text", text),), "", origin), plain=True)


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of a bounded size, cut behind a line where there is one; no piece is blank."""
    start = 0
    while start < len(text):
        end = min(start + _PIECE_CHARS, len(text))
        if end < len(text):
            newline = text.rfind("\n", start, end)
            end = newline + 1 if newline > start + _PIECE_CHARS // 2 else end
        if text[start:end].strip():
            yield text[start:end]
        start = end
