"""Answer: one of the answers in a response."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What one answer says; `index` is its number in the response, if the API numbers answers."""

    text: str
    index: int | None = None


def index_of(item: object) -> int | None:
    """The number that an answer gives itself."""
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) and not isinstance(index, bool) else None
