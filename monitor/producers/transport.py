"""Transport: where published events go; Message: one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Message:
    """One event, encoded. Headers are those of the record."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Transport(Protocol):
    """Called by the publisher's thread only."""

    def send(self, messages: Sequence[Message]) -> None:
        """Returns once all of them are delivered. May block.

        Raises Retryable if all should be sent again later, and Permanent if at least one of them can never be sent.
        """

    def close(self) -> None:
        """Frees everything."""
