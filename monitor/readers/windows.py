"""WindowReader: reads texts of any length in windows that a model can take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.readers.reader import Chunk, Past, Reader


@dataclass(frozen=True)
class ReadWindow:
    """A chunk to read. Its last `new` activations belong to the tokens [start, start + new) of the text."""

    chunk: Chunk
    start: int
    new: int


class WindowReader:
    """Plans windows over texts and reads them with `reader`.

    Shared prefixes (the sink token, the template's usual opening) are read once, here; every window is read after the
    longest of them that its text begins with. A text longer than one window is read in several: each repeats `overlap`
    tokens of the one before as context, and no token is skipped.
    """

    def __init__(
        self,
        reader: Reader,
        shared_prefixes: Sequence[NDArray[np.int32]] = (),
        *,
        window_tokens: int,
        overlap_tokens: int,
    ) -> None:
        self.reader = reader
        self._window = min(window_tokens, reader.max_tokens or window_tokens)
        self._overlap = min(overlap_tokens, self._window // 2)
        # A prefix must leave most of the window to the text
        usable = [p for p in shared_prefixes if 0 < p.size <= self._window // 4]
        self._prefixes: list[tuple[NDArray[np.int32], Past]] = sorted(
            ((p, reader.prefill(p)) for p in usable), key=lambda pair: -pair[0].size
        )

    def plan(self, ids: NDArray[np.int32]) -> list[ReadWindow]:
        """The windows of one text's tokens [token]. Tokens of a shared prefix are in no window."""
        past, done = self._past_of(ids)
        if ids.size <= self._window:
            return [ReadWindow(Chunk(ids[done:], past), done, ids.size - done)] if ids.size > done else []
        windows: list[ReadWindow] = []
        while done < ids.size:
            context = self._overlap if windows else 0
            room = self._window - (past.length if past else 0) - context
            end = min(done + room, ids.size)
            windows.append(ReadWindow(Chunk(ids[done - context : end], past), done, end - done))
            done = end
        return windows

    def read(
        self,
        texts: Sequence[NDArray[np.int32]],
        width: int,
        part_tokens: int | None = None,
        on_part: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Activations [token, width] of each text's tokens [token], and the number of windows they took.

        Tokens of a shared prefix stay 0. About `part_tokens` tokens (default: all) are read at a time, and `on_part`
        is called after each part. Activations of one text are built only when you ask for them.
        """
        plans = [self.plan(ids) for ids in texts]
        found = self._read_parts([w.chunk for plan in plans for w in plan], part_tokens, on_part)
        for ids, plan in zip(texts, plans, strict=True):
            values = np.zeros((ids.size, width), np.float32)
            for window in plan:
                values[window.start : window.start + window.new] = next(found)[-window.new :]
            yield values, len(plan)
        on_part()

    def _read_parts(
        self, chunks: Sequence[Chunk], part_tokens: int | None, between: Callable[[], None]
    ) -> Iterator[NDArray[np.float32]]:
        part: list[Chunk] = []
        tokens = 0
        for chunk in chunks:
            if part and part_tokens is not None and tokens + chunk.tokens.size > part_tokens:
                yield from self.reader.read(part)
                between()
                part, tokens = [], 0
            part.append(chunk)
            tokens += chunk.tokens.size
        yield from self.reader.read(part)

    def _past_of(self, ids: NDArray[np.int32]) -> tuple[Past | None, int]:
        for prefix, past in self._prefixes:
            if ids.size >= prefix.size and np.array_equal(ids[: prefix.size], prefix):
                return past, int(prefix.size)
        return None, 0
