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
    """One text to read. `plain` text is read as it is; anything else is a conversation for the chat template.

    Documents of one `group` (a pair of rows, the pieces of a long file) are held out together.
    """

    group: str
    event: Event
    plain: bool


@dataclass
class Unreadable:
    """Counts the rows of a source that are not text."""

    rows: int = 0


class TextSource(Protocol):
    """Documents, always in the same order. `sha256` identifies their content."""

    name: str
    sha256: str
    unreadable: Unreadable

    def documents(self) -> Iterator[Document]:
        """All documents, from the first. Rows that can't be read are counted and skipped."""


def row_documents(record: Record, source: str, unreadable: Unreadable) -> Iterator[Document]:
    """The documents of one row, one per choice of an OpenAI response. Counts a row that is no event as unreadable."""
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
        # unlike an event from Kafka, a row of a dataset may lack an id
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
    """A document that is read without a template."""
    return Document(group, Event(group, (Message("text", text),), "", origin), plain=True)


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of limited size, cut at line ends if possible. No piece is blank."""
    start = 0
    while start < len(text):
        end = min(start + _PIECE_CHARS, len(text))
        if end < len(text):
            newline = text.rfind("\n", start, end)
            end = newline + 1 if newline > start + _PIECE_CHARS // 2 else end
        if text[start:end].strip():
            yield text[start:end]
        start = end
