"""Segments of sent tokens: from the offsets that an event gives, or from its text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadEvent
from monitor.events.event import Event
from monitor.events.formats.activations import RESPONSE
from monitor.events.sent_activations import SentActivations, SentSegment
from monitor.readers.sent.tensors import PATH
from monitor.tokens.chat_template import Segment, segment_of
from monitor.tokens.tokeniser import EventTokeniser, Tokenised

Ids = NDArray[np.int32]


def tokenised(event: Event, sent: SentActivations, ids: Ids | None, count: int, tokeniser: EventTokeniser) -> Tokenised:
    """The tokens of `event`, of which the first `count` have activations, with those that are evidence.

    As in text, special tokens and the first position are none. Raises BadEvent if the segments don't fit.
    """
    if sent.segments is None:
        return _of_text(event, ids, count, tokeniser)
    ends = np.array([0], np.int32) if sent.tokens is None else np.cumsum([0, *map(len, sent.tokens)]).astype(np.int32)
    if sent.tokens is None:  # each token is one character, because nothing is known of the text
        ends = np.arange(count + 2, dtype=np.int32)
    usable = np.ones(count, np.bool_) if ids is None else ~np.isin(ids[:count], tokeniser.special)
    usable[:1] = False
    positions = np.arange(count)
    segments, rows = [], []
    counts: dict[str, int] = {}
    for n, given in enumerate(sent.segments):
        if given.end >= ends.size or given.start >= count:
            raise BadEvent(f"ends at token {given.end}, but {count} were sent", f"{PATH}.segments[{n}]")
        name = RESPONSE if given.role == RESPONSE else segment_of(given.role)
        index = counts.get(name, 0)
        counts[name] = index + 1
        segments.append(
            Segment(name, index, _text(sent, given), int(ends[given.start]), int(ends[given.end]))  # type: ignore[arg-type]
        )
        rows.append(positions[usable & (positions >= given.start) & (positions < given.end)])
    return Tokenised(
        event=event,
        ids=np.zeros(count, np.int32) if ids is None else ids[:count],
        starts=ends[:count],
        ends=ends[1 : count + 1],
        segments=tuple(segments),
        rows=tuple(rows),
        fallback=False,
    )


def _text(sent: SentActivations, segment: SentSegment) -> str:
    return "" if sent.tokens is None else "".join(sent.tokens[segment.start : segment.end])


def _of_text(event: Event, ids: Ids | None, count: int, tokeniser: EventTokeniser) -> Tokenised:
    """The segments that the event's text has, if it makes the tokens that were sent."""
    if ids is None:
        raise BadEvent("needs segments, or text and token_ids to find them by", f"{PATH}.segments")
    if not event.response and not event.messages:
        raise BadEvent("needs segments, because the event has no text to find them in", f"{PATH}.segments")
    (item,) = tokeniser.tokenise([event])
    if item.ids.size > ids.size + 1:  # the last token of a reply was written, but never read
        raise BadEvent(
            f"the event's text has {item.ids.size} tokens, but {ids.size} were sent; send segments", f"{PATH}.token_ids"
        )
    shared = min(item.ids.size, ids.size)
    different = np.flatnonzero(item.ids[:shared] != ids[:shared])
    if different.size:
        raise BadEvent(
            f"token {different[0]} is {ids[different[0]]}, but the event's text has {item.ids[different[0]]} there: "
            "the server's chat template or tokenizer is another one; send segments",
            f"{PATH}.token_ids",
        )
    kept = min(count, item.ids.size)
    return Tokenised(
        event=event,
        ids=item.ids[:kept],
        starts=item.starts[:kept],
        ends=item.ends[:kept],
        segments=item.segments,
        rows=tuple(rows[rows < kept] for rows in item.rows),
        fallback=item.fallback,
    )
