"""SegmentTable: all latents and the residual stream of many rows, pooled over each segment and cached on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.pooling import Pooling
from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.row_cache import RowCache, load_arrays, save_arrays
from monitor.readers.windows import WindowReader
from monitor.sae.encoder import CuratedEncoder
from monitor.tokens.tokeniser import EventTokeniser

_GROUP = 64
_TOKENS_AT_ONCE = 2_048


@dataclass(frozen=True)
class SegmentTable:
    """One entry for each non-empty segment of each row, or for each window of the long ones.

    `latents` [entry, s] are mean SAE activations over the entry's tokens, `residual` [entry, d] the mean residual
    stream, and `tokens` [entry] the number of tokens. `row` [entry], `segment` [entry] and `turn` [entry] (the
    position in the conversation, from 0) say which segment it is.
    """

    row: NDArray[np.int64]
    segment: NDArray[np.str_]
    turn: NDArray[np.int64]
    tokens: NDArray[np.int32]
    latents: NDArray[np.float16]
    residual: NDArray[np.float32]

    def shrunk(self, prior_tokens: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """The latents as a set pools them, whose means include `prior_tokens` more tokens without activation, and the
        factor [entry] by which that shrinks them."""
        shrink = (self.tokens / (self.tokens + prior_tokens)).astype(np.float32)
        return (self.latents * shrink[:, None]).astype(np.float16), shrink


@dataclass(frozen=True)
class _Entry:
    """One entry of a table before it is one: `latents` [s] and `residual` [d] are means."""

    row: int
    segment: str
    turn: int
    tokens: int
    latents: NDArray[np.float16]
    residual: NDArray[np.float32]


class SegmentReader:
    """Reads labelled rows into SegmentTables as the sidecar would: with the same template, windows and tokens."""

    def __init__(
        self,
        *,
        reader: WindowReader,
        d_model: int,
        encoder: CuratedEncoder,
        tokeniser: EventTokeniser,
        max_norm: float | None,
        key: str,
        folder: Path | None,
    ) -> None:
        """`reader` returns the residual stream [token, d_model], `encoder` all latents.

        Tables are stored in `folder`, if it is given; `key` names model, SAE and precision.
        """
        self._reader = reader
        self._d_model = d_model
        self._encoder = encoder
        self._max_norm = max_norm
        self._tokeniser = tokeniser
        self._key = key
        self._folder = folder

    def read(self, rows: Sequence[LabelledRow], progress: Callable[[int], None] = lambda _: None) -> SegmentTable:
        """The table of `rows`, from the cache if the same rows were read before."""
        (table,) = self._kept([self._key], rows, progress, None)
        return table

    def read_with_windows(
        self, rows: Sequence[LabelledRow], pooling: Pooling, progress: Callable[[int], None] = lambda _: None
    ) -> tuple[SegmentTable, SegmentTable]:
        """As `read`, and a table of the windows of `pooling`, in order, of only those segments that have several."""
        keys = [self._key, f"{self._key} windows {pooling.window_tokens}"]
        table, windows = self._kept(keys, rows, progress, pooling)
        return table, windows

    def _kept(
        self,
        keys: Sequence[str],
        rows: Sequence[LabelledRow],
        progress: Callable[[int], None],
        pooling: Pooling | None,
    ) -> Sequence[SegmentTable]:
        """A table for each key: of the segments, and of their windows if there is a `pooling`."""
        files = [] if self._folder is None else [RowCache(self._folder, key).file(rows) for key in keys]
        if files and all(file.is_file() for file in files):
            progress(len(rows))
            return [load_arrays(file, SegmentTable) for file in files]
        found: list[list[_Entry]] = [[] for _ in keys]
        for start in range(0, len(rows), _GROUP):
            group = rows[start : start + _GROUP]
            for entries, new in zip(found, self._group(start, group, pooling), strict=True):
                entries += new
            progress(len(group))
        tables = [self._table(entries) for entries in found]
        for file, table in zip(files, tables, strict=False):
            save_arrays(file, table)
        return tables

    def _table(self, entries: Sequence[_Entry]) -> SegmentTable:
        latents = np.zeros((len(entries), self._encoder.features), np.float16)
        residual = np.zeros((len(entries), self._d_model), np.float32)
        for n, entry in enumerate(entries):
            latents[n], residual[n] = entry.latents, entry.residual
        return SegmentTable(
            row=np.array([e.row for e in entries], dtype=np.int64),
            segment=np.array([e.segment for e in entries], dtype=np.str_),
            turn=np.array([e.turn for e in entries], dtype=np.int64),
            tokens=np.array([e.tokens for e in entries], dtype=np.int32),
            latents=latents,
            residual=residual,
        )

    def _group(self, start: int, group: Sequence[LabelledRow], pooling: Pooling | None) -> list[list[_Entry]]:
        """The entries of the segments, and those of their windows if there is a `pooling`."""
        items = self._tokeniser.tokenise([row.event(start + n) for n, row in enumerate(group)])
        residuals = [values for values, _ in self._reader.read([item.ids for item in items], self._d_model)]
        found: list[list[_Entry]] = [[]] if pooling is None else [[], []]
        step = None if pooling is None or pooling.window_tokens is None else pooling.window_tokens // 2
        for n, item in enumerate(items):
            for turn, (segment, tokens) in enumerate(zip(item.segments, item.rows, strict=True)):
                if not tokens.size:
                    continue
                # every token is encoded once; windows are made of pairs of blocks, and the segment of all of them
                sums = self._sums(residuals[n][tokens], step or tokens.size)
                place = (start + n, segment.name, turn)
                found[0].append(_mean(place, tokens.size, sums))
                windows = [] if pooling is None else pooling.windows(tokens.size)
                if len(windows) > 1:
                    found[1] += [
                        _mean(place, stop - first, (sums[0][k : k + 2], sums[1][k : k + 2]))
                        for k, (first, stop) in enumerate(windows)
                    ]
        return found

    def _sums(self, tokens: NDArray[np.float32], step: int) -> tuple[Tensor, Tensor]:
        """Sums of the latents [block, s] and the residual [block, d] of `tokens` [token, d], `step` tokens a block.

        A token with massive activations counts as 0, as it does for the detectors.
        """
        residual = torch.from_numpy(tokens)
        block = torch.arange(residual.shape[0]) // step
        blocks = int(block[-1]) + 1
        if self._max_norm is not None:
            usual = torch.linalg.vector_norm(residual, dim=1) <= self._max_norm
            residual, block = residual[usual], block[usual]
        latents = torch.zeros(blocks, self._encoder.features)
        for part, of in zip(torch.split(residual, _TOKENS_AT_ONCE), torch.split(block, _TOKENS_AT_ONCE), strict=True):
            latents.index_add_(0, of, self._encoder(part.to(self._encoder.device)).cpu())
        return latents, torch.zeros(blocks, tokens.shape[1]).index_add_(0, block, residual)


def _mean(place: tuple[int, str, int], tokens: int, sums: tuple[Tensor, Tensor]) -> _Entry:
    """The entry of some blocks with so many tokens together."""
    latents, residual = (each.sum(dim=0) / tokens for each in sums)
    return _Entry(*place, tokens, latents.numpy().astype(np.float16), residual.numpy())
