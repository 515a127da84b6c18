"""Windows: how a conversation of any length is read in pieces that a model can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.readers.reader import Chunk, Past, Reader


@dataclass(frozen=True)
class Window:
    """A chunk to read, and which tokens of the event its last `new` activations belong to: [start, start + new)."""

    chunk: Chunk
    start: int
    new: int


class WindowPlanner:
    """Plans the reading of token sequences.

    Constant starts (the sink token, the template's default opening) are read once, here, and every window is read
    after the longest of them that the sequence begins with. What does not fit into one window is read in several:
    each repeats `overlap` tokens of the one before as context, and no token is left out.
    """

    def __init__(
        self, reader: Reader, starts: Sequence[NDArray[np.int32]], window_tokens: int, overlap_tokens: int
    ) -> None:
        self._window = min(window_tokens, reader.max_tokens or window_tokens)
        self._overlap = min(overlap_tokens, self._window // 2)
        # A start must leave most of the window to the text
        usable = [s for s in starts if 0 < s.size <= self._window // 4]
        self._starts: list[tuple[NDArray[np.int32], Past]] = sorted(
            ((s, reader.remember(s)) for s in usable), key=lambda pair: -pair[0].size
        )

    def plan(self, ids: NDArray[np.int32]) -> list[Window]:
        """The windows of one event's tokens [token]. Tokens of a constant start are in no window."""
        past, done = self._past_of(ids)
        if ids.size <= self._window:
            return [Window(Chunk(ids[done:], past), done, ids.size - done)] if ids.size > done else []
        windows: list[Window] = []
        while done < ids.size:
            context = self._overlap if windows else 0
            room = self._window - (past.length if past else 0) - context
            end = min(done + room, ids.size)
            windows.append(Window(Chunk(ids[done - context : end], past), done, end - done))
            done = end
        return windows

    def _past_of(self, ids: NDArray[np.int32]) -> tuple[Past | None, int]:
        for start, past in self._starts:
            if ids.size >= start.size and np.array_equal(ids[: start.size], start):
                return past, int(start.size)
        return None, 0
