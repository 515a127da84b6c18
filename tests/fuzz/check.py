"""Check: parses a case and says what is wrong with the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from monitor.errors import BadEvent
from monitor.events.event import Event
from monitor.events.parse import parse_records
from tests.fuzz.case import Case
from tests.fuzz.words import media_in, said_in

GROWTH, ALLOWANCE = 4, 2_000
"""Characters that may come out for each byte that went in, and those that every record may add."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `refusal` is the kind and reason of a record that is no event."""

    refusal: BadEvent | None = None
    """Of the whole record, or of what is bad in it if there are events."""
    events: Sequence[Event] = ()
    faults: Sequence[str] = field(default=())
    """Empty if all is well."""


def judged(case: Case) -> Outcome:
    """Parses the case. Errors other than BadEvent are faults."""
    try:
        parsed = parse_records((case.record,), wire_format=case.wire_format)
    except Exception as e:  # noqa: BLE001 - any error is what is looked for
        return Outcome(faults=[f"{type(e).__name__}: {e}"])
    refusal = next((faults.first for faults in parsed.faults.values()), None)
    return Outcome(refusal, parsed.events, _faults(case, parsed.events, refused=refusal is not None))


def _faults(case: Case, events: Sequence[Event], refused: bool) -> list[str]:
    asked = "\n".join({id(m): m.content for event in events for m in event.messages}.values())
    answered = "\n".join(event.response for event in events)
    text = f"{asked}\n{answered}"
    found = []
    unread = Counter[str]()
    for event in events:
        unread.update(event.unread)
    if case.whole and not refused:  # what is refused goes to the dead-letter topic, with all of its record
        missing = sorted((case.said - said_in(text)) | (case.media - media_in(text)))
        if len(missing) > unread.total():
            found.append(f"not read: {', '.join(missing)}; counted as unread: {dict(unread) or 'nothing'}")
    answered_words = any(word.side == "answered" for word in case.exact)
    one_call = len({event.messages for event in events}) == 1
    for word in case.exact if not refused else ():
        # without an answer, the last turn of the model is taken for it
        sides = {"asked": asked, "answered": answered} if answered_words and one_call else {}
        place = sides.get(word.side or "", text)
        if word not in place and word[: word.index("q") + 1] in text:
            found.append(f"garbled, or on the wrong side ({word.side}): {word[:20]!r}")
    size = len(case.record.value or b"")
    if len(text) > GROWTH * size + ALLOWANCE:
        found.append(f"{len(text)} characters of text from {size} bytes")
    return found
